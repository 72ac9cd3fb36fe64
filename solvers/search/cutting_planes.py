"""Cutting planes for a convex loss of affine logits, over linear rows and binaries.

J. E. Kelley, "The cutting-plane method for solving convex programs" (1960).
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from solvers import tolerances
from solvers.programs.affine import AffineProgram
from solvers.programs.objective import Objective
from solvers.programs.results import LIMITS
from solvers.programs.rows import Rows, joined
from solvers.search.descent import Descent
from solvers.search.incumbent import Incumbent
from solvers.search.lazy_rows import LazyRows
from solvers.search.minimum import Minimum
from solvers.search.relaxation import Relaxation
from solvers.search.segments import furthest
from solvers.settings import Limits

FIXED_ROUNDS = 100
"""At most so many linear programs with fixed binaries are solved."""

FINER = 10
"""Linear programs with fixed binaries go on until their gap is this many times finer."""

ENTRY = 16
"""How many bytes an entry of a row takes: its column and its coefficient."""


def minimise(
    program: AffineProgram,
    objective: Objective,
    start: np.ndarray,
    backend: Any,
    limits: Limits,
    tell: Callable[[float, float, float], None] | None = None,
) -> Minimum:
    """Adds tangents and violated rows until the relative gap is closed.

    With binaries there are three phases. First the relaxation is closed. Then the binaries are
    fixed to those that its scores imply, which mostly closes the gap. If it does not, a
    mixed-integer program follows, and tangents and rows are added within its tree. The scores of
    every solution are tried themselves; if they violate rows, the best scores move towards them as
    far as the rows allow.

    Args:
      program: the program without its loss.
      objective: the objective to minimise.
      start: columns that fulfil every row, [columns]: the answer if nothing better is found.
      backend: a module with ``LinearProgram`` and ``solve_mip``.
      limits: when to end.
      tell: called with (seconds, objective, bound) whenever one of these moves.

    Returns:
      The best solution and its bound.

    Raises:
      ImportError: the solver is not installed.
    """
    method = _CuttingPlanes(program, objective, start, backend, limits, tell)
    try:
        status = method.relax()
        if program.columns.binary and status in ("optimal", "precision limit"):
            status = method.fix() or method.branch()
    except KeyboardInterrupt:
        status = "interrupted"
    except TimeoutError:
        status = "time limit"
    return method.minimum(status)


class _CuttingPlanes:
    """The search: its rows so far and its best solution."""

    def __init__(
        self,
        program: AffineProgram,
        objective: Objective,
        start: np.ndarray,
        backend: Any,
        limits: Limits,
        tell: Callable[[float, float, float], None] | None,
    ) -> None:
        started = time.perf_counter()
        self._program, self._objective = program, objective
        self._limits = limits
        self._relaxation = Relaxation(program, objective, backend)
        self._feasible = LazyRows(program)
        self._descent = Descent(program, objective)
        # neither scores nor losses are negative
        floor = objective.penalty(np.zeros(objective.neurons))
        self._incumbent = Incumbent(start, floor, started, tell)
        self._rounds, self._relaxed, self._last = 0, np.inf, start
        self._consider(start)
        self._relaxation.add_tangents(start)

    def megabytes(self) -> float:
        """The megabytes that matrices and rows take; the solver has another copy of the rows."""
        held = sum(vector.matrix.nbytes for vector in self._program.logits)
        entries = len(self._program.lazy.indices) + 2 * self._relaxation.entries()
        return (held + ENTRY * entries) / 1e6

    def relax(self) -> str:
        """Closes the relaxation's gap, and returns why this ended, in the words of ``Minimum``."""
        self._descend()
        while not self._done():
            if ended := self._limited():
                return ended
            self._rounds += 1
            solved = self._relaxation.solve(self._limits.left())
            if solved is None:
                return "precision limit"  # there is a solution, but the solver does not find it
            columns = self._boxed(solved[0])
            violated = self._feasible.violated(columns)
            stuck = (
                not violated
                and solved[1] <= self._incumbent.bound
                and np.array_equal(columns, self._last)
            )
            self._incumbent.lift(solved[1])
            self._last = columns
            self._relaxation.add(violated)
            self._relaxation.add_tangents(columns)
            self._relaxed = min(self._relaxed, self._consider(columns))
            self._approach(columns)
            if self._rounds & (self._rounds - 1) == 0:  # at powers of 2 only, because it is slow
                self._descend()
            if stuck:
                return "precision limit"
        return "optimal"

    def fix(self) -> str:
        """Looks for a solution with the binaries that the relaxation's scores imply.

        Returns:
          "optimal" if that closes the gap, else "".
        """
        columns = self._program.complete(self._last[: self._objective.neurons])
        binary = self._program.columns.binary
        self._consider(columns)
        self._relaxation.add_tangents(columns)
        # in the same program: a new one would have to be solved from the beginning
        self._relaxation.bound(binary, columns[binary])
        for _ in range(FIXED_ROUNDS):
            if self._closed() or self._limited():
                break
            solved = self._relaxation.solve(self._limits.left())
            if solved is None:
                break
            fixed = columns[binary]
            columns = self._boxed(solved[0])
            columns[binary] = fixed
            self._relaxation.add(self._feasible.violated(columns))
            self._relaxation.add_tangents(columns)
            value = self._consider(columns)
            if value - solved[1] <= self._limits.gap / FINER * max(1.0, abs(solved[1])):
                break
        return "optimal" if self._closed() else ""

    def branch(self) -> str:
        """Solves the mixed-integer program, and returns why this ended."""
        if ended := self._limited():
            return ended
        result = self._relaxation.branch(
            time_limit=self._limits.left(),
            memory_mb=self._limits.memory_mb,
            gap=self._limits.gap / 2,
            seed=self._limits.seed,
            start=self._objective.completed(self._incumbent.solution),
            on_incumbent=lambda _, bound, values: self._improved(values, bound),
            lazy=self._broken,
            complete=self._completed,
        )
        self._improved(result.values, result.bound)
        if self._closed():
            return "optimal"
        return LIMITS.get(result.status, "precision limit")

    def _limited(self) -> str:
        left, memory_mb = self._limits.left(), self._limits.memory_mb
        if left is not None and left <= 0:
            return "time limit"
        if memory_mb is not None and self.megabytes() >= memory_mb:
            return "memory limit"
        return ""

    def _done(self) -> bool:
        """Whether the relaxation's gap is closed. Without binaries it is the program's own gap."""
        value = self._relaxed if self._program.columns.binary else self._incumbent.value
        return self._incumbent.closes(value, self._limits.gap)

    def _closed(self) -> bool:
        return self._incumbent.closed(self._limits.gap)

    def _improved(self, values: np.ndarray | None, bound: float) -> None:
        self._incumbent.lift(bound)
        if values is not None:
            self._consider(self._clipped(values))
        self._incumbent.record()

    def _boxed(self, values: np.ndarray) -> np.ndarray:
        """The program's own columns of a solver's solution, within their bounds."""
        return np.clip(values[: self._relaxation.width], self._feasible.lower, self._feasible.upper)

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        """The same; if all binaries are nearly whole, they are rounded."""
        columns = self._boxed(values)
        binary = self._program.columns.binary
        whole = np.round(columns[binary])
        if np.all(np.abs(columns[binary] - whole) <= tolerances.FEASIBLE):
            columns[binary] = whole
        return columns

    def _broken(self, values: np.ndarray) -> Rows:
        """The lazy rows and the tangents that a solver's solution violates."""
        columns = values[: self._relaxation.width]
        lazy = self._feasible.violated(columns, tolerances.LAZY_MIXED, again=True)
        tangents = self._objective.broken(values, self._relaxation.width, self._limits.gap)
        return joined([lazy, tangents])

    def _completed(self, values: np.ndarray) -> np.ndarray | None:
        """A better solution for the solver, made from the scores of one of its own, or None."""
        before = self._incumbent.value
        self._approach(self._clipped(values))
        if self._incumbent.value >= before:
            return None
        return self._objective.completed(self._incumbent.solution)

    def _descend(self) -> None:
        """Lowers the best scores, one by one."""
        lower = self._descent.lowered(self._incumbent.solution, self._limits.until)
        scores = lower[: self._objective.neurons]
        for columns in (self._program.complete(scores), lower):
            if np.isfinite(self._consider(columns)):
                break
        self._relaxation.add_tangents(lower)

    def _approach(self, columns: np.ndarray) -> None:
        """Tries a point's scores, or moves the best ones towards them as far as the rows allow."""
        neurons = self._objective.neurons
        lower, upper = self._feasible.lower[:neurons], self._feasible.upper[:neurons]
        near = furthest(
            self._incumbent.solution[:neurons],
            np.clip(columns[:neurons], lower, upper),
            lambda scores: self._fulfilled(self._program.complete(scores)),
        )
        self._consider(self._program.complete(near))

    def _consider(self, columns: np.ndarray) -> float:
        """Takes a point if it is feasible and better.

        Args:
          columns: the point.

        Returns:
          Its objective; infinity if it violates a row.
        """
        value = np.inf
        if self._fulfilled(columns):
            value = self._objective.value(columns)
            binary = columns[self._program.columns.binary]
            if np.all(np.abs(binary - np.round(binary)) <= tolerances.FEASIBLE):
                self._incumbent.take(columns, value)
        self._incumbent.record()
        return value

    def _fulfilled(self, columns: np.ndarray) -> bool:
        return self._feasible.violation(columns) <= tolerances.FEASIBLE

    def minimum(self, status: str) -> Minimum:
        """The result."""
        return Minimum(
            self._incumbent.solution,
            self._incumbent.value,
            self._incumbent.bound,
            status,
            len(self._relaxation),
            tuple(self._incumbent.trajectory),
        )
