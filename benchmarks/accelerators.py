"""Training images per second: a plain JAX loop, steps, epochs as one program, networks together.

On a GPU or TPU: ResNet-20 and VGG-16 in bfloat16 with crops and flips, and the perceptron of sparse
layers, each at the paper's batch size; on a CPU the same in small, to see that it works.
PRUNEJAX_BENCH_SECONDS (by default 600) is when no further row is begun. A row is printed as soon as
it is there. "peak" is the most memory that was in use so far, since the process began.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from prunejax import data, masks, models, network, training
from prunejax.training import stacking
from prunejax.training import together as engine

EPOCHS = 3
"""Of which the first, which compiles, does not count."""


class Case(NamedTuple):
    """A network and how it is trained.

    Attributes:
      model: the module.
      split: random images, labels.
      batch: examples per step.
      augment: inside the step, or None.
    """

    model: Any
    split: data.Split
    batch: int
    augment: Callable[[Any, Any], Any] | None

    @property
    def variables(self) -> tuple[Any, Any]:
        """Parameters and running statistics at initialisation."""
        return training.init_variables(self.model, jax.random.key(0), self.split.images[:1])


def crops(key: Any, images: Any) -> Any:
    """Random crops and flips, then numbers around 0."""
    return (data.augment(key, images).astype(jnp.float32) / 255 - 0.45) / 0.25


def case(name: str, *, small: bool, **options: Any) -> Case:
    """A case by its model's name."""
    random = np.random.default_rng(0)
    coloured = name != "sparse_mlp"
    shape, batch = ((32, 32, 3), 128) if coloured else ((28, 28, 1), 128)
    count = 200 * batch
    if small:
        count, batch = 16, 8
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    if not coloured:
        images = images.astype(np.float32) / 255
    split = data.Split(images, random.integers(0, 10, count).astype(np.int32))
    dtype = {"dtype": jnp.bfloat16} if coloured else {}
    model = models.build(name, num_classes=10, **dtype, **options)
    return Case(model, split, batch, crops if coloured else None)


def optimizer() -> optax.GradientTransformation:
    """SGD as the papers have it."""
    return training.optimizer("sgd", 0.05, momentum=0.9, weight_decay=1e-4)


def plain_step(one: Case) -> Callable[..., Any]:
    """A training step as one writes it without this library: no masks, no metrics."""
    tx = optimizer()

    def step(carry: Any, batch: Any) -> Any:
        params, stats, opt_state, key = carry
        images, labels = batch
        key, own = jax.random.split(key)
        if one.augment is not None:
            images = one.augment(own, images)

        def loss_fn(params: Any) -> Any:
            variables = {"params": params, **training.stats_collection(stats)}
            logits, updated = one.model.apply(
                variables, images, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), updated.get("batch_stats", {})

        (_, new_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), new_stats, opt_state, key

    return step


def plain_start(one: Case) -> Any:
    """What the plain step begins with."""
    params, stats = one.variables
    return params, stats, optimizer().init(params), jax.random.key(1)


def by_plain_loop(one: Case) -> float:
    """Seconds per epoch of a Python loop over plain steps."""
    step = jax.jit(plain_step(one), donate_argnums=0)
    carry, seconds = plain_start(one), []
    for epoch in range(EPOCHS):
        started = time.perf_counter()
        for batch in data.batches(
            one.split, batch_size=one.batch, key=jax.random.key(0), epoch=epoch
        ):
            carry = step(carry, batch)
        jax.block_until_ready(carry)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def by_plain_scan(one: Case) -> float:
    """Seconds per epoch of one scan over plain steps, the data on the device."""
    images, labels = jax.device_put(tuple(one.split))
    step = plain_step(one)

    def epoch(carry: Any, order: Any) -> Any:
        def body(carry: Any, chosen: Any) -> tuple[Any, None]:
            return step(carry, (images[chosen], labels[chosen])), None

        return jax.lax.scan(body, carry, order)[0]

    compiled = jax.jit(epoch, donate_argnums=0)
    carry, seconds = plain_start(one), []
    for number in range(EPOCHS):
        started = time.perf_counter()
        order = data.shuffled(len(one.split.labels), key=jax.random.key(0), epoch=number)
        carry = compiled(carry, order.reshape(-1, one.batch))
        jax.block_until_ready(carry)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def by_fit(one: Case, loop: Any, together: int = 0, widest: int = stacking.WIDEST) -> float:
    """Seconds per epoch of ``fit``, or of ``fit_many`` with so many networks."""
    engine.WIDEST = widest
    params, stats = one.variables
    tx = training.masked(optimizer())
    step = training.make_train_step(one.model, tx, augment=one.augment)
    made = masks.make(params)
    ends = [0.0]

    def told(progress: training.Progress) -> None:
        if progress.network == max(together, 1) - 1:
            ends.append(time.perf_counter())

    settings: dict[str, Any] = {
        "epochs": EPOCHS, "batch_size": one.batch, "on_epoch": told, "loop": loop,
    }  # fmt: skip
    states = [
        training.init_state(params, stats, tx, key=jax.random.key(seed), masks=made)
        for seed in range(max(together, 1))
    ]
    if together:
        training.fit_many(states, step, one.split, **settings)
    else:
        training.fit(states[0], step, one.split, **settings)
    return min(np.diff(ends[1:]))


