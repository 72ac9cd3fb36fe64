"""The best solution so far, what is certain of all others, and how both moved."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from solvers.tolerances import CONTRADICTION

Solution = TypeVar("Solution")


class Incumbent(Generic[Solution]):
    """The best solution of a minimisation, and a bound from below on every solution.

    Args:
        solution: the first one, or None.
        floor: a bound that needs no solver.
        started: when the time began, a reading of ``time.perf_counter``.
        tell: told (seconds, value, bound) whenever they have moved.

    Attributes:
        solution: the best one.
        value: its objective, infinity before the first one was taken.
        bound: no solution has a smaller objective.
        trajectory: what was told.
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
        """Keeps a feasible solution if it is better, and says whether; ``record`` tells of it."""
        if value >= self.value:
            return False
        self.solution, self.value = solution, value
        return True

    def lift(self, bound: float) -> None:
        """Takes a solver's bound, if it is higher. ``record`` tells of it."""
        self.bound = max(self.bound, bound)

    def record(self) -> None:
        """Checks the bound against the solution, and tells of both if they have moved."""
        self.bound = certified(self.bound, self.value, self._floor)
        moved = (self.value, self.bound)
        if not self.trajectory or moved != self.trajectory[-1][1:]:
            self.trajectory.append((time.perf_counter() - self._started, *moved))
            if self._tell is not None:
                self._tell(*self.trajectory[-1])

    def closes(self, value: float, gap: float) -> bool:
        """Whether the relative gap between an objective, maybe infinity, and the bound is small."""
        return bool(np.isfinite(value)) and value - self.bound <= gap * max(1.0, abs(value))

    def closed(self, gap: float) -> bool:
        """Whether the best solution's relative gap is at most this one."""
        return self.closes(self.value, gap)


def certified(bound: float, value: float, floor: float) -> float:
    """A bound from below, unless a known solution contradicts it.

    Args:
        bound: a solver's; by its word no solution has a smaller objective.
        value: the objective of a solution.
        floor: a bound that needs no solver.

    Returns:
        The bound, at most the value. If the bound is above the value by more than solvers round,
        it is wrong, and the floor is returned.
    """
    if bound - value > CONTRADICTION * max(1.0, abs(value)):
        return floor
    return min(bound, value)
