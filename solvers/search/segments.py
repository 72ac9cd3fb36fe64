"""Feasible points between two others."""

from collections.abc import Callable

import numpy as np

HALVINGS = 10
"""How often bisection halves a segment."""


def furthest(
    start: np.ndarray, end: np.ndarray, feasible: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """The feasible point between two others that bisection finds furthest from the first.

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
