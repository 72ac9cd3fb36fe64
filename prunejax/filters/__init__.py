"""Filters: which channels of a convolution are redundant, and which are worth keeping.

The method of Yang et al. 2025 (doi 10.23967/j.rimni.2025.10.73400) in its parts, on the feature
maps of one layer, ``maps`` of shape [images, height, width, channels]:

- ``similarity(maps)``: how far the perceptual hashes of two filters' maps agree;
- ``entropy(maps)``: how much each filter's activations tell;
- ``select(similarity, entropy, tau)``: of each redundant group the filter of highest entropy;
- ``redundancy(similarity, keep, tau)``: the graph behind it, for a person to look at.

``keep(features, tau)`` is all of it in one call. Criteria, the method and its peers, are
``(features, *, key) -> scores`` with one score for each channel, higher meaning keep.
"""

from collections.abc import Callable

from jaxtyping import Array

from prunejax.filters.apoz import apoz
from prunejax.filters.bn_scale import bn_scale
from prunejax.filters.chip import chip
from prunejax.filters.entropy import entropy
from prunejax.filters.entropy_kcore import (
    entropy_alone,
    entropy_kcore,
    kcore_l1,
    kcore_random,
    keep,
)
from prunejax.filters.features import ChannelFeatures
from prunejax.filters.fpgm import fpgm
from prunejax.filters.hashing import constant_channels, is_hashable, perceptual_hash
from prunejax.filters.hrank import hrank
from prunejax.filters.norms import l1, l2
from prunejax.filters.random import random
from prunejax.filters.redundancy import Redundancy, coreness, redundancy
from prunejax.filters.selection import select
from prunejax.filters.similarity import Agreement, agreement, similarity

FilterCriterion = Callable[..., Array]

FILTER_CRITERIA: dict[str, FilterCriterion] = {
    "entropy_kcore": entropy_kcore,
    "entropy": entropy_alone,
    "kcore_random": kcore_random,
    "kcore_l1": kcore_l1,
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "apoz": apoz,
    "hrank": hrank,
    "bn_scale": bn_scale,
    "chip": chip,
    "random": random,
}

NEEDS: dict[str, tuple[str, ...]] = {
    "entropy_kcore": ("maps",),
    "entropy": ("maps",),
    "kcore_random": ("maps",),
    "kcore_l1": ("maps", "kernel"),
    "l1": ("kernel",),
    "l2": ("kernel",),
    "fpgm": ("kernel",),
    "apoz": ("activations",),
    "hrank": ("maps",),
    "bn_scale": ("scale",),
    "chip": ("maps",),
    "random": ("kernel",),
}
"""Criterion -> the members of ``ChannelFeatures`` that it reads."""

__all__ = [
    "FILTER_CRITERIA",
    "NEEDS",
    "Agreement",
    "ChannelFeatures",
    "FilterCriterion",
    "Redundancy",
    "agreement",
    "apoz",
    "bn_scale",
    "chip",
    "constant_channels",
    "coreness",
    "entropy",
    "entropy_alone",
    "entropy_kcore",
    "fpgm",
    "hrank",
    "is_hashable",
    "kcore_l1",
    "kcore_random",
    "keep",
    "l1",
    "l2",
    "perceptual_hash",
    "random",
    "redundancy",
    "select",
    "similarity",
]
