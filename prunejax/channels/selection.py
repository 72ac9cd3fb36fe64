"""Which channels stay, by their scores alone: the best of them, or those above a threshold.

Scores and selections are dicts by group name: one float per channel, higher means keep; one bool
per channel, True means it stays.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from solvers.solution import above


def keep_best(
    scores: Mapping[str, Any], fraction: float | Mapping[str, int], *, min_channels: int = 1
) -> dict[str, np.ndarray]:
    """Keeps the best channels of every group; of equal scores the first.

    Args:
      scores: for each group one score per channel.
      fraction: the fraction of every group's channels that stays, in [0, 1], or how many channels
        stay by the group's name.
      min_channels: how many channels of a group stay at least.

    Returns:
      For each group a bool array, [width].

    Raises:
      ValueError: the fraction is outside [0, 1], a number is below 1 or above the width, or a
        group has none.

    >>> keep_best({"stem": np.array([0.1, 0.9, 0.5, 0.2])}, 0.5)["stem"].tolist()
    [False, True, True, False]
    """
    if min_channels < 1:
        raise ValueError(f"min_channels must be at least 1, got {min_channels}")
    return {
        group: _best(worth, max(_count(fraction, group, len(worth)), min_channels))
        for group, worth in scores.items()
    }


def keep_above(
    scores: Mapping[str, Any], threshold: float | str, *, min_channels: int = 1
) -> dict[str, np.ndarray]:
    """Keeps the channels whose score is not below a threshold.

    Args:
      scores: for each group one score per channel.
      threshold: a number, or "mean" for each group's own mean score. For critical neurons the paper
        takes 0.1 for dense networks, 0.2 for LeNet-5 and 0.3 on CIFAR.
      min_channels: how many channels of a group stay at least: the best ones. 0 is allowed.

    Returns:
      For each group a bool array, [width].

    Raises:
      ValueError: the threshold is another word, or ``min_channels`` is negative.
    """
    if not isinstance(min_channels, int | np.integer) or min_channels < 0:
        raise ValueError(f"min_channels must be a whole number from 0 on, got {min_channels!r}")
    return {
        group: above(np.asarray(worth), threshold) | _best(worth, min_channels)
        for group, worth in scores.items()
    }


def best_of_each(
    kept: Mapping[str, np.ndarray], scores: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Keeps as many channels of each group as another selection does: those of highest score.

    Use it to compare methods: all of them then remove equally many channels of each group, and
    differ only in which ones.

    Args:
      kept: the other selection.
      scores: for each of its groups one score per channel.

    Returns:
      For each group of ``kept`` a bool array, [width].
    """
    return {group: _best(scores[group], int(stays.sum())) for group, stays in kept.items()}


def at_random(groups: Mapping[str, Any], key: PRNGKeyArray) -> dict[str, np.ndarray]:
    """Draws a score for each channel.

    Args:
      groups: for each group anything with one entry per channel.
      key: a key of ``jax.random``; each group draws from its own part of it.

    Returns:
      For each group uniform numbers in [0, 1), float32, [width].
    """
    return {
        group: np.asarray(jax.random.uniform(jax.random.fold_in(key, index), (len(channels),)))
        for index, (group, channels) in enumerate(groups.items())
    }


def _best(scores: Any, count: int) -> np.ndarray:
    """Marks the ``count`` highest scores; of equal ones the first."""
    stays = np.zeros(len(scores), bool)
    stays[np.argsort(-np.asarray(scores), kind="stable")[:count]] = True
    return stays


def _count(fraction: float | Mapping[str, int], group: str, width: int) -> int:
    """How many channels of a group a fraction, or a number by name, stands for."""
    if not isinstance(fraction, Mapping):
        if not 0 <= fraction <= 1:
            raise ValueError(f"the fraction to keep must be in [0, 1], got {fraction}")
        return round(fraction * width)
    if group not in fraction:
        raise ValueError(f"it is not said how many channels of {group!r} stay")
    if not 1 <= fraction[group] <= width:
        raise ValueError(
            f"of {group!r} between 1 and {width} channels can stay, got {fraction[group]}"
        )
    return fraction[group]
