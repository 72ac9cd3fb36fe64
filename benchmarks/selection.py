"""Allocation of as many weights as VGG-16 has, against sorting them."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turns
from prunejax import allocation, models, training
from prunejax import masks as masks_lib


def run() -> list[dict[str, Any]]:
    """Rows: what, seconds, and how many times as long as the global allocation (wanted <= 1 s)."""
    model = models.build("vgg16", num_classes=10)
    params, _ = training.init_variables(model, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    made = masks_lib.make(params)
    scores = jax.tree.map(
        lambda mask, leaf: None if mask is None else jnp.abs(leaf),
        made,
        params,
        is_leaf=lambda leaf: leaf is None,
    )
    flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(scores)])
    kept = allocation.kept_weights(flat.size, 0.9)
    sort = jax.jit(jnp.sort)
    top_k = jax.jit(lambda values: jax.lax.top_k(values, kept)[1])
    ties = jax.tree.map(jnp.zeros_like, scores)
    seconds = in_turns(
        {
            "global": lambda: allocation.allocate(scores, 0.9),
            "global, all scores equal": lambda: allocation.allocate(ties, 0.9),
            "erk": lambda: allocation.allocate(scores, 0.9, distribution="erk"),
            "jnp.sort of the scores alone": lambda: sort(flat),
            "lax.top_k of the scores alone": lambda: top_k(flat),
        },
        repeats=3,
        warmup=1,
    )
    return [
        {"weights": flat.size, "what": name, "s": value, "x global": value / seconds["global"]}
        for name, value in seconds.items()
    ]
