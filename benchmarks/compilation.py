"""How long a model's first training step takes to compile."""

import time
from typing import Any

import jax
import jax.numpy as jnp

from prunejax import models, training

SHAPES = {"lenet5": (28, 28, 1), "resnet50": (64, 64, 3)}
FLAT = ("mlp", "lenet_300_100", "mlp_1000x3", "sparse_mlp")


def run() -> list[dict[str, Any]]:
    """Rows: model, shape of an image, seconds to trace and to compile the training step."""
    rows = []
    for name in models.MODELS:
        shape = (28, 28, 1) if name in FLAT else SHAPES.get(name, (32, 32, 3))
        model = models.build(name, num_classes=10)
        images = jax.ShapeDtypeStruct((32, *shape), jnp.float32)
        labels = jax.ShapeDtypeStruct((32,), jnp.int32)
        params, stats = training.init_variables(model, jax.random.key(0), images)
        tx = training.masked(training.optimizer("sgd", 0.1, weight_decay=5e-4))
        state = training.init_state(params, stats, tx, key=jax.random.key(0))
        step: Any = training.make_train_step(model, tx)
        started = time.perf_counter()
        lowered = step.lower(state, (images, labels))
        traced = time.perf_counter()
        lowered.compile()
        rows.append(
            {
                "model": name,
                "image": "x".join(map(str, shape)),
                "trace s": traced - started,
                "compile s": time.perf_counter() - traced,
            }
        )
    return rows
