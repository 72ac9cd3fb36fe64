"""Criteria: one score for each prunable weight, higher meaning keep.

Each is ``(params, masks, batch, *, loss_fn, key) -> scores``. ``loss_fn`` is ``(params, batch) ->
loss`` or ``-> (loss, outputs)``; a criterion calls it with the pruned weights at 0 and leaves the
parameters that cannot be pruned as they are.

Networks with batch normalisation: running statistics live in ``loss_fn``'s closure and no
criterion updates them. SNIP, GraSP and ProsPr are defined on a network in training mode (the
batch's own statistics); SynFlow needs evaluation mode (the running ones).
"""

from typing import cast

from prunejax.criteria.criterion import Criterion, Score
from prunejax.criteria.grasp import grasp
from prunejax.criteria.magnitude import magnitude
from prunejax.criteria.prospr import prospr
from prunejax.criteria.prunable import LossFn
from prunejax.criteria.random import random
from prunejax.criteria.snip import snip
from prunejax.criteria.synflow import synflow
from prunejax.registry import find_entry

CRITERIA: dict[str, Criterion] = {
    "random": Criterion(random, needs_loss=False),
    "magnitude": Criterion(magnitude, needs_loss=False),
    "snip": Criterion(snip),
    "grasp": Criterion(grasp),
    "synflow": Criterion(synflow, rounds=100, float64=True),
    "prospr": Criterion(prospr),
}


def as_criterion(given: str | Criterion | Score) -> Criterion:
    """The criterion that a name or a function stands for, with what it needs.

    A function of this package, and a ``functools.partial`` of one, has the rounds and the precision
    of its entry in ``CRITERIA``. Any other function is taken as it is: one round, no loss needed.

    Args:
      given: a name in ``CRITERIA``, a ``Criterion``, or a function like those.

    Returns:
      The criterion.

    Raises:
      ValueError: there is no criterion of that name.

    >>> as_criterion(synflow).rounds
    100
    """
    entry = find_entry("criterion", given, CRITERIA)
    if entry is None and not callable(given):
        raise ValueError(
            f"a criterion is a name ({', '.join(CRITERIA)}) or a function (params, masks, batch, "
            f"*, loss_fn, key) -> scores, got {given!r}"
        )
    return Criterion(cast(Score, given), needs_loss=False) if entry is None else entry


__all__ = [
    "CRITERIA",
    "Criterion",
    "LossFn",
    "Score",
    "as_criterion",
    "grasp",
    "magnitude",
    "prospr",
    "random",
    "snip",
    "synflow",
]
