"""Perturbations of one layer's weights, slow and obvious."""

import math
from fractions import Fraction

import numpy as np


def count_removed(strength, links):
    """``round(strength * links)`` of the decimal number that was written, halves to even."""
    return round(Fraction(str(strength)) * links)


def check_removed(before, after, count, order):
    """So many are gone, none of which stands behind a kept one; the rest is as it was.

    ``order`` gives each weight a number, the higher the earlier it goes.
    """
    removed = (after == 0) & (before != 0)
    assert removed.sum() == count
    np.testing.assert_array_equal(after[~removed], before[~removed])
    if 0 < count < len(before):
        assert order[removed].min() >= order[~removed].max()


def bins(weights, strength):
    """Which bin each weight is in: one value after another, edges from the smallest weight on."""
    low, high = weights.min(), weights.max()
    if high == low:
        return [0] * len(weights)
    edges = math.ceil(Fraction(1) / Fraction(str(strength)))
    return [
        min(int((weight - low) / (strength * (high - low))), edges - 1)
        for weight in weights.tolist()
    ]


def check_shuffled(before, after, strength):
    """Each bin keeps its values, however often each one stands there."""
    in_bins = bins(before.astype(np.float64), strength)
    for number in set(in_bins):
        here = np.array(in_bins) == number
        assert sorted(before[here].tolist()) == sorted(after[here].tolist())
