"""The wrapper of an optax transformation that changes masks during training."""

import dataclasses
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray, PyTree

from prunejax import masks as masks_lib
from prunejax import names
from prunejax.allocation import Pattern, as_pattern, check_sparsity
from prunejax.rewiring.checks import refuse_not_finite
from prunejax.rewiring.during_training.batching import in_any
from prunejax.rewiring.during_training.course import Course, Moment
from prunejax.rewiring.during_training.keeping import KeepBest
from prunejax.rewiring.during_training.methods import TRAINING_METHODS, TrainingMethod
from prunejax.rewiring.during_training.replacing import DropAndGrow
from prunejax.rewiring.during_training.timing import Timing
from prunejax.selecting import Select
from prunejax.training.masked_optimizer import masked
from prunejax.training.slots import reset


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparsifiedState:
    """The state of ``sparsified``: any pytree's tools work on it, checkpoints too.

    Attributes:
      step: how many updates were made, int32, [].
      masks: parallel to the parameters.
      key: a key from ``jax.random.key``; what each change draws from is folded out of it.
      inner: the state of the transformation inside.
      straight_through: whether pruned weights are kept and trained on; not traced.
    """

    step: Any
    masks: PyTree
    key: Any
    inner: Any
    straight_through: bool = dataclasses.field(metadata={"static": True})


