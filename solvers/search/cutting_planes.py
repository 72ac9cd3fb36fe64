"""Kelley's cutting planes: a convex loss of affine logits, over linear rows and binaries."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from solvers import tolerances
from solvers.programs.affine import AffineProgram
from solvers.programs.master import master
from solvers.programs.objective import Objective
from solvers.programs.program import LIMITS
from solvers.programs.rows import Rows, joined
from solvers.search.descent import Descent
from solvers.search.incumbent import Incumbent
from solvers.search.lazy_rows import LazyRows
from solvers.search.segments import furthest
from solvers.settings import Limits

FIXED_ROUNDS = 100
"""How many linear programs with fixed binaries are solved, at most."""

FINER = 10
"""With fixed binaries, the gap is closed this many times finer than asked for."""

ENTRY = 16
"""Bytes of a row's entry: its column and its coefficient."""


class Minimum(NamedTuple):
    """What the method ends with.

    Attributes:
        columns: of the best solution.
        objective: its value.
        bound: on the objective, from below.
        status: "optimal", "time limit", "memory limit", "interrupted", or "precision limit" where
            the gap asked for is finer than the solver's own accuracy.
        rounds: linear and mixed-integer programs solved.
        rows: how many rows the last one had.
        trajectory: (seconds, objective, bound) each time the objective or the bound moved.
    """

    columns: np.ndarray
    objective: float
    bound: float
    status: str
    rounds: int
    rows: int
    trajectory: tuple[tuple[float, ...], ...]


