"""Masks inside an optimiser: a pruned weight is exactly 0 after any step of any optimiser."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from prunejax import masks as masks_lib


def masked(
    tx: optax.GradientTransformation | optax.MultiSteps,
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optax transformation so that it trains a pruned network.

    ``update`` takes the masks as the extra argument ``masks=``. The transformation inside sees
    zero gradients and zero weights where a weight is pruned, so that no moment gathers there, and
    the update that leaves it is minus the weight, so that ``w + update`` is exactly 0 after weight
    decay, momentum, sign updates or anything else (if the weight was finite). Masks are traced:
    changing them between steps does not recompile.

    Args:
      tx: any optax transformation, whole chains and ``optax.MultiSteps`` included.

    Returns:
      A transformation of the same state as ``tx``, whose ``update(gradients, state, params, *,
      masks, **extra)`` raises a ValueError where ``masks`` or ``params`` is missing or the masks
      do not belong to the parameters.

    >>> tx = masked(optax.adamw(1e-3))
    """
    if is_masked(tx):
        return tx  # pyright: ignore[reportReturnType]
    if isinstance(tx, optax.MultiSteps):
        tx = tx.gradient_transformation()
    inner = optax.with_extra_args_support(tx)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        masks = extra.pop("masks", None)
        if masks is None:
            raise ValueError("masked(tx).update needs masks=: the tree from prunejax.masks.make")
        if params is None:
            raise ValueError("masked(tx).update needs the parameters, its third argument")
        kept = masks_lib.apply(params, masks)
        masked_gradients = jax.tree.map(_zero_pruned, updates, masks)
        updates, state = inner.update(masked_gradients, state, kept, **extra)
        updates = jax.tree.map(
            lambda mask, step, weight: step if mask is None else jnp.where(mask, step, -weight),
            masks,
            updates,
            params,
            is_leaf=lambda leaf: leaf is None,
        )
        return updates, state

    update.zeroes_pruned = True  # pyright: ignore[reportFunctionMemberAccess]
    return optax.GradientTransformationExtraArgs(tx.init, update)


def is_masked(tx: optax.GradientTransformation | optax.MultiSteps) -> bool:
    """Whether a transformation comes from ``masked``."""
    return getattr(tx.update, "zeroes_pruned", False)


def _zero_pruned(gradient: Any, mask: Any) -> Any:
    return gradient if mask is None else jnp.where(mask, gradient, 0)
