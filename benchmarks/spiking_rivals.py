"""One contestant of ``benchmarks.spiking`` in a process of its own: prints its time and memory.

python -m benchmarks.spiking_rivals snntorch conv 4
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCHES = {"conv": 64, "mlp": 128}
WARMUP, REPEATS = 3, 15
Step = Callable[[], Any]


def batch(network: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, [batch, 28, 28, 1], and labels."""
    random, size = np.random.default_rng(0), BATCHES[network]
    images = random.uniform(size=(size, 28, 28, 1)).astype(np.float32)
    return images, random.integers(0, 10, size)


def ours(network: str, timesteps: int, masked: bool) -> Step:
    """This library."""
    import jax
    import jax.numpy as jnp
    import optax

    from prunejax import masks, models, training

    images, labels = batch(network)
    model: Any = {
        "conv": lambda: models.build(
            "spiking_conv", num_classes=10, normalize=False, timesteps=timesteps, surrogate="atan"
        ),
        "mlp": lambda: models.build(
            "spiking_mlp",
            num_classes=10,
            hidden_widths=(512, 512),
            timesteps=timesteps,
            surrogate="atan",
        ),
    }[network]()
    x, y = jnp.asarray(images), jnp.asarray(labels)
    params = model.init(jax.random.key(0), x)["params"]
    made = masks.make(params)
    tx: Any = optax.sgd(0.01, momentum=0.9)
    tx = training.masked(tx) if masked else optax.with_extra_args_support(tx)

    def step(params: Any, state: Any, made: Any) -> Any:
        def loss(params: Any) -> Any:
            logits = model.apply({"params": params}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        updates, state = tx.update(jax.grad(loss)(params), state, params, masks=made)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    kept = (params, tx.init(params))

    def run() -> None:
        nonlocal kept
        kept = jax.block_until_ready(compiled(*kept, made))

    return run


def spyx_step(network: str, timesteps: int) -> Step:
    """spyx: its layers, stepped through time by its own ``run``."""
    import jax
    import jax.numpy as jnp
    import optax
    import spyx  # pyright: ignore[reportMissingImports]
    from flax import nnx

    images, labels = batch(network)
    rngs, activation = nnx.Rngs(0), spyx.axn.arctan()

    def lif(*shape: int) -> Any:
        return spyx.nn.LIF(shape, beta=0.5, activation=activation, rngs=rngs)

    def pool(x: Any) -> Any:
        return nnx.avg_pool(x, (2, 2), (2, 2))

    layers = {
        "conv": lambda: [
            nnx.Conv(1, 32, (3, 3), rngs=rngs), lif(28, 28, 32), pool,
            nnx.Conv(32, 64, (3, 3), rngs=rngs), lif(14, 14, 64), pool, spyx.nn.Flatten(),
            nnx.Linear(7 * 7 * 64, 128, rngs=rngs), lif(128), nnx.Linear(128, 10, rngs=rngs),
        ],
        "mlp": lambda: [
            spyx.nn.Flatten(), nnx.Linear(784, 512, rngs=rngs), lif(512),
            nnx.Linear(512, 512, rngs=rngs), lif(512), nnx.Linear(512, 10, rngs=rngs),
        ],
    }[network]()  # fmt: skip
    model = spyx.nn.Sequential(*layers)
    x = jnp.broadcast_to(jnp.asarray(images), (timesteps, *images.shape))
    y = jnp.asarray(labels)
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, momentum=0.9), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any) -> Any:
        def loss(model: Any) -> Any:
            outputs, _ = spyx.nn.run(model, x)
            logits = outputs.mean(axis=0)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    return lambda: jax.block_until_ready(step(model, optimizer))


