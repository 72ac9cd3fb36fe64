"""What a search ends with."""

from typing import NamedTuple

import numpy as np


class Minimum(NamedTuple):
    """The end of a search.

    Attributes:
      columns: the best solution, [columns].
      objective: of the best solution.
      bound: on the objective, from below.
      status: "optimal", "time limit", "memory limit", "interrupted", or "precision limit" if the
        gap asked for is finer than the solver's own accuracy.
      rows: how many rows the last program had.
      trajectory: (seconds, objective, bound) whenever the objective or the bound moved.
    """

    columns: np.ndarray
    objective: float
    bound: float
    status: str
    rows: int
    trajectory: tuple[tuple[float, ...], ...]