def minimise(
    program: AffineProgram,
    objective: Objective,
    start: np.ndarray,
    backend: Any,
    limits: Limits,
    tell: Callable[[float, float, float], None] | None = None,
) -> Minimum:
    """Adds tangents and violated rows until the relative gap is closed.

    J. E. Kelley, "The cutting-plane method for solving convex programs" (1960). The columns of the
    linear program are those of ``programs.master``. Where there are binaries, the relaxation is
    closed first; then the binaries that its scores imply are fixed, which seldom leaves a gap; else
    a mixed-integer program follows, to which tangents and rows are added within its tree. Every
    solution's scores are tried as they are, and as far towards them from the best ones as the rows
    allow.

    Args:
        program: without its loss.
        objective: what is minimised.
        start: columns that fulfil every row: what is answered where nothing better is found.
        backend: a module with ``LinearProgram`` and ``solve_mip``.
        limits: when to end.
        tell: told (seconds, objective, bound) as they move.

    Returns:
        The best solution and its bound.
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
    """The rows so far and the best solution."""

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
        self._backend, self._limits = backend, limits
        self._width = len(program.columns.lower)
        self._master = master(program, objective)
        self._blocks = [self._master.rows]
        self._feasible = LazyRows(program)
        self._linear = backend.LinearProgram(*self._master[:3])
        self._linear.add(self._master.rows)
        self._descent = Descent(program, objective)
        # neither scores nor losses are negative
        floor = objective.penalty(np.zeros(objective.neurons))
        self._incumbent = Incumbent(start, floor, started, tell)
        self._rounds, self._relaxed, self._last = 0, np.inf, start
        self._consider(start)
        self._tangents(start)

    def megabytes(self) -> float:
        """What the matrices and rows take, and as much again with the solver."""
        held = sum(vector.matrix.nbytes for vector in self._program.logits)
        rows = sum(len(block.indices) for block in self._blocks)
        entries = len(self._program.lazy.indices) + 2 * rows
        return (held + ENTRY * entries) / 1e6

    def relax(self) -> str:
        """Closes the relaxation, and returns why it ended."""
        self._descend()
        while not self._done():
            if ended := self._limited():
                return ended
            self._rounds += 1
            solved = self._linear.solve(self._limits.left())
            if solved is None:
                return "precision limit"  # the start is a solution: its numerics are too hard
            columns = self._boxed(solved[0])
            violated = self._feasible.violated(columns)
            stuck = (
                not violated
                and solved[1] <= self._incumbent.bound
                and np.array_equal(columns, self._last)
            )
            self._incumbent.lift(solved[1])
            self._last = columns
            self._add(violated)
            self._tangents(columns)
            self._relaxed = min(self._relaxed, self._consider(columns))
            self._approach(columns)
            if self._rounds & (self._rounds - 1) == 0:  # seldom, since it is slow
                self._descend()
            if stuck:
                return "precision limit"
        return "optimal"

    def fix(self) -> str:
        """Looks for a solution with the binaries that the relaxation's scores imply.

        "optimal" where that closes the gap, else "".
        """
        columns = self._program.complete(self._last[: self._objective.neurons])
        binary = self._program.columns.binary
        self._consider(columns)
        self._tangents(columns)
        # fixed in the same program: another one would have to be solved from nothing
        self._linear.bound(binary, columns[binary], columns[binary])
        for _ in range(FIXED_ROUNDS):
            if self._closed() or self._limited():
                break
            solved = self._linear.solve(self._limits.left())
            if solved is None:
                break
            fixed = columns[binary]
            columns = self._boxed(solved[0])
            columns[binary] = fixed
            self._add(self._feasible.violated(columns))
            self._tangents(columns)
            value = self._consider(columns)
            if value - solved[1] <= self._limits.gap / FINER * max(1.0, abs(solved[1])):
                break
        return "optimal" if self._closed() else ""

    def branch(self) -> str:
        """Solves the mixed-integer program, and returns why it ended."""
        if ended := self._limited():
            return ended
        self._rounds += 1
        result = self._backend.solve_mip(
            *self._master[:3],
            self._program.columns.binary,
            joined(self._blocks),
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
        """Whether the relaxation's gap is closed; without binaries it is the program's."""
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
        return np.clip(values[: self._width], self._feasible.lower, self._feasible.upper)

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        """The same, with binaries that are nearly whole made whole."""
        columns = self._boxed(values)
        binary = self._program.columns.binary
        whole = np.round(columns[binary])
        if np.all(np.abs(columns[binary] - whole) <= tolerances.FEASIBLE):
            columns[binary] = whole
        return columns

    def _broken(self, values: np.ndarray) -> Rows:
        """The lazy rows and the tangents that a solver's solution violates."""
        columns = values[: self._width]
        lazy = self._feasible.violated(columns, tolerances.LAZY_MIXED, again=True)
        tangents = self._objective.broken(values, self._width, self._limits.gap)
        return joined([lazy, tangents])

    def _completed(self, values: np.ndarray) -> np.ndarray | None:
        """A better solution, found from the scores of a solver's solution, or None."""
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
        self._tangents(lower)

    def _approach(self, columns: np.ndarray) -> None:
        """Tries a point's scores, or the best ones moved towards them as far as the rows allow."""
        neurons = self._objective.neurons
        lower, upper = self._feasible.lower[:neurons], self._feasible.upper[:neurons]
        near = furthest(
            self._incumbent.solution[:neurons],
            np.clip(columns[:neurons], lower, upper),
            lambda scores: self._fulfilled(self._program.complete(scores)),
        )
        self._consider(self._program.complete(near))

    def _tangents(self, columns: np.ndarray) -> None:
        """Adds the losses' tangents at a point."""
        self._add(self._objective.tangents(columns, self._width)[1])

    def _consider(self, columns: np.ndarray) -> float:
        """Takes a point if it is better and feasible; its objective, infinity where it is not."""
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

    def _add(self, rows: Rows) -> None:
        self._blocks.append(rows)
        self._linear.add(rows)

    def minimum(self, status: str) -> Minimum:
        """What is known at the end."""
        return Minimum(
            self._incumbent.solution,
            self._incumbent.value,
            self._incumbent.bound,
            status,
            self._rounds,
            sum(map(len, self._blocks)),
            tuple(self._incumbent.trajectory),
        )
