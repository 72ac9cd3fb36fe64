"""Pruning: a criterion and an allocation, in one round or in many."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import PRNGKeyArray, PyTree

from prunejax import allocation, names
from prunejax import masks as masks_lib
from prunejax.allocation import Pattern, Sparsity
from prunejax.criteria import Criterion, LossFn, Score, as_criterion
from prunejax.selecting import Select, is_donated


def _exponential(sparsity: float, fraction: float) -> float:
    return 1 - (1 - sparsity) ** fraction


def _linear(sparsity: float, fraction: float) -> float:
    return sparsity * fraction


def _cubic(sparsity: float, fraction: float) -> float:
    return sparsity * (1 - (1 - fraction) ** 3)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "exponential": _exponential,
    "linear": _linear,
    "cubic": _cubic,
}
"""``(final sparsity, fraction of the rounds done) -> sparsity``; exponential is SynFlow's
``1 - density^(r/R)``, cubic is Zhu & Gupta's."""


def prune(
    params: PyTree,
    masks: PyTree,
    batch: Any = None,
    *,
    criterion: str | Criterion | Score,
    sparsity: Sparsity | None = None,
    loss_fn: LossFn | None = None,
    key: PRNGKeyArray | None = None,
    rounds: int | None = None,
    schedule: str = "exponential",
    distribution: str = "global",
    pattern: str | Pattern | None = None,
    exclude: Select | None = None,
    allow_empty: bool = False,
    on_round: Callable[[int, int], None] | None = None,
) -> PyTree:
    """Scores and removes weights, round by round, until the sparsity is reached.

    A round scores the network that the rounds before left, and removes the lowest scores up to
    the schedule's sparsity; what is pruned stays pruned. One compiled program serves all rounds,
    and all calls with the same ``criterion`` and ``loss_fn``. SynFlow is computed in float64:
    its flow leaves the range of float32 in networks of thirty layers.

    Args:
      params: the network's parameters.
      masks: from ``masks.make``; weights that they prune already stay pruned.
      batch: what ``loss_fn`` takes, and the criterion with it; "magnitude" and "random" need none.
      criterion: a name in ``criteria.CRITERIA``, one of these functions, a ``functools.partial``
        of one, or a function of your own (a ``criteria.Criterion`` says what it needs).
      sparsity: the fraction of all prunable weights removed at the end, in [0, 1), or one for each
        pattern of leaf paths, see ``allocation.allocate``.
      loss_fn: ``(params, batch) -> loss`` or ``(loss, outputs)``; not needed by "random" and
        "magnitude".
      key: a key from ``jax.random.key``; each round gets one of its own.
      rounds: how many rounds; by default what the criterion's authors prescribe (100 for SynFlow),
        1 for a function of your own.
      schedule: how the sparsity grows over the rounds, a name in ``SCHEDULES``.
      distribution: how kept weights are shared among layers (``allocation.DISTRIBUTIONS``).
      pattern: in what shape weights stay, "2:4" say; see ``allocation.allocate``.
      exclude: leaves that stay whole and do not count; see ``allocation.allocate``.
      allow_empty: whether a layer may lose all of its weights.
      on_round: called with (round, rounds) after each, to show progress.

    Returns:
      Masks that keep exactly ``allocation.kept_weights(weights, sparsity)`` weights. Can be called
      inside jit, where what the masks have pruned already cannot be checked.

    Raises:
      ValueError: an unknown name, rounds < 1, a sparsity outside [0, 1) or below what ``masks``
        have already, a leaf that does not fit the pattern, or scores that are NaN.
    """
    for leaf in jax.tree.leaves((params, masks)):
        if is_donated(leaf):
            raise ValueError(
                "these arrays were given to a training step, which reuses their memory: take those "
                "of the state that the step (or fit) returned, or keep a copy by training.snapshot"
            )
    chosen = as_criterion(criterion)
    rounds = chosen.rounds if rounds is None else rounds
    names.choose("schedule", schedule, SCHEDULES)
    if not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be a whole number of at least 1, got {rounds!r}")
    if loss_fn is None and chosen.needs_loss:
        raise ValueError(
            "this criterion needs loss_fn=: (params, batch) -> loss or (loss, outputs)"
        )
    shape = allocation.as_pattern(pattern)
    if isinstance(shape, allocation.Unstructured):  # the others round by group, block or output
        _refuse_denser(masks, sparsity, exclude)
    inside = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, masks, batch)))
    if chosen.float64 and inside and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "this criterion is computed in float64, which cannot begin inside jit: call prune "
            "outside of it, or switch float64 on for the program (jax.config.update("
            '"jax_enable_x64", True))'
        )
    wide = chosen.float64 and _follows_float64(chosen.score, params, masks, batch, key, loss_fn)
    with jax.enable_x64(True) if wide else nullcontext():
        if wide:
            params, batch = _as_float64(params), _as_float64(batch)
        for done in range(1, rounds + 1):
            round_key = None if key is None else jax.random.fold_in(key, done)
            scores = _score(
                params, masks, batch, round_key, criterion=chosen.score, loss_fn=loss_fn
            )
            _check_scores(scores, masks)
            # The last round is exact whatever the schedule's rounding does.
            target, shape_now = sparsity, shape
            if done < rounds:
                target, shape_now = _on_the_way(sparsity, shape, SCHEDULES[schedule], done / rounds)
            masks = allocation.allocate(
                scores,
                target,
                distribution=distribution,
                pattern=shape_now,
                exclude=exclude,
                masks=masks,
                allow_empty=allow_empty,
            )
            if on_round is not None:
                on_round(done, rounds)
    return masks


