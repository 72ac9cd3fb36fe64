"""The best solution so far, a bound on all solutions, and how both moved."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from solvers.tolerances import CONTRADICTION

Solution = TypeVar("Solution")


class Incumbent(Generic[Solution]):
    """The best solution of a minimisation, and a bound from below on every solution.

    Args:
      solution: the solution to begin with, or None if there is none yet.
      floor: a bound that needs no solver.
      started: when the search started, a reading of ``time.perf_counter``.
      tell: called with (seconds, value, bound) whenever one of these moves.

    Attributes:
      solution: the best solution.
      value: its objective; infinity before a solution was taken.
      bound: no solution has a smaller objective.
      trajectory: (seconds, value, bound) whenever one of these moved.
    """

    def __init__(
        self,
        solution: Solution,
        floor: float,
        started: float,
        tell: Callable[[float, float, float], None] | None = None,
    ) -> None:
        self._floor, self._started, self._tell = floor, started, tell
        self.solution, self.value, self.bound = solution, np.inf, floor
        self.trajectory: list[tuple[float, ...]] = []

    def take(self, solution: Solution, value: float) -> bool:
        """Takes a feasible solution if it is better, and returns whether it was."""
        if value >= self.value:
            return False
        self.solution, self.value = solution, value
        return True

    def lift(self, bound: float) -> None:
        """Takes a solver's bound if it is higher."""
        self.bound = max(self.bound, bound)

    def record(self) -> None:
        """Checks the bound against the solution, and reports both if one has moved."""
        self.bound = certified(self.bound, self.value, self._floor)
        moved = (self.value, self.bound)
        if not self.trajectory or moved != self.trajectory[-1][1:]:
            self.trajectory.append((time.perf_counter() - self._started, *moved))
            if self._tell is not None:
                self._tell(*self.trajectory[-1])

    def closes(self, value: float, gap: float) -> bool:
        """Whether the relative gap of an objective, maybe infinity, is small enough."""
        return bool(np.isfinite(value)) and value - self.bound <= gap * max(1.0, abs(value))

    def closed(self, gap: float) -> bool:
        """Whether the best solution's relative gap is small enough."""
        return self.closes(self.value, gap)


def certified(bound: float, value: float, floor: float) -> float:
    """A solver's bound from below, unless a known solution contradicts it.

    Args:
      bound: the solver's.
      value: the objective of a solution.
      floor: a bound that needs no solver.

    Returns:
      The bound, or the value if that is smaller. A bound that exceeds the value by more than
      rounding is wrong; then the floor.
    """
    if bound - value > CONTRADICTION * max(1.0, abs(value)):
        return floor
    return min(bound, value)
