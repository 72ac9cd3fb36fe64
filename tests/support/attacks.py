"""One attack on a pruned network, by ``robustness.curve`` and by hand."""

import jax
import numpy as np

from prunejax import masks as masks_lib
from prunejax import robustness

LEVEL = 0.5


def check_attack(forward, params, made, batch, perturbation="random"):
    """The whole network classifies as it did; an attack is one that ``perturb`` does."""
    params = masks_lib.apply(params, made)
    labels = np.argmax(forward(params, batch[0]), axis=1)
    found = robustness.curve(
        jax.random.key(0), forward, params, made, (batch[0], labels), perturbation, [0, LEVEL]
    )
    assert found.accuracy[0, 0] == 1
    key = jax.random.fold_in(jax.random.key(0), 0)
    attacked = robustness.perturb(key, params, made, perturbation, LEVEL)
    assert found.accuracy[1, 0] == np.mean(np.argmax(forward(attacked, batch[0]), 1) == labels)
    left = [
        np.count_nonzero(leaf)
        for leaf, mask in zip(
            jax.tree.leaves(attacked), jax.tree.structure(params).flatten_up_to(made), strict=True
        )
        if mask is not None
    ]
    kept = [int(mask.sum()) for mask in jax.tree.leaves(made)]
    assert left == [number - round(LEVEL * number) for number in kept]
