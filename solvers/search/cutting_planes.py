"""Kelley's cutting planes: a convex loss of affine logits, over linear rows and binaries."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from solvers import tolerances
from solvers.programs.objective import Objective
from solvers.programs.program import LIMITS
from solvers.programs.reduced import Reduced
from solvers.programs.rows import Row, row_units, stacked
from solvers.search.certificates import certified
from solvers.search.descent import Descent
from solvers.search.segments import furthest

BATCH = 300
"""How many lazy rows are added at once, the most violated first."""

FIXED_ROUNDS = 100
"""How many linear programs with fixed binaries are solved, at most."""

FINER = 10
"""With fixed binaries, the gap is closed this many times finer than asked for."""

ENTRY = 16
"""Bytes of a row's entry: its column and its coefficient."""


class Progress(NamedTuple):
    """An incumbent.

    Attributes:
        seconds: since the start.
        objective: of the best solution so far.
        bound: on the objective, from below.
    """

    seconds: float
    objective: float
    bound: float


class Limits(NamedTuple):
    """When to end.

    Attributes:
        gap: the relative gap to reach.
        until: the end of the time, a reading of ``time.perf_counter``; infinity for never.
        memory_mb: megabytes that the program's matrices and rows may take, ours and the solver's;
            or None.
        seed: for mixed-integer programs.
    """

    gap: float
    until: float
    memory_mb: float | None
    seed: int

    def left(self) -> float | None:
        """Seconds that are left; None for any number of them."""
        return None if self.until == np.inf else self.until - time.perf_counter()


class Found(NamedTuple):
    """What the method ends with.

    Attributes:
        columns: of the best solution.
        objective: its value.
        bound: on the objective, from below.
        status: "optimal", "time limit", "memory limit", "interrupted", or "precision limit" where
            the gap asked for is finer than the solver's own accuracy.
        rounds: linear and mixed-integer programs solved.
        rows: how many rows the last one had.
        trajectory: each time the objective or the bound moved.
    """

    columns: np.ndarray
    objective: float
    bound: float
    status: str
    rounds: int
    rows: int
    trajectory: tuple[Progress, ...]


def minimise(
    reduced: Reduced,
    objective: Objective,
    start: np.ndarray,
    backend: Any,
    limits: Limits,
    on_progress: Callable[[Progress, np.ndarray], None] | None = None,
) -> Found:
    """Adds tangents and violated rows until the relative gap is closed.

    The columns of the linear program are the reduced program's, a bound on each sample's loss and
    one on the penalty. Where there are binaries, the relaxation is closed first; then the binaries
    that its scores imply are fixed, which seldom leaves a gap; else a mixed-integer program
    follows, to which tangents and rows are added within its tree. Every solution's scores are
    tried as they are, and as far towards them from the best ones as the rows allow.

    Args:
        reduced: the program.
        objective: what is minimised.
        start: columns that fulfil every row: what is answered where nothing better is found.
        backend: a module with ``LinearProgram`` and ``solve_mip``.
        limits: when to end.
        on_progress: told of each move, with the columns of the best solution.

    Returns:
        The best solution and its bound.
    """
    state = _State(reduced, objective, start, backend, limits, on_progress)
    try:
        status = state.relax()
        if reduced.columns.binary and status in ("optimal", "precision limit"):
            status = state.fix() or state.branch()
    except KeyboardInterrupt:
        status = "interrupted"
    except TimeoutError:
        status = "time limit"
    return state.found(status)


class _State:
    """The rows so far and the best solution."""

    def __init__(
        self,
        reduced: Reduced,
        objective: Objective,
        start: np.ndarray,
        backend: Any,
        limits: Limits,
        on_progress: Callable[[Progress, np.ndarray], None] | None,
    ) -> None:
        self._started = time.perf_counter()
        self._reduced, self._objective, self._backend = reduced, objective, backend
        self._limits, self._told = limits, on_progress
        columns, batch = reduced.columns, objective.batch
        self._width = len(columns.lower)
        self._costs = np.concatenate(
            [np.zeros(self._width), np.full(batch, objective.loss_weight / batch), [1.0]]
        )
        self._lower = np.concatenate([columns.lower, np.zeros(batch), [-np.inf]])
        self._upper = np.concatenate([columns.upper, np.full(batch + 1, np.inf)])
        self._rows = [*columns.rows, *objective.penalty_rows(self._width + batch)]
        self._own = stacked([row.scaled() for row in columns.rows], self._width)
        self._lazy_units = row_units(reduced.lazy[0])
        self._program = backend.LinearProgram(self._costs, self._lower, self._upper)
        self._program.add(self._rows)
        self._descent = Descent(reduced, objective)
        self._lazy = np.zeros(len(reduced.lazy[1]), bool)
        # neither scores nor losses are negative
        self._floor = objective.penalty(np.zeros(objective.neurons))
        self._best, self._value, self._bound = start, np.inf, self._floor
        self._rounds, self._relaxed, self._last = 0, np.inf, start
        self._trajectory: list[Progress] = []
        self._consider(start)
        self._tangents(start)

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def megabytes(self) -> float:
        """What the matrices and rows take, and as much again with the solver."""
        held = sum(vector.matrix.nbytes for vector in self._reduced.logits)
        entries = self._reduced.lazy[0].nnz + 2 * sum(len(row.indices) for row in self._rows)
        return (held + ENTRY * entries) / 1e6

    def closed(self, value: float) -> bool:
        allowed = self._limits.gap * max(1.0, abs(value))
        return bool(np.isfinite(value)) and value - self._bound <= allowed

    def relax(self) -> str:
        """Closes the relaxation, and returns why it ended."""
        self._descend()
        while not self.closed(self._relaxed if self._reduced.columns.binary else self._value):
            if ended := self._limited():
                return ended
            self._rounds += 1
            solved = self._program.solve(self._limits.left())
            if solved is None:
                return "precision limit"  # the start is a solution: its numerics are too hard
            columns = np.clip(
                solved[0][: self._width], self._lower[: self._width], self._upper[: self._width]
            )
            violated = self._violated(columns)
            stuck = (
                not violated and solved[1] <= self._bound and np.array_equal(columns, self._last)
            )
            self._bound, self._last = max(self._bound, solved[1]), columns
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
        columns = self._reduced.complete(self._last[: self._objective.neurons])
        binary = self._reduced.columns.binary
        self._consider(columns)
        self._tangents(columns)
        # fixed in the same program: another one would have to be solved from nothing
        self._program.bound(binary, columns[binary], columns[binary])
        for _ in range(FIXED_ROUNDS):
            if self.closed(self._value) or self._limited():
                break
            solved = self._program.solve(self._limits.left())
            if solved is None:
                break
            fixed = columns[binary]
            columns = np.clip(
                solved[0][: self._width], self._lower[: self._width], self._upper[: self._width]
            )
            columns[binary] = fixed
            self._add(self._violated(columns))
            self._tangents(columns)
            value = self._consider(columns)
            if value - solved[1] <= self._limits.gap / FINER * max(1.0, abs(solved[1])):
                break
        return "optimal" if self.closed(self._value) else ""

    def branch(self) -> str:
        """Solves the mixed-integer program, and returns why it ended."""
        if ended := self._limited():
            return ended
        self._rounds += 1
        result = self._backend.solve_mip(
            self._costs,
            self._lower,
            self._upper,
            self._reduced.columns.binary,
            self._rows,
            time_limit=self._limits.left(),
            memory_mb=self._limits.memory_mb,
            gap=self._limits.gap / 2,
            seed=self._limits.seed,
            start=self._start(),
            on_incumbent=lambda _, bound, values: self._incumbent(values, bound),
            lazy=self._broken,
            complete=self._completed,
        )
        self._incumbent(result.values, result.bound)
        if self.closed(self._value):
            return "optimal"
        return LIMITS.get(result.status, "precision limit")

    def _limited(self) -> str:
        left, memory_mb = self._limits.left(), self._limits.memory_mb
        if left is not None and left <= 0:
            return "time limit"
        if memory_mb is not None and self.megabytes() >= memory_mb:
            return "memory limit"
        return ""

    def _incumbent(self, values: np.ndarray | None, bound: float) -> None:
        self._bound = max(self._bound, bound)
        if values is not None:
            self._consider(self._clipped(values))
        self._moved()

    def _clipped(self, values: np.ndarray) -> np.ndarray:
        width = self._width
        columns = np.clip(values[:width], self._lower[:width], self._upper[:width])
        binary = self._reduced.columns.binary
        whole = np.round(columns[binary])
        if np.all(np.abs(columns[binary] - whole) <= tolerances.FEASIBLE):
            columns[binary] = whole
        return columns

    def _broken(self, values: np.ndarray) -> list[Row]:
        """The lazy rows and the tangents that a solver's solution violates."""
        columns = values[: self._width]
        rows = self._objective.broken(values, self._width, self._limits.gap)
        return [*self._violated(columns, tolerances.LAZY_MIXED, again=True), *rows]

    def _completed(self, values: np.ndarray) -> np.ndarray | None:
        """A better solution, found from the scores of a solver's solution, or None."""
        before = self._value
        self._approach(self._clipped(values))
        return self._start() if self._value < before else None

    def _descend(self) -> None:
        """Lowers the best scores, one by one."""
        found = self._descent.lowered(self._best, self._limits.until)
        scores = found[: self._objective.neurons]
        for columns in (self._reduced.complete(scores), found):
            if np.isfinite(self._consider(columns)):
                break
        self._tangents(found)

    def _approach(self, columns: np.ndarray) -> None:
        """Tries a point's scores, or the best ones moved towards them as far as the rows allow."""
        neurons = self._objective.neurons
        scores, best = columns[:neurons], self._best[:neurons]
        lower, upper = self._lower[:neurons], self._upper[:neurons]
        near = furthest(
            best,
            np.clip(scores, lower, upper),
            lambda each: self.violation(self._reduced.complete(each)) <= tolerances.FEASIBLE,
        )
        self._consider(self._reduced.complete(near))

    def _start(self) -> np.ndarray:
        """The best solution with its losses and penalty."""
        losses, _ = self._objective.losses(self._best)
        return np.concatenate([self._best, losses, [self._objective.penalty(self._best)]])

    def _violated(
        self, columns: np.ndarray, tolerance: float = tolerances.LAZY, *, again: bool = False
    ) -> list[Row]:
        """The lazy rows that columns violate most; without ``again`` those not seen before."""
        matrix, bound = self._reduced.lazy
        violation = (bound - matrix @ columns) / self._lazy_units
        if not again:
            violation[self._lazy] = 0
        worst = np.flatnonzero(violation > tolerance)
        worst = worst[np.argsort(-violation[worst], kind="stable")][:BATCH]
        if not again:
            self._lazy[worst] = True
        rows = []
        for row in worst:
            entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
            rows.append(Row(matrix.indices[entries], matrix.data[entries], float(bound[row])))
        return rows

    def _tangents(self, columns: np.ndarray) -> None:
        """Adds the losses' tangents at a point."""
        self._add(self._objective.tangents(columns, self._width)[1])

    def _consider(self, columns: np.ndarray) -> float:
        """Takes a point if it is better and feasible; its objective, infinity where it is not."""
        value = np.inf
        if self.violation(columns) <= tolerances.FEASIBLE:
            value = self._objective.value(columns)
            binary = columns[self._reduced.columns.binary]
            whole = np.abs(binary - np.round(binary)) <= tolerances.FEASIBLE
            if value < self._value and np.all(whole):
                self._best, self._value = columns, value
        self._moved()
        return value

    def _moved(self) -> None:
        self._bound = certified(self._bound, self._value, self._floor)
        moved = Progress(self.seconds(), self._value, self._bound)
        if not self._trajectory or moved[1:] != self._trajectory[-1][1:]:
            self._trajectory.append(moved)
            if self._told is not None:
                self._told(moved, self._best)

    def violation(self, columns: np.ndarray) -> float:
        """By how much a point violates rows and bounds, at most."""
        matrix, bound = self._reduced.lazy
        worst = float(((bound - matrix @ columns) / self._lazy_units).max(initial=0.0))
        width = self._width
        worst = max(worst, float((self._lower[:width] - columns).max()))
        worst = max(worst, float((columns - self._upper[:width]).max()))
        own, bounds = self._own
        return max(worst, float((bounds - own @ columns).max(initial=0.0)))

    def _add(self, rows: list[Row]) -> None:
        self._rows += rows
        self._program.add(rows)

    def found(self, status: str) -> Found:
        return Found(
            self._best,
            self._value,
            self._bound,
            status,
            self._rounds,
            len(self._rows),
            tuple(self._trajectory),
        )
