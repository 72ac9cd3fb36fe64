"""Feasible points between two others."""

from collections.abc import Callable

import numpy as np

HALVINGS = 10
"""How often the part of a segment that is looked at is halved."""


def furthest(
    start: np.ndarray, end: np.ndarray, feasible: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """A point as far from a feasible one towards another one as bisection finds it feasible.

    Args:
        start: a feasible point.
        end: another one.
        feasible: whether a point is.

    Returns:
        A feasible point between them.
    """
    if feasible(end):
        return end
    near, far = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        if feasible(start + middle * (end - start)):
            near = middle
        else:
            far = middle
    return start + near * (end - start)
