"""Feasible points on a segment."""

from collections.abc import Callable

import numpy as np

HALVINGS = 10
"""How often bisection halves the segment."""


def furthest(
    start: np.ndarray, end: np.ndarray, feasible: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """The feasible point on a segment that bisection finds furthest from its start.

    Args:
      start: a feasible point.
      end: another point.
      feasible: says whether a point is feasible.

    Returns:
      ``end`` if it is feasible, else a feasible point between the two.
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