def sparsified(
    tx: optax.GradientTransformation | optax.MultiSteps,
    method: str | TrainingMethod,
    *,
    sparsity: SupportsFloat | None = None,
    every: int,
    begin: int = 0,
    end: int | None = None,
    distribution: str = "global",
    pattern: str | Pattern | None = None,
    select: Select | None = None,
    key: PRNGKeyArray | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optax transformation so that it prunes or rewires the network that it trains.

    After the steps ``begin, begin + every, ...`` up to ``end`` the method chooses new masks from
    the parameters that the step has made. (Where ``begin`` is 0 the first masks are those of the
    initial parameters.) A pruned weight is exactly 0 after every step, a new link begins at 0, and
    the optimiser's slots of what was dropped or grown are as at the start. Masks change inside
    jit, ``lax.scan`` and ``jax.vmap`` without recompiling, and nothing is computed in the steps
    between. The number of links is exact after each change.

    **It goes outermost**, as ``training.masked`` does. Pass the gradient of all weights, as
    ``jax.grad`` gives it: RigL looks at those of pruned weights. Where the first masks prune, the
    first step takes its gradient from the parameters as they are given, and prunes them;
    ``masks.apply(params, masks_of(state))`` beforehand begins with pruned ones.

    Args:
      tx: any optax transformation, whole chains included.
      method: a name in ``TRAINING_METHODS``, or a ``KeepBest`` or ``DropAndGrow`` with settings
        of your own.
      sparsity: the fraction of the weights that is pruned in the end, in [0, 1). ``NofM`` has its
        own.
      every: steps from one change of masks to the next.
      begin: steps before the first change.
      end: steps before the last change, at most; needed by schedules (``gradual``, ``rigl``). By
        default masks change as long as training goes on (those of ``one_shot`` once, after
        ``begin``).
      distribution: how kept weights are shared among layers, one of ``allocation.DISTRIBUTIONS``.
      pattern: "2:4" or ``NofM(2, 4)``, "4x4" or ``Blocks(4, 4)``, "per_output" or ``PerOutput()``,
        for methods that keep the largest.
      select: which leaves are pruned, see ``masks.make``; by default all kernels.
      key: for methods that draw, by default ``jax.random.key(0)``. Only ``init`` uses it, and it
        may be traced: under ``jax.vmap``, make the wrapper inside, with a key for each member.

    Returns:
      A transformation whose state is a ``SparsifiedState``: ``update(gradients, state, params)``.

    Raises:
      ValueError: an unknown name, a sparsity out of range or missing, steps that are no steps; and
        from ``init``: a leaf that does not fit the pattern, or a layer that would lose all links.

    >>> tx = sparsified(optax.adam(1e-3), "rigl", sparsity=0.9, every=100, end=7500)
    """
    if isinstance(tx, optax.MultiSteps):
        tx = tx.gradient_transformation()
    if sparsity is not None:
        check_sparsity(sparsity)
    chosen = _as_method(method)
    timing = Timing(every, begin, end)
    if chosen.changes_once:
        timing = Timing(every, begin, begin)
    if chosen.needs_end and end is None:
        raise ValueError(f"{method!r} needs end=, the step of the last change of masks")
    if chosen.needs_end and end is not None and end - begin < every:
        raise ValueError(
            f"{method!r} changes masks by and by, but every {every} steps from {begin} to {end} is "
            "one change: lower every, or take one_shot"
        )
    shape = as_pattern(pattern)
    if not hasattr(tx, "update"):
        raise ValueError(f"tx must be an optax transformation, optax.adam(1e-3) say; got {tx!r}")
    drawn_from = jax.random.key(0) if key is None else key
    straight_through = chosen.straight_through
    inner = optax.with_extra_args_support(tx if straight_through else masked(tx))

    def course_of(prunable: PyTree) -> Course:
        return chosen.course(prunable, sparsity, distribution, shape, timing.fractions())

    def init(params: PyTree) -> SparsifiedState:
        masks = masks_lib.make(params, select)
        prunable = _with_mask(params, masks)
        for path, leaf in jax.tree_util.tree_leaves_with_path(prunable):
            refuse_not_finite(f"weights of {masks_lib.name(path)!r}", leaf)
        course = course_of(prunable)
        if begin == 0 or isinstance(chosen, DropAndGrow):
            masks = chosen.first(drawn_from, prunable, course)
        return SparsifiedState(
            jnp.zeros((), jnp.int32), masks, drawn_from, inner.init(params), straight_through
        )

    def update(
        updates: PyTree, state: SparsifiedState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, SparsifiedState]:
        if params is None:
            raise ValueError("sparsified(tx).update needs the parameters, its third argument")
        gradients, old = updates, state.masks
        if not straight_through:
            extra["masks"] = old
        updates, inner_state = inner.update(gradients, state.inner, params, **extra)
        done = state.step + 1
        due = timing.is_due(done)

        def changed_masks() -> tuple[PyTree, Any]:
            after = optax.apply_updates(params, updates)
            moment = Moment(
                key=jax.random.fold_in(state.key, done),
                number=timing.number(done),
                params=_with_mask(after, old),
                gradients=_with_mask(gradients, old),
                masks=old,
            )
            new = chosen.change(moment, course_of(moment.params))
            # In a batch this branch is taken for all members as soon as one is due.
            new = jax.tree.map(lambda new, old: jnp.where(due, new, old), new, old)
            if straight_through:
                return new, inner_state
            fresh = inner.init(jax.tree.map(jnp.zeros_like, params))
            return new, reset(inner_state, fresh, jax.tree.map(jnp.logical_xor, new, old))

        masks, inner_state = jax.lax.cond(in_any(due), changed_masks, lambda: (old, inner_state))
        if not straight_through:
            both = jax.tree.map(jnp.logical_and, masks, old)
            updates = jax.tree.map(_to_zero, both, updates, params, is_leaf=_is_none)
        return updates, dataclasses.replace(state, step=done, masks=masks, inner=inner_state)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def masks_of(state: Any) -> PyTree:
    """The masks in the state of ``sparsified``, also where it is part of another one.

    Args:
      state: an optimiser's state.

    Returns:
      The masks, parallel to the parameters.

    Raises:
      ValueError: there is no ``SparsifiedState`` in it.
    """
    return _find(state).masks


def forward_params(params: PyTree, state: Any) -> PyTree:
    """The parameters that the forward pass uses: call it inside the loss.

    With a straight-through method those are the weights that the masks keep and 0 elsewhere, and
    the gradient goes to all weights as if all were used. With any other method they are the
    parameters as they are.

    Args:
      params: the parameters that are trained.
      state: the optimiser's state.

    Returns:
      A tree like ``params``. (After training, ``masks.apply(params, masks_of(state))`` is the
      pruned network.)

    Raises:
      ValueError: there is no ``SparsifiedState`` in the state.
    """
    found = _find(state)
    if not found.straight_through:
        return params
    pruned = masks_lib.apply(params, found.masks)
    return jax.tree.map(lambda all, kept: all + jax.lax.stop_gradient(kept - all), params, pruned)


def _as_method(given: str | TrainingMethod) -> TrainingMethod:
    if isinstance(given, KeepBest | DropAndGrow):
        return given
    return TRAINING_METHODS[names.choose("training method", given, TRAINING_METHODS)]


def _with_mask(tree: PyTree, masks: PyTree) -> PyTree:
    """The leaves that have a mask, None elsewhere."""
    return jax.tree.map(
        lambda mask, leaf: None if mask is None else leaf, masks, tree, is_leaf=_is_none
    )


def _to_zero(stays: Any, step: Any, weight: Any) -> Any:
    """The update, or minus the weight where it does not stay."""
    return step if stays is None else jnp.where(stays, step, -weight)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _find(state: Any) -> SparsifiedState:
    def is_ours(node: Any) -> bool:
        return isinstance(node, SparsifiedState)

    for node in jax.tree.leaves(state, is_leaf=is_ours):
        if is_ours(node):
            return node
    raise ValueError("this optimiser's state is not one of during_training.sparsified")
