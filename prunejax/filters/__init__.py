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

from typing import cast

from prunejax.filters.apoz import apoz
from prunejax.filters.bn_scale import bn_scale
from prunejax.filters.chip import chip
from prunejax.filters.criterion import ChannelScore, FilterCriterion
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
from prunejax.registry import find_entry

FILTER_CRITERIA: dict[str, FilterCriterion] = {
    "entropy_kcore": FilterCriterion(entropy_kcore, needs=("maps",)),
    "entropy": FilterCriterion(entropy_alone, needs=("maps",)),
    "kcore_random": FilterCriterion(kcore_random, needs=("maps",)),
    "kcore_l1": FilterCriterion(kcore_l1, needs=("maps", "kernel")),
    "l1": FilterCriterion(l1, needs=("kernel",)),
    "l2": FilterCriterion(l2, needs=("kernel",)),
    "fpgm": FilterCriterion(fpgm, needs=("kernel",)),
    "apoz": FilterCriterion(apoz, needs=("activations",)),
    "hrank": FilterCriterion(hrank, needs=("maps",)),
    "bn_scale": FilterCriterion(bn_scale, needs=("scale",)),
    "chip": FilterCriterion(chip, needs=("maps",)),
    "random": FilterCriterion(random, needs=("kernel",)),
}


def as_filter_criterion(given: str | FilterCriterion | ChannelScore) -> FilterCriterion:
    """The criterion that a name or a function stands for, with what it needs.

    Args:
      given: a name in ``FILTER_CRITERIA``, a ``FilterCriterion``, a function of this package, a
        ``functools.partial`` of one, or another function of that form.

    Returns:
      The criterion; a function that is not registered reads the kernel and the feature maps.

    Raises:
      ValueError: there is no criterion of that name.

    >>> as_filter_criterion(apoz).needs
    ('activations',)
    """
    entry = find_entry("criterion for channels", given, FILTER_CRITERIA)
    return (
        FilterCriterion(cast(ChannelScore, given), ("kernel", "maps")) if entry is None else entry
    )


__all__ = [
    "FILTER_CRITERIA",
    "Agreement",
    "ChannelFeatures",
    "ChannelScore",
    "FilterCriterion",
    "Redundancy",
    "agreement",
    "apoz",
    "as_filter_criterion",
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
