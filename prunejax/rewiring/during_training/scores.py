"""Scores of weights during training: higher means keep."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

Score = Callable[[PRNGKeyArray, Array, Array | None], Array]
"""``(key, leaf, its gradient) -> scores``: higher means keep. At step 0 there is no gradient."""


def magnitude(key: PRNGKeyArray, weights: Array, gradient: Array | None) -> Array:
    """Keeps the weights of largest ``|w|``."""
    del key, gradient
    return jnp.abs(weights)


def saliency(key: PRNGKeyArray, weights: Array, gradient: Array | None) -> Array:
    """Keeps the weights of largest ``|w g|``, the change of the loss to first order.

    Raises:
      ValueError: there is no gradient yet.
    """
    del key
    if gradient is None:
        raise ValueError("saliency needs a gradient, which step 0 has not: begin=1 or later")
    return jnp.abs(weights * gradient)


def chance(key: PRNGKeyArray, weights: Array, gradient: Array | None) -> Array:
    """Keeps any weights, to compare with."""
    del gradient
    return jax.random.uniform(key, weights.shape, jnp.float32)


def scores_of(score: Score, key: PRNGKeyArray, params: PyTree, gradients: PyTree) -> PyTree:
    """The scores of each leaf, which has a key of its own."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    of_leaves = [None] * len(leaves) if gradients is None else jax.tree.leaves(gradients)
    return jax.tree.unflatten(structure, list(map(score, keys, leaves, of_leaves)))