def torch_step(contestant: str, network: str, timesteps: int) -> Step:
    """The three that run on torch."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = batch(network)
    x = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
    y = torch.tensor(labels)
    made = {"snntorch": _snntorch, "spikingjelly": _spikingjelly}.get(contestant, _plain_torch)
    parameters, forward = made(network, timesteps)
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)

    def run() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(x), y).backward()
        optimizer.step()

    return run


def _kernels(network: str) -> list[Any]:
    from torch import nn  # pyright: ignore[reportMissingImports]

    if network == "mlp":
        return [nn.Linear(784, 512), nn.Linear(512, 512), nn.Linear(512, 10)]
    return [
        nn.Conv2d(1, 32, 3, padding=1),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.Linear(7 * 7 * 64, 128),
        nn.Linear(128, 10),
    ]


def _snntorch(network: str, timesteps: int) -> tuple[Any, Any]:
    """As its tutorials do: a loop over time, a state per layer."""
    import snntorch  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]
    from snntorch import surrogate  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    kernels = nn.ModuleList(_kernels(network))
    neurons = [
        snntorch.Leaky(beta=0.5, spike_grad=surrogate.atan(), reset_mechanism="zero")
        for _ in range(len(kernels) - 1)
    ]

    def forward(x: Any) -> Any:
        states = [one.init_leaky() for one in neurons]
        total = 0
        for _ in range(timesteps):
            h = x.flatten(1) if network == "mlp" else x
            for place, neuron in enumerate(neurons):
                if network == "conv" and place == 2:
                    h = h.flatten(1)
                h, states[place] = neuron(kernels[place](h), states[place])
                if network == "conv" and place < 2:
                    h = torch.nn.functional.avg_pool2d(h, 2)
            total = total + kernels[len(neurons)](h)
        return total / timesteps

    return kernels.parameters(), forward


def _spikingjelly(network: str, timesteps: int) -> tuple[Any, Any]:
    """In its multi-step mode: layers see all steps at once."""
    from spikingjelly.activation_based import (  # pyright: ignore[reportMissingImports]
        functional,
        layer,
        neuron,
        surrogate,
    )
    from torch import nn  # pyright: ignore[reportMissingImports]

    def lif() -> Any:
        return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), step_mode="m")

    if network == "mlp":
        layers = [
            layer.Flatten(), layer.Linear(784, 512), lif(), layer.Linear(512, 512), lif(),
            layer.Linear(512, 10),
        ]  # fmt: skip
    else:
        layers = [
            layer.Conv2d(1, 32, 3, padding=1), lif(), layer.AvgPool2d(2),
            layer.Conv2d(32, 64, 3, padding=1), lif(), layer.AvgPool2d(2), layer.Flatten(),
            layer.Linear(7 * 7 * 64, 128), lif(), layer.Linear(128, 10),
        ]  # fmt: skip
    net = nn.Sequential(*layers)
    functional.set_step_mode(net, "m")

    def forward(x: Any) -> Any:
        functional.reset_net(net)
        return net(x.expand(timesteps, *x.shape)).mean(0)

    return net.parameters(), forward


def _plain_torch(network: str, timesteps: int) -> tuple[Any, Any]:
    """Written by hand: kernels on all steps at once, the first on one, neurons step by step."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, distance: Any) -> Any:
            ctx.save_for_backward(distance)
            return (distance > 0).float()

        @staticmethod
        def backward(ctx: Any, *given: Any) -> Any:
            (distance,) = ctx.saved_tensors
            return given[0] / (1 + (torch.pi * distance) ** 2)

    def lif(currents: Any) -> Any:
        carried, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            u = 0.25 * carried + current
            s = Spike.apply(u - 0.5)
            carried = u * (1 - s)
            spikes.append(s)
        return torch.stack(spikes)

    kernels = nn.ModuleList(_kernels(network))

    def forward(x: Any) -> Any:
        h, last = (x.flatten(1) if network == "mlp" else x), len(kernels) - 1
        for place in range(last):
            if network == "conv" and place == 2:
                h = h.flatten(1)
            h = kernels[place](h)
            steps = (timesteps, -1, *h.shape[1:])
            h = lif(h.expand(timesteps, *h.shape) if place == 0 else h.reshape(steps)).flatten(0, 1)
            if network == "conv" and place < 2:
                h = torch.nn.functional.avg_pool2d(h, 2)
        return kernels[last](h.reshape(timesteps, -1, h.shape[-1]).mean(0))

    return kernels.parameters(), forward


def held() -> float:
    """What the process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(contestant: str, network: str, timesteps: int) -> None:
    """Trains some steps and prints ``{"ms": ..., "mb": ...}``."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    if contestant.startswith("prunejax"):
        step = ours(network, timesteps, masked=contestant.endswith("masked"))
    elif contestant == "spyx":
        step = spyx_step(network, timesteps)
    else:
        step = torch_step(contestant, network, timesteps)
    before, seconds = held(), []
    for turn in range(WARMUP + REPEATS):
        started = time.perf_counter()
        step()
        if turn >= WARMUP:
            seconds.append(time.perf_counter() - started)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": 1e3 * statistics.median(seconds), "mb": max(most - before, 0.0)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
