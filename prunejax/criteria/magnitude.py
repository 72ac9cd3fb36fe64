"""Magnitude: the larger a weight, the more it matters."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.criteria import prunable
from prunejax.criteria.prunable import LossFn


def magnitude(
    params: PyTree,
    masks: PyTree,
    batch: Any = None,
    *,
    loss_fn: LossFn | None = None,
    key: PRNGKeyArray | None = None,
) -> PyTree:
    """Scores a weight by its absolute value, ``|w|`` (Han et al. 2015).

    Args:
      params: the network's parameters.
      masks: which leaves to score; a pruned weight scores 0.
      batch: not used.
      loss_fn: not used.
      key: not used.

    Returns:
      Scores parallel to ``masks``; higher means keep.

    Raises:
      ValueError: the masks do not belong to the parameters.
    """
    del batch, loss_fn, key
    return jax.tree.map(jnp.abs, prunable.weights(params, masks))
