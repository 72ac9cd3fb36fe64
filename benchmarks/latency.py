"""Forward passes of networks sliced to about half of their multiply-adds, against the dense ones.

Every group keeps the same fraction of its channels, rounded to the nearest number, or to the
nearest multiple of 8. Target: at least 1.4 times as fast at batch 256 on a CPU. XLA's convolutions
on a CPU take as long for 12 channels as for 16, and longer for odd numbers, in a module built with
those widths as well; those of 512 channels take long for their size, so that VGG-16 gains more than
its multiply-adds.
"""

from typing import Any

import jax
import numpy as np

from benchmarks.timing import in_turns
from prunejax import models, network

MODELS = {"conv6": 5, "vgg16": 2, "resnet20": 5, "resnet56": 5}
"""Model -> timed calls at batch 256."""

BATCHES = {1: 8, 256: 1}
"""Batch size -> how many times as many calls."""

SHARE = 0.5
"""Of the multiply-adds, to be kept."""


def halved(dense: network.Network, multiple: int) -> network.Plan:
    """The plan that keeps a fraction of every group and comes nearest to ``SHARE``.

    Args:
      dense: the network.
      multiple: the numbers of channels are rounded to multiples of it.

    Returns:
      The plan.
    """
    low, high = 0.0, 1.0
    plans = {}
    for _ in range(8):
        fraction = (low + high) / 2
        plan = dense.plan(
            {
                name: np.arange(group.width)
                < max(1, round(fraction * group.width / multiple)) * multiple
                for name, group in dense.groups.items()
            }
        )
        share = plan.cost().multiply_adds / dense.cost().multiply_adds
        plans[share] = plan
        low, high = (low, fraction) if share > SHARE else (fraction, high)
    return plans[min(plans, key=lambda share: abs(share - SHARE))]


def measured(name: str) -> list[dict[str, Any]]:
    """The rows of a model."""
    model = models.build(name, num_classes=10)
    images = jax.random.normal(jax.random.key(0), (max(BATCHES), 32, 32, 3))
    variables = model.init(jax.random.key(1), images[:1], train=False)

    def forward(variables: Any, x: Any) -> Any:
        return model.apply(variables, x, train=False)

    dense = network.trace(forward, variables, images[:1])
    plans = {
        "dense": dense.plan({}),
        "any number": halved(dense, 1),
        "multiples of 8": halved(dense, 8),
    }
    contestants = {
        channels: (plan.slice(variables), jax.jit(plan.apply_fn))
        for channels, plan in plans.items()
    }
    contestants["dense"] = (variables, jax.jit(forward))
    rows = []
    for batch, more in BATCHES.items():
        calls = {
            channels: lambda kept=kept, run=run, x=images[:batch]: run(kept, x)
            for channels, (kept, run) in contestants.items()
        }
        seconds = in_turns(calls, repeats=more * MODELS[name], warmup=1)
        rows += [
            {
                "model": name,
                "batch": batch,
                "channels": channels,
                "multiply-adds kept": plan.cost().multiply_adds / dense.cost().multiply_adds,
                "dense ms": 1e3 * seconds["dense"],
                "sliced ms": 1e3 * seconds[channels],
                "times as fast": seconds["dense"] / seconds[channels],
            }
            for channels, plan in plans.items()
            if channels != "dense"
        ]
    return rows


def run() -> list[dict[str, Any]]:
    """Rows: model, batch, numbers of channels, share of multiply-adds kept, times as fast."""
    return [row for name in MODELS for row in measured(name)]