def _check_scores(scores: PyTree, masks: PyTree) -> None:
    """Refuses scores of a criterion that are not parallel to the masks.

    Raises:
      ValueError: a leaf has other scores than its mask has entries, or none.
    """
    found = {
        masks_lib.name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(scores)
    }
    for path, mask in jax.tree_util.tree_leaves_with_path(masks):
        name = masks_lib.name(path)
        if name not in found:
            raise ValueError(
                f"the criterion gave no scores for {name!r}: it returns a tree like the masks, "
                "with a score for each weight of a leaf that has a mask and None elsewhere"
            )
        if jnp.shape(found[name]) != mask.shape:
            raise ValueError(
                f"the criterion gave scores of shape {jnp.shape(found[name])} for {name!r}, whose "
                f"mask has shape {mask.shape}"
            )


def _on_the_way(
    sparsity: Sparsity | None,
    shape: Pattern,
    schedule: Callable[[float, float], float],
    fraction: float,
) -> tuple[Sparsity | None, Pattern]:
    """The sparsity and the pattern after a fraction of the rounds."""
    if isinstance(shape, allocation.NofM):
        own = shape.sparsity
        shape = shape.after(schedule(own, fraction) / own if own else 1.0)
        now = shape.sparsity
        return now if sparsity is None else _each(sparsity, lambda _: now), shape
    if sparsity is None:
        return None, shape
    return _each(sparsity, lambda one: schedule(one, fraction)), shape


def _each(sparsity: Sparsity, change: Callable[[float], float]) -> Sparsity:
    """Another sparsity in the place of each one: of all leaves, or of each pattern of paths."""
    if isinstance(sparsity, Mapping):
        return {
            name: change(allocation.check_sparsity(number)) for name, number in sparsity.items()
        }
    return change(allocation.check_sparsity(sparsity))


def _follows_float64(
    criterion: Score,
    params: PyTree,
    masks: PyTree,
    batch: Any,
    key: PRNGKeyArray | None,
    loss_fn: LossFn | None,
) -> bool:
    """Whether a network computes in float64 where its parameters are of it.

    One that holds a dtype of its own, the float32 carry of a scanned LSTM say, cannot: its loop
    would change the carry's dtype. It is scored in float32, with a warning.
    """

    scored = partial(_score.eval_shape, criterion=criterion, loss_fn=loss_fn)
    try:
        with jax.enable_x64(True):
            scored(_as_float64(params), masks, _as_float64(batch), key)
    except TypeError as in_float64:
        try:
            scored(params, masks, batch, key)
        except TypeError:
            raise in_float64 from None
        warnings.warn(
            "this criterion is computed in float32: the network does not follow float64 parameters "
            f"({str(in_float64).partition(chr(10))[0]}). Scores of a deep network may overflow, "
            "which is refused",
            stacklevel=3,
        )
        return False
    return True


@partial(jax.jit, static_argnames=("criterion", "loss_fn"))
def _score(
    params: PyTree,
    masks: PyTree,
    batch: Any,
    key: PRNGKeyArray | None,
    *,
    criterion: Score,
    loss_fn: LossFn | None,
) -> PyTree:
    return criterion(params, masks, batch, loss_fn=loss_fn, key=key)


def _as_float64(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: (
            jnp.asarray(leaf, jnp.float64)
            if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
            else leaf
        ),
        tree,
    )


def _refuse_denser(masks: PyTree, sparsity: Sparsity | None, exclude: Select | None) -> None:
    """Refuses to prune less than is pruned already, where that is known."""
    named = jax.tree_util.tree_leaves_with_path(masks)
    leaves = [mask for _, mask in named]
    if not leaves or any(isinstance(mask, Tracer) for mask in leaves):
        return
    paths = [masks_lib.name(path) for path, _ in named]
    for share in allocation.shares(paths, sparsity, exclude):
        of_share = [leaves[at] for at in share.leaves]
        total = sum(mask.size for mask in of_share)
        kept = masks_lib.count(of_share)
        number = share.sparsity
        if number is not None and allocation.kept_weights(total, number) > kept:
            raise ValueError(
                f"sparsity {number} is below the {1 - kept / total:.4f} that the masks have "
                "already; pruning never brings a weight back"
            )
