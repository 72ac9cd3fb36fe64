"""SynFlow: how much of the network's synaptic flow runs through a weight; needs no data."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from prunejax.criteria import prunable
from prunejax.criteria.prunable import LossFn


def synflow(
    params: PyTree, masks: PyTree, batch: Any, *, loss_fn: LossFn, key: PRNGKeyArray | None = None
) -> PyTree:
    """Scores a weight by its synaptic flow, ``w dR/dw`` at ``|params|`` (Tanaka et al. 2020).

    ``R = 1^T (prod_l |W_l|) 1`` (Algorithm 1, line 5) is the sum of the outputs for an input of
    ones with every parameter replaced by its absolute value. Use it with ``pruning.prune`` and 100
    rounds (the default): one round removes whole layers of deep networks.

    R grows with every layer and leaves float32's range in networks of about thirty: then every
    score is NaN, which allocation refuses. ``pruning.prune`` therefore computes it in float64; the
    network must follow its parameters' dtype there (linen: ``dtype=None``).

    Args:
      params: the network's parameters.
      masks: which leaves to score; a pruned weight scores 0.
      batch: shapes and dtypes only: every floating leaf becomes one example of ones.
      loss_fn: ``(params, batch) -> (loss, outputs)``. For a network with batch normalisation let
        it use the running statistics (at initialisation mean 0 and variance 1), which keep the
        network linear where it is; the batch's own would normalise the flow away.
      key: not used.

    Returns:
      Scores parallel to ``masks``, none negative; higher means keep.

    Raises:
      ValueError: the masks do not belong to the parameters, or ``loss_fn`` returns no outputs.
    """
    del key
    prunable.examples(batch)
    ones = jax.tree.map(_one_example_of_ones, batch)
    absolute = jax.tree.map(_absolute, params)
    weights = prunable.weights(absolute, masks)

    def flow(weights: PyTree) -> Float[Array, ""]:
        return jnp.sum(prunable.outputs(loss_fn, prunable.merge(weights, absolute), ones))

    total, slopes = jax.value_and_grad(flow)(weights)
    return jax.tree.map(
        lambda weight, slope: jnp.where(jnp.isfinite(total), weight * slope, jnp.nan),
        weights,
        slopes,
    )


def _one_example_of_ones(leaf: Any) -> Array:
    one = jnp.asarray(leaf)[:1]
    return jnp.ones_like(one) if jnp.issubdtype(one.dtype, jnp.floating) else one


def _absolute(leaf: Any) -> Any:
    return jnp.abs(leaf) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf
