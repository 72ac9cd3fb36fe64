"""Random: the baseline that every criterion must beat."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.criteria import prunable
from prunejax.criteria.prunable import LossFn


def random(
    params: PyTree,
    masks: PyTree,
    batch: Any = None,
    *,
    loss_fn: LossFn | None = None,
    key: PRNGKeyArray | None = None,
) -> PyTree:
    """Scores a weight by a number drawn uniformly from [0, 1), independent of everything.

    With a distribution other than "global" this is layer-wise random pruning: uniform, ER or ERK.

    Args:
      params: the network's parameters.
      masks: which leaves to score; a pruned weight scores 0.
      batch: not used.
      loss_fn: not used.
      key: a key from ``jax.random.key``; the same key gives the same scores.

    Returns:
      Scores parallel to ``masks``; higher means keep.

    Raises:
      ValueError: the masks do not belong to the parameters, or there is no key.
    """
    del batch, loss_fn
    if key is None:
        raise ValueError("random needs a key: jax.random.key(seed)")
    leaves, structure = jax.tree.flatten(prunable.weights(params, masks))
    kept = jax.tree.leaves(masks)
    scores = [
        jnp.where(mask, jax.random.uniform(leaf_key, leaf.shape, jnp.float32), 0)
        for leaf, mask, leaf_key in zip(
            leaves, kept, jax.random.split(key, len(leaves)), strict=True
        )
    ]
    return jax.tree.unflatten(structure, scores)
