"""What is known of redundant channels, and which of them stay at any threshold."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax import filters, names
from prunejax.channels.scores import BEST, ChannelScores, Rule
from prunejax.filters.entropy_kcore import NAMES, Representative
from prunejax.network import Network


class Measured(NamedTuple):
    """What the method needs to know of a group of channels.

    Attributes:
      layer: the layer whose feature maps were read.
      similarity: of each pair of its filters (Eq. 1).
      entropy: of each filter (Eq. 3), nats.
      l1: the sum of each filter's absolute weights.
    """

    layer: str
    similarity: Float[Array, "width width"]
    entropy: Float[Array, " width"]
    l1: Float[Array, " width"]


@dataclasses.dataclass(frozen=True, eq=False)
class Redundancies:
    """What ``measure`` read off a network; with a threshold it gives a plan.

    Attributes:
      groups: what was measured, by the group's name.
      skipped: the layers whose maps carry no hash or are all constant; they stay whole.
    """

    groups: dict[str, Measured]
    skipped: tuple[str, ...] = ()

    def thresholds(self, tau: float, *, delta: float = 0.0) -> dict[str, float]:
        """The threshold of each group, ``min(1, tau + delta i / (L - 1))`` for the i-th of L.

        Args:
          tau: the threshold of the first group, in [0, 1].
          delta: by how much the threshold of the last group is higher.

        Returns:
          Group name -> threshold.

        Raises:
          ValueError: an argument is out of its range.
        """
        if not delta >= 0:
            raise ValueError(f"delta must not be negative, got {delta}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau}")
        last = max(len(self.groups) - 1, 1)
        return {
            group: min(1.0, tau + delta * index / last) for index, group in enumerate(self.groups)
        }


def score_by_redundancy(
    network: Network, redundancies: Redundancies
) -> ChannelScores[Redundancies]:
    """Scores channels by entropy; ``.keep(tau)`` leaves one channel of each redundant set.

    Args:
      network: the network.
      redundancies: what was measured on it.

    Returns:
      The scores; ``keep_representatives`` is their rule.

    Raises:
      ValueError: the network has no such groups, or entropies are NaN or infinite.
    """
    scores = {group: measured.entropy for group, measured in redundancies.groups.items()}
    rule = Rule(functools.partial(keep_representatives, redundancies), BEST.level)
    return ChannelScores(network, scores, rule, redundancies)


def keep_representatives(
    redundancies: Redundancies,
    scores: Mapping[str, Any],
    tau: float,
    *,
    representative: Representative = "entropy",
    key: PRNGKeyArray | None = None,
    delta: float = 0.0,
    inclusive: bool = False,
    min_channels: int = 1,
    quota: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """Selects the channels of every group (Yang et al. 2025, Algorithm 2).

    Args:
      redundancies: what was measured.
      scores: for each group the entropy of each channel.
      tau: the threshold on similarity, in [0, 1]: the lower, the fewer channels stay.
      representative: which filter of a redundant set stays: that of highest "entropy" (the
        paper), of largest "l1" norm, or a "random" one.
      key: for "random" only.
      delta: later layers get a higher threshold, ``min(1, tau + delta i / (L - 1))`` for the
        i-th of L groups (Section 3.5.3).
      inclusive: whether a similarity of exactly tau makes filters redundant too.
      min_channels: how many channels of a group stay at least.
      quota: regular expression on group names -> the fraction of such a group's channels that
        stays at least, for a DenseNet's transitions (Section 3.5.3).

    Returns:
      For each group that was measured a bool array, [width].

    Raises:
      ValueError: an argument is out of its range, "random" has no key, or a pattern of the
        quota matches no group.
    """
    least = _least(redundancies, min_channels, quota or {})
    thresholds = redundancies.thresholds(tau, delta=delta)
    kept = {
        group: filters.select(
            measured.similarity,
            _worth(measured._replace(entropy=scores[group]), representative, key, index),
            thresholds[group],
            inclusive=inclusive,
            min_channels=least[group],
        )
        for index, (group, measured) in enumerate(redundancies.groups.items())
    }
    return {group: np.asarray(stays) for group, stays in kept.items()}


def rank_redundant(
    measured: ChannelScores[Redundancies],
    tau: float,
    *,
    representative: Representative = "entropy",
    key: PRNGKeyArray | None = None,
    delta: float = 0.0,
) -> ChannelScores[None]:
    """Ranks all channels; those that ``keep_representatives`` selects come first.

    With these scores any number of channels can be kept: redundant ones come back, or selected ones
    go, in the order of their worth as representatives.

    Args:
      measured: what ``measure`` gave.
      tau: as in ``keep_representatives``.
      representative: as in ``keep_representatives``.
      key: as in ``keep_representatives``.
      delta: as in ``keep_representatives``.

    Returns:
      Scores of 1 and more for the channels selected, below 1 for the others.

    Raises:
      ValueError: as ``keep_representatives``.
    """
    kept = measured.keep(tau, representative=representative, key=key, delta=delta)
    scores = {}
    for index, (group, of_group) in enumerate(measured.evidence.groups.items()):
        order = np.argsort(-np.asarray(_worth(of_group, representative, key, index)), stable=True)
        place = np.empty(len(order), np.float32)
        place[order] = np.arange(len(order), 0, -1) - 1
        scores[group] = jnp.asarray(kept[group] + place / len(order), jnp.float32)
    return ChannelScores(measured.network, scores)


def _least(
    redundancies: Redundancies, min_channels: int, quota: Mapping[str, float]
) -> dict[str, int]:
    """How many channels of each group stay at least."""
    groups = redundancies.groups
    least = dict.fromkeys(groups, min_channels)
    for pattern, fraction in quota.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {pattern!r} ({error})") from error
        matching = [group for group in groups if re.search(pattern, group)]
        if not matching:
            raise ValueError(
                f"the quota {pattern!r} matches no group; there are {', '.join(groups)}"
            )
        if not 0 <= fraction <= 1:
            raise ValueError(f"the quota of {pattern!r} must be in [0, 1], got {fraction}")
        for group in matching:
            width = len(groups[group].entropy)
            least[group] = max(least[group], math.ceil(fraction * width))
    return least


def _worth(
    measured: Measured, representative: Representative, key: PRNGKeyArray | None, index: int
) -> Array:
    """The worth of each filter of a group as the one that stays of a redundant set."""
    names.choose("representative", representative, NAMES)
    if representative == "entropy":
        return measured.entropy
    if representative == "l1":
        return measured.l1
    if key is None:
        raise ValueError("the representative 'random' needs a key (jax.random.key(seed))")
    return jax.random.uniform(jax.random.fold_in(key, index), measured.entropy.shape, jnp.float32)
