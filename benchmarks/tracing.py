"""How long ``network.trace`` takes: the layers and channel groups of a network on one image.

Target: ResNet-110 within 1 s.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp

from prunejax import models, network

CASES = {
    "resnet20": 32,
    "resnet56": 32,
    "resnet110": 32,
    "vgg16": 32,
    "densenet40": 32,
    "resnet50": 224,
}
"""Model -> side of the image."""


def measured(name: str) -> dict[str, Any]:
    """The row of a model."""
    model = models.build(name, num_classes=10)
    x = jax.ShapeDtypeStruct((1, CASES[name], CASES[name], 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    started, busy = time.perf_counter(), time.process_time()
    traced = network.trace(
        lambda variables, x: model.apply(variables, x, train=False), variables, x
    )
    return {
        "model": name,
        "layers": len(traced.layers),
        "groups": len(traced.groups),
        "s": time.perf_counter() - started,
        "CPU s": time.process_time() - busy,
    }


def run() -> list[dict[str, Any]]:
    """Rows: model, layers, groups, seconds and CPU-seconds to trace it; the second of two runs."""
    return [[measured(name) for _ in range(2)][1] for name in CASES]
