"""Criteria: one score for each prunable weight, higher meaning keep.

Each is ``(params, masks, batch, *, loss_fn, key) -> scores``. ``loss_fn`` is ``(params, batch) ->
loss`` or ``-> (loss, outputs)``; a criterion calls it with the pruned weights at 0 and leaves the
parameters that cannot be pruned as they are.

Networks with batch normalisation: running statistics live in ``loss_fn``'s closure and no
criterion updates them. SNIP, GraSP and ProsPr are defined on a network in training mode (the
batch's own statistics); SynFlow needs evaluation mode (the running ones).
"""

from collections.abc import Callable

from jaxtyping import PyTree

from prunejax.criteria.grasp import grasp
from prunejax.criteria.magnitude import magnitude
from prunejax.criteria.prospr import prospr
from prunejax.criteria.prunable import LossFn
from prunejax.criteria.random import random
from prunejax.criteria.snip import snip
from prunejax.criteria.synflow import synflow

Criterion = Callable[..., PyTree]

CRITERIA: dict[str, Criterion] = {
    "random": random,
    "magnitude": magnitude,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "prospr": prospr,
}

__all__ = [
    "CRITERIA",
    "Criterion",
    "LossFn",
    "grasp",
    "magnitude",
    "prospr",
    "random",
    "snip",
    "synflow",
]
