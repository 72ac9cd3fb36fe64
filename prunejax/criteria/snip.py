"""SNIP: how much the loss feels a weight's removal."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.criteria import prunable
from prunejax.criteria.prunable import LossFn


def snip(
    params: PyTree, masks: PyTree, batch: Any, *, loss_fn: LossFn, key: PRNGKeyArray | None = None
) -> PyTree:
    """Scores a weight by its connection sensitivity, ``|w dL/dw|`` (Lee et al. 2019, eq. 5).

    Iterative SNIP (de Jorge et al. 2021) is ``pruning.prune`` with this criterion and several
    rounds.

    Args:
      params: the network's parameters.
      masks: which leaves to score; a pruned weight scores 0.
      batch: the examples on which the loss is taken.
      loss_fn: ``(params, batch) -> loss`` or ``(loss, outputs)``. For a network with batch
        normalisation let it normalise by the batch's own statistics, as the paper does.
      key: not used.

    Returns:
      Scores parallel to ``masks``; higher means keep.

    Raises:
      ValueError: the masks do not belong to the parameters, or the loss is no scalar.
    """
    del key
    weights = prunable.weights(params, masks)
    gradient = jax.grad(prunable.loss_of(loss_fn, params, batch))(weights)
    return jax.tree.map(lambda weight, slope: jnp.abs(weight * slope), weights, gradient)
