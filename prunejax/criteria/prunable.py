"""The part of a network that can be pruned, as the one variable that criteria differentiate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from prunejax import masks as masks_lib

LossFn = Callable[[PyTree, Any], Any]
"""``(params, batch) -> loss`` or ``(params, batch) -> (loss, outputs)``, with a scalar loss."""


def weights(params: PyTree, masks: PyTree) -> PyTree:
    """The masked weights where a leaf has a mask, ``None`` elsewhere.

    Raises:
      ValueError: the masks do not belong to the parameters.
    """
    masks_lib.validate(params, masks)
    return jax.tree.map(
        lambda weight, mask: None if mask is None else jnp.where(mask, weight, 0), params, masks
    )


def merge(prunable: PyTree, params: PyTree) -> PyTree:
    """The parameters with the prunable leaves in their place."""
    return jax.tree.map(
        lambda weight, leaf: weight if leaf is None else leaf,
        params,
        prunable,
    )


def loss_of(loss_fn: LossFn, params: PyTree, batch: Any) -> Callable[[PyTree], Float[Array, ""]]:
    """The loss as a function of the prunable weights alone; everything else is constant.

    Where the loss is not finite its gradient is NaN, so that it gives no scores. (Without this, the
    gradient of a label that is no class may be finite.)
    """

    def loss(prunable: PyTree) -> Float[Array, ""]:
        value = scalar_loss(loss_fn, merge(prunable, params), batch)
        return value * jnp.where(jnp.isfinite(value), 1, jnp.nan).astype(value.dtype)

    return loss


def scalar_loss(loss_fn: LossFn, params: PyTree, batch: Any) -> Float[Array, ""]:
    """Calls a loss function of either form and returns the loss.

    Raises:
      ValueError: the loss is not a floating point scalar.
    """
    result = loss_fn(params, batch)
    loss = jnp.asarray(result[0] if isinstance(result, tuple) else result)
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(
            "loss_fn must return a scalar loss, or (loss, outputs); got a loss of "
            f"{loss.dtype}{list(loss.shape)}"
        )
    return loss


def outputs(loss_fn: LossFn, params: PyTree, batch: Any) -> Float[Array, "..."]:
    """The network's outputs that a loss function of the second form returns beside the loss.

    Raises:
      ValueError: it returns the loss alone.
    """
    result = loss_fn(params, batch)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError(
            "this criterion reads the network's outputs: let loss_fn return (loss, outputs)"
        )
    return result[1]


def examples(batch: Any) -> int:
    """The number of examples in a batch: the length of its leaves' first axis.

    Raises:
      ValueError: the batch is empty, or its leaves disagree.
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(batch)]
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "a batch is a pytree of arrays whose first axis counts the examples; got first axes "
            f"{sorted(lengths)}"
        )
    return lengths.pop()