def half(one: Case, multiple: int) -> tuple[Case, float]:
    """The same network with channels cut out of it, and the share of multiply-adds that is left.

    Args:
      one: the network.
      multiple: numbers of channels are multiples of it.
    """
    params, stats = one.variables
    variables = {"params": params, **training.stats_collection(stats)}
    image = jnp.zeros((1, *one.split.images.shape[1:]), jnp.float32)
    traced = network.trace(one.model.apply, variables, image)
    plan = traced.plan(
        {
            group: np.arange(each.width) < multiple * round(0.69 * each.width / multiple)
            for group, each in traced.groups.items()
        }
    )
    left = plan.cost().multiply_adds / traced.cost().multiply_adds
    return one._replace(model=models.resized(one.model, plan.by_leaf())), left


def run() -> list[dict[str, Any]]:
    """Rows: network, how, networks together, images per second, their ratio to the plain loop."""
    device = jax.local_devices()[0]
    small = device.platform == "cpu"
    options = {"stem_width": 4, "stage_widths": (4, 4, 4)} if small else {}
    resnet = case("resnet20", small=small, shortcut="pad", **options)
    narrow = {"widths": (4,) * 13} if small else {}
    vgg = case("vgg16", small=small, **narrow)
    sparse = case("sparse_mlp", small=small)
    sizes = (2, 3, 2) if small else (8, 16, 4)
    ends = time.perf_counter() + float(os.environ.get("PRUNEJAX_BENCH_SECONDS", "600"))
    rows: list[dict[str, Any]] = []
    plain: dict[str, float] = {}

    def row(
        name: str, how: str, one: Case, seconds: Callable[[], float], together: int = 1
    ) -> float:
        if time.perf_counter() > ends:
            return float("nan")
        started = time.perf_counter()
        each = seconds()
        rate = float(together * len(one.split.labels) / each)
        plain.setdefault(name, rate)
        stats = device.memory_stats() or {}
        said = {
            "network": name,
            "how": how,
            "together": together,
            "images / s": float(f"{rate:.3g}"),
            "x plain loop": rate / plain[name],
            "peak GiB": stats.get("peak_bytes_in_use", 0) / 2**30,
            "whole s": time.perf_counter() - started,
        }
        rows.append(said)
        print(said, file=sys.stderr, flush=True)
        return rate

    name = "resnet20"
    row(name, "plain loop", resnet, lambda: by_plain_loop(resnet))
    row(name, "fit_many", resnet, lambda: by_fit(resnet, "epoch", sizes[0]), sizes[0])
    unmasked = row(name, "plain scan", resnet, lambda: by_plain_scan(resnet))
    masked = row(name, "fit, epoch", resnet, lambda: by_fit(resnet, "epoch"))
    name = "sparse_mlp"
    row(name, "plain loop", sparse, lambda: by_plain_loop(sparse))
    row(name, "fit, epoch", sparse, lambda: by_fit(sparse, "epoch"))
    row(name, "fit_many", sparse, lambda: by_fit(sparse, "epoch", 2 * sizes[1]), 2 * sizes[1])
    name = "vgg16"
    row(name, "plain loop", vgg, lambda: by_plain_loop(vgg))
    whole = row(name, "fit, epoch", vgg, lambda: by_fit(vgg, "epoch"))
    for multiple in (1, 2 if small else 32):
        cut, left = half(vgg, multiple)
        how = f"fit, epoch, {left:.0%} of it, widths multiples of {multiple}"
        sliced = row(name, how, cut, lambda cut=cut: by_fit(cut, "epoch"))
        print(f"{how}: x {sliced / whole:.2f} as fast", file=sys.stderr)
    row("resnet20", "fit, steps", resnet, lambda: by_fit(resnet, "steps"))
    for widest in (2 * stacking.WIDEST, 0):
        how = f"fit_many, convolutions shared up to {widest} channels"
        row(
            "resnet20",
            how,
            resnet,
            lambda widest=widest: by_fit(resnet, "epoch", sizes[0], widest),
            sizes[0],
        )
    row("vgg16", "fit_many", vgg, lambda: by_fit(vgg, "epoch", sizes[2]), sizes[2])
    row("resnet20", "fit_many", resnet, lambda: by_fit(resnet, "epoch", sizes[1]), sizes[1])
    row("vgg16", "fit, steps", vgg, lambda: by_fit(vgg, "steps"))
    print(f"masked / unmasked step {unmasked / masked:.3f}", file=sys.stderr)
    return rows
