"""Robustness: how a trained network does when links are removed or weights changed.

A perturbation is ``(key, weights, strength) -> weights`` on the kept weights of one layer. It acts
on every layer that has a mask, with the same strength, and nothing is trained again. Those of
``PERTURBATIONS`` are the five of Sulyok et al. 2026, Section 2.2.
"""

from prunejax.robustness.curves import Curve, curve
from prunejax.robustness.modifying import noise, shuffling
from prunejax.robustness.perturbation import Change, Perturbation
from prunejax.robustness.perturbing import perturb
from prunejax.robustness.registry import PERTURBATIONS, as_perturbation
from prunejax.robustness.removing import (
    count_removed,
    random,
    reverse_weight_order,
    weight_order,
)

__all__ = [
    "PERTURBATIONS",
    "Change",
    "Curve",
    "Perturbation",
    "as_perturbation",
    "count_removed",
    "curve",
    "noise",
    "perturb",
    "random",
    "reverse_weight_order",
    "shuffling",
    "weight_order",
]
