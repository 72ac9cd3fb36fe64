"""Kernels in C++, compiled where they run; without a compiler all works without them, slower."""

from prunejax.sparse.native.building import UnavailableError, build
from prunejax.sparse.native.library import is_available, log_absence
from prunejax.sparse.native.product import INPUTS, OUTPUTS, WEIGHTS, product
from prunejax.sparse.native.scores import RULES, l3_scores

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "RULES",
    "WEIGHTS",
    "UnavailableError",
    "build",
    "is_available",
    "l3_scores",
    "log_absence",
    "product",
]
