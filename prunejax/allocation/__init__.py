"""Allocation: from scores and a sparsity to masks of exactly that many weights.

How many weights each layer keeps is one question (``distributions``), which ones the other: those
of the highest scores (``keep``, ``keep_per_leaf``), alone or in a shape (``patterns``).
"""

from prunejax.allocation.allocating import allocate
from prunejax.allocation.blocks import Blocks
from prunejax.allocation.keeping import keep, keep_per_leaf
from prunejax.allocation.n_of_m import NofM
from prunejax.allocation.patterns import Pattern, as_pattern
from prunejax.allocation.per_output import PerOutput
from prunejax.allocation.sharing import Share, Sparsity, shares
from prunejax.allocation.unstructured import Unstructured
from prunejax.distributions import (
    DENSITIES,
    DISTRIBUTIONS,
    check_sparsity,
    kept_weights,
    leaf_counts,
)

__all__ = [
    "DENSITIES",
    "DISTRIBUTIONS",
    "Blocks",
    "NofM",
    "Pattern",
    "PerOutput",
    "Share",
    "Sparsity",
    "Unstructured",
    "allocate",
    "as_pattern",
    "check_sparsity",
    "keep",
    "keep_per_leaf",
    "kept_weights",
    "leaf_counts",
    "shares",
]
