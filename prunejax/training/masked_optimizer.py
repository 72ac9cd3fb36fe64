"""Masks inside an optimiser: a pruned weight is exactly 0 after any step of any optimiser."""

from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from prunejax import masks as masks_lib

_OUTER: ContextVar[PyTree | None] = ContextVar("masks of the outer masked", default=None)
"""For a ``masked`` inside another one, in a chain say. No extra argument: line searches refuse what
they do not know."""


def masked(
    tx: optax.GradientTransformation | optax.MultiSteps,
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optax transformation so that it trains a pruned network.

    ``update`` takes the masks as the extra argument ``masks=``. The transformation inside sees
    zero gradients and zero weights where a weight is pruned, so that no moment gathers there, and
    the update that leaves it is minus the weight, so that ``w + update`` is exactly 0 after weight
    decay, momentum, sign updates or anything else (if the weight was finite). Masks are traced:
    changing them between steps does not recompile.

    **It goes outermost**: ``masked(chain(clip, adam))``. What follows it changes its updates, so
    that weights do not end at 0: ``chain(masked(adam), scale(0.5))`` halves the step to 0. (Inside
    another ``masked``, and so in ``make_train_step``, such a chain is put right.) Wrappers that
    pass extra arguments on may stand outside: ``MultiSteps``, ``optax.masked``,
    ``multi_transform``, ``inject_hyperparams``. ``optax.lookahead`` does not: write
    ``masked(lookahead(tx))``, and give masks of the fast parameters, or of both.

    Iterates that an optimiser keeps in its state, by which its evaluation parameters are computed
    (``optax.contrib.schedule_free``), are 0 too where a weight is pruned.

    Args:
      tx: any optax transformation, whole chains and ``optax.MultiSteps`` included.

    Returns:
      A transformation of the same state as ``tx``, whose ``update(gradients, state, params, *,
      masks, **extra)`` raises a ValueError where ``masks`` or ``params`` is missing or the masks
      do not belong to the parameters.

    >>> tx = masked(optax.adamw(1e-3))
    """
    if not hasattr(tx, "update"):
        raise ValueError(f"tx must be an optimiser, optax.adam(1e-3) say, got {tx!r}")
    if is_masked(tx):
        return tx  # pyright: ignore[reportReturnType]
    if isinstance(tx, optax.MultiSteps):
        tx = tx.gradient_transformation()
    inner = optax.with_extra_args_support(tx)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        masks = extra.pop("masks", _OUTER.get())
        if masks is None:
            raise ValueError(
                "masked(tx).update needs masks=: the tree from prunejax.masks.make. A wrapper that "
                "does not pass it on (optax.lookahead) goes inside: masked(lookahead(tx))"
            )
        if params is None:
            raise ValueError("masked(tx).update needs the parameters, its third argument")
        of_gradients = of_params = _where_present(params, masks)
        if isinstance(params, optax.LookaheadParams):
            both = isinstance(masks, optax.LookaheadParams)
            fast, slow = (masks.fast, masks.slow) if both else (masks, masks)
            of_gradients, of_params = fast, optax.LookaheadParams(fast, slow)
        kept = masks_lib.apply(params, of_params)
        masked_gradients = jax.tree.map(_zero_pruned, updates, of_gradients)
        outer = _OUTER.set(of_gradients)
        try:
            updates, state = inner.update(
                masked_gradients, _iterates(state, of_gradients), kept, **extra
            )
        finally:
            _OUTER.reset(outer)
        updates = jax.tree.map(
            lambda mask, step, weight: step if mask is None else jnp.where(mask, step, -weight),
            of_params,
            updates,
            params,
            is_leaf=lambda leaf: leaf is None,
        )
        return updates, _iterates(state, of_gradients)

    update.zeroes_pruned = True  # pyright: ignore[reportFunctionMemberAccess]
    return optax.GradientTransformationExtraArgs(tx.init, update)


def is_masked(tx: optax.GradientTransformation | optax.MultiSteps) -> bool:
    """Whether a transformation comes from ``masked``."""
    return getattr(tx.update, "zeroes_pruned", False)


def _zero_pruned(gradient: Any, mask: Any) -> Any:
    return gradient if mask is None else jnp.where(mask, gradient, 0)


def _where_present(params: PyTree, masks: PyTree) -> PyTree:
    """The masks without the leaves that ``optax.masked`` has taken out of the parameters."""
    if isinstance(params, optax.LookaheadParams):
        return masks

    def is_absent(leaf: Any) -> bool:
        return isinstance(leaf, optax.MaskedNode)

    if not any(map(is_absent, jax.tree.leaves(params, is_leaf=is_absent))):
        return masks
    return jax.tree.map(
        lambda leaf, mask: leaf if is_absent(leaf) else mask, params, masks, is_leaf=is_absent
    )


def _iterates(state: Any, masks: PyTree) -> Any:
    """The optimiser's state with its iterates set to 0 where a weight is pruned."""
    from optax.contrib import ScheduleFreeState

    def is_iterate(node: Any) -> bool:
        return isinstance(node, ScheduleFreeState)

    def zeroed(node: Any) -> Any:
        if not is_iterate(node):
            return node
        by_path = dict(jax.tree_util.tree_leaves_with_path(masks))
        return node._replace(
            z=jax.tree_util.tree_map_with_path(
                lambda path, leaf: _zero_pruned(leaf, by_path.get(path)), node.z
            ),
            base_optimizer_state=_iterates(node.base_optimizer_state, masks),
        )

    return jax.tree.map(zeroed, state, is_leaf=is_iterate)
