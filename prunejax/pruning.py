"""Pruning: a criterion and an allocation, in one round or in many."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from prunejax import allocation, names
from prunejax import masks as masks_lib
from prunejax.criteria import Criterion, LossFn, Score, as_criterion


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
    batch: Any,
    *,
    criterion: str | Criterion | Score,
    sparsity: SupportsFloat,
    loss_fn: LossFn | None = None,
    key: PRNGKeyArray | None = None,
    rounds: int | None = None,
    schedule: str = "exponential",
    distribution: str = "global",
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
      batch: what ``loss_fn`` takes, and the criterion with it.
      criterion: a name in ``criteria.CRITERIA``, one of these functions, a ``functools.partial``
        of one, or a function of your own (a ``criteria.Criterion`` says what it needs).
      sparsity: the fraction of all prunable weights removed at the end, in [0, 1).
      loss_fn: ``(params, batch) -> loss`` or ``(loss, outputs)``; not needed by "random" and
        "magnitude".
      key: a key from ``jax.random.key``; each round gets one of its own.
      rounds: how many rounds; by default what the criterion's authors prescribe (100 for SynFlow),
        1 for a function of your own.
      schedule: how the sparsity grows over the rounds, a name in ``SCHEDULES``.
      distribution: how kept weights are shared among layers (``allocation.DISTRIBUTIONS``).
      allow_empty: whether a layer may lose all of its weights.
      on_round: called with (round, rounds) after each, to show progress.

    Returns:
      Masks that keep exactly ``allocation.kept_weights(weights, sparsity)`` weights.

    Raises:
      ValueError: an unknown name, rounds < 1, a sparsity outside [0, 1) or below what ``masks``
        have already, or scores that are NaN.
    """
    chosen = as_criterion(criterion)
    rounds = chosen.rounds if rounds is None else rounds
    sparsity = allocation.check_sparsity(sparsity)
    names.choose("schedule", schedule, SCHEDULES)
    if not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be a whole number of at least 1, got {rounds}")
    if loss_fn is None and chosen.needs_loss:
        raise ValueError(
            "this criterion needs loss_fn=: (params, batch) -> loss or (loss, outputs)"
        )
    _refuse_denser(masks, sparsity)
    with jax.enable_x64(True) if chosen.float64 else nullcontext():
        if chosen.float64:
            params, batch = _as_float64(params), _as_float64(batch)
        for done in range(1, rounds + 1):
            round_key = None if key is None else jax.random.fold_in(key, done)
            scores = _score(
                params, masks, batch, round_key, criterion=chosen.score, loss_fn=loss_fn
            )
            masks = allocation.allocate(
                scores,
                # The last round is exact whatever the schedule's rounding does.
                sparsity if done == rounds else SCHEDULES[schedule](sparsity, done / rounds),
                distribution=distribution,
                masks=masks,
                allow_empty=allow_empty,
            )
            if on_round is not None:
                on_round(done, rounds)
    return masks


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


def _refuse_denser(masks: PyTree, sparsity: float) -> None:
    total = sum(mask.size for mask in jax.tree.leaves(masks))
    kept = masks_lib.count(masks)
    if allocation.kept_weights(total, sparsity) > kept:
        raise ValueError(
            f"sparsity {sparsity} is below the {1 - kept / total:.4f} that the masks have already; "
            "pruning never brings a weight back"
        )
