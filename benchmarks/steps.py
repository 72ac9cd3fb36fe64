"""What masks cost: a masked training step against the same step without masks."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.timing import in_turns
from prunejax import allocation, criteria, masks, models, training

CASES = {
    "lenet_300_100": ((784,), 128, 300),
    "resnet20": ((32, 32, 3), 128, 12),
}
"""Model -> (shape of an image, batch size, timed steps)."""


def network(name: str) -> tuple[Any, Any, Any, Any]:
    """A case's model, a random batch, and the initial parameters and running statistics."""
    shape, batch_size, _ = CASES[name]
    model = models.build(name, num_classes=10)
    key = jax.random.key(0)
    batch = (
        jax.random.normal(key, (batch_size, *shape)),
        jax.random.randint(key, (batch_size,), 0, 10),
    )
    return model, batch, *training.init_variables(model, key, batch[0])


def unmasked_step(model: Any, tx: optax.GradientTransformation) -> Any:
    """A plain training step, as one writes it without this library."""

    def step(params: Any, batch_stats: Any, opt_state: Any, batch: Any) -> Any:
        images, labels = batch

        def loss_fn(params: Any) -> Any:
            variables = {"params": params}
            if batch_stats:
                variables["batch_stats"] = batch_stats
            logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), updated.get("batch_stats", {})

        (_, stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state

    return jax.jit(step, donate_argnums=(0, 1, 2))


def run() -> list[dict[str, Any]]:
    """Rows: model, milliseconds of a step without and with masks, their ratio (wanted <= 1.10)."""
    rows = []
    key = jax.random.key(0)
    for name, (_, batch_size, repeats) in CASES.items():
        model, batch, params, stats = network(name)
        scores = criteria.magnitude(params, masks.make(params), None)
        inner = training.optimizer("sgd", 0.01, weight_decay=5e-4)
        tx = training.masked(inner)
        masked_step = training.make_train_step(model, tx)
        made = allocation.allocate(scores, 0.9)
        state = training.init_state(params, stats, tx, key=key, masks=made)
        plain_step = unmasked_step(model, inner)
        plain = (*jax.tree.map(jnp.copy, (params, stats)), inner.init(params))

        def masked(step: Any = masked_step, batch: Any = batch) -> Any:
            nonlocal state
            state = step(state, batch)
            return state

        def unmasked(step: Any = plain_step, batch: Any = batch) -> Any:
            nonlocal plain
            plain = step(*plain, batch)
            return plain

        seconds = in_turns({"plain": unmasked, "masked": masked}, repeats=repeats)
        rows.append(
            {
                "model": name,
                "batch": batch_size,
                "unmasked ms": 1e3 * seconds["plain"],
                "masked ms": 1e3 * seconds["masked"],
                "masked / unmasked": seconds["masked"] / seconds["plain"],
            }
        )
    return rows
