"""Kelley's cutting planes: a convex loss of affine logits, over linear rows and binaries."""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from solvers.program import LIMITS
from solvers.reduced import Reduced, Row

TOLERANCE = 1e-7
"""By how much a row may be violated."""

BATCH = 300
"""How many lazy rows are added at once, the most violated first."""


FIXED_ROUNDS = 100
"""How many linear programs with fixed binaries are solved, at most."""

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


class Found(NamedTuple):
    """What the method ends with.

    Attributes:
        columns: of the best solution.
        objective: its value.
        bound: on the objective, from below.
        status: "optimal", "time limit", "memory limit", "interrupted", or "precision limit" where
            the gap asked for is finer than the solver's own accuracy.
        rounds: linear programs solved.
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


class Objective:
    """``loss_weight mean_b loss_b(x) + penalty(s)`` and its tangents.

    Args:
        reduced: the program.
        labels: [batch].
        loss_weight: lambda.
        importance: coefficients, [layers, neurons], and constants, [layers], of each layer's I.
        largest: of how many of the layers' importances, the largest, the penalty is the sum.
    """

    def __init__(
        self,
        reduced: Reduced,
        labels: np.ndarray,
        loss_weight: float,
        importance: tuple[np.ndarray, np.ndarray],
        largest: int,
    ) -> None:
        self._constants = np.stack([vector.constant for vector in reduced.logits])
        self._matrices = np.stack([vector.matrix for vector in reduced.logits])
        self._labels, self.loss_weight = labels, loss_weight
        self._weights, self._offsets = importance
        self._largest = largest

    @property
    def batch(self) -> int:
        """How many samples there are."""
        return len(self._labels)

    @property
    def neurons(self) -> int:
        """How many scores there are."""
        return self._weights.shape[1]

    def losses(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cross-entropy of each sample, [batch], and its gradient, [batch, columns]."""
        logits = self._constants + self._matrices @ columns
        top = logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits - top)
        total = exponentials.sum(axis=1, keepdims=True)
        each = np.arange(len(logits))
        values = (top + np.log(total))[:, 0] - logits[each, self._labels]
        slopes = exponentials / total
        slopes[each, self._labels] -= 1
        return values, np.einsum("bk,bkn->bn", slopes, self._matrices)

    def tangents(self, columns: np.ndarray, first: int) -> tuple[np.ndarray, list[Row]]:
        """The losses at a point, [batch], and rows that bound each from below around it.

        Args:
            columns: the point.
            first: the column that stands for the first sample's loss; the others follow it.

        Returns:
            The losses and the rows.
        """
        values, slopes = self.losses(columns)
        rows = []
        for sample, (value, slope) in enumerate(zip(values, slopes, strict=True)):
            indices = np.flatnonzero(np.abs(slope) > 1e-12)
            rows.append(
                Row(
                    np.append(indices, first + sample),
                    np.append(-slope[indices], 1.0),
                    float(value - slope[indices] @ columns[indices]),
                )
            )
        return values, rows

    def penalty(self, columns: np.ndarray) -> float:
        """P: the sum of the largest importances."""
        each = self._weights @ columns[: self._weights.shape[1]] + self._offsets
        return float(np.sort(each)[::-1][: self._largest].sum())

    def penalty_rows(self, column: int) -> list[Row]:
        """``P >= the sum of the importances of any so many layers``."""
        rows = []
        for layers in itertools.combinations(range(len(self._offsets)), self._largest):
            summed = self._weights[list(layers)].sum(axis=0)
            indices = np.flatnonzero(summed)
            rows.append(
                Row(
                    np.append(indices, column),
                    np.append(-summed[indices], 1.0),
                    float(self._offsets[list(layers)].sum()),
                )
            )
        return rows


def minimise(
    reduced: Reduced,
    objective: Objective,
    start: np.ndarray,
    backend: Any,
    *,
    gap: float,
    time_limit: float | None,
    memory_mb: float | None,
    seed: int,
    on_progress: Callable[[Progress, np.ndarray], None] | None = None,
) -> Found:
    """Adds tangents and violated rows until the relative gap is closed.

    The columns of the linear program are the reduced program's, a bound on each sample's loss and
    one on the penalty. Where there are binaries, the relaxation is closed first; then the binaries
    that its scores imply are fixed, which seldom leaves a gap; else mixed-integer programs with its
    rows follow.

    Args:
        reduced: the program.
        objective: what is minimised.
        start: columns that fulfil every row: what is answered where nothing better is found.
        backend: a module with ``LinearProgram`` and ``solve_mip``.
        gap: the relative gap to reach.
        time_limit: seconds, or None.
        memory_mb: megabytes that the program's matrices and rows may take, ours and the solver's;
            or None.
        seed: for mixed-integer programs.
        on_progress: told of each move, with the columns of the best solution.

    Returns:
        The best solution and its bound.
    """
    state = _State(reduced, objective, start, backend, on_progress)
    status = "optimal"
    try:
        for binaries in (False, True) if reduced.columns.binary else (False,):
            if binaries and status in ("optimal", "precision limit"):
                state.fix(gap, time_limit)
            status = "optimal"
            while not state.closed(gap, binaries):
                if time_limit is not None and state.seconds() >= time_limit:
                    status = "time limit"
                    break
                if memory_mb is not None and state.megabytes() >= memory_mb:
                    status = "memory limit"
                    break
                left = None if time_limit is None else time_limit - state.seconds()
                ended = state.round(binaries, left, memory_mb, seed, gap)
                if ended:
                    status = ended
                    break
    except KeyboardInterrupt:
        status = "interrupted"
    return state.found(status)


class _State:
    """The rows so far and the best solution."""

    def __init__(
        self,
        reduced: Reduced,
        objective: Objective,
        start: np.ndarray,
        backend: Any,
        on_progress: Callable[[Progress, np.ndarray], None] | None,
    ) -> None:
        self._started = time.perf_counter()
        self._reduced, self._objective, self._backend = reduced, objective, backend
        self._told = on_progress
        self._width = len(reduced.columns.lower)
        batch = objective.batch
        self._costs = np.concatenate(
            [np.zeros(self._width), np.full(batch, objective.loss_weight / batch), [1.0]]
        )
        self._lower = np.concatenate([reduced.columns.lower, np.zeros(batch), [-np.inf]])
        self._upper = np.concatenate([reduced.columns.upper, np.full(batch + 1, np.inf)])
        self._rows = [*reduced.columns.rows, *objective.penalty_rows(self._width + batch)]
        self._programs = [self._relaxation(self._lower, self._upper)]
        self._lazy = np.zeros(len(reduced.lazy[1]), bool)
        # neither scores nor losses are negative
        floor = objective.penalty(np.zeros(objective.neurons))
        self._best, self._value, self._bound = start, np.inf, floor
        self._rounds, self._relaxed, self._last = 0, np.inf, np.empty(0)
        self._trajectory: list[Progress] = []
        self._consider(start)

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def megabytes(self) -> float:
        """What the matrices and rows take, and as much again with the solver."""
        held = sum(vector.matrix.nbytes for vector in self._reduced.logits)
        entries = self._reduced.lazy[0].nnz + 2 * sum(len(row.indices) for row in self._rows)
        return (held + ENTRY * entries) / 1e6

    def closed(self, gap: float, binaries: bool) -> bool:
        value = self._value if binaries or not self._reduced.columns.binary else self._relaxed
        return bool(np.isfinite(value)) and value - self._bound <= gap * max(1.0, abs(value))

    def round(
        self,
        binaries: bool,
        left: float | None,
        memory_mb: float | None,
        seed: int,
        gap: float,
    ) -> str:
        """Solves once, and adds what the solution violates; why no further round helps, or ""."""
        self._rounds += 1
        ended = ""
        if binaries:
            result = self._backend.solve_mip(
                self._costs,
                self._lower,
                self._upper,
                self._reduced.columns.binary,
                self._rows,
                time_limit=left,
                memory_mb=memory_mb,
                gap=gap / 4,
                seed=seed,
                start=self._start(),
            )
            ended = LIMITS.get(result.status, "")
            if result.values is None:
                return ended or "precision limit"
            columns, bound = result.values[: self._width], result.bound
        else:
            solved = self._programs[0].solve()
            if solved is None:
                return "precision limit"  # the start is a solution: its numerics are too hard
            columns, bound = solved[0][: self._width], solved[1]
        columns = np.clip(columns, self._reduced.columns.lower, self._reduced.columns.upper)
        violated = self._violated(columns)
        stuck = not violated and bound <= self._bound and np.array_equal(columns, self._last)
        self._bound, self._last = max(self._bound, bound), columns
        self._add(violated)
        self._consider(columns)
        return ended or ("precision limit" if stuck else "")

    def fix(self, gap: float, time_limit: float | None) -> None:
        """Looks for a solution with the binaries that the relaxation's scores imply."""
        columns = self._reduced.complete(self._last[: self._objective.neurons])
        binary = self._reduced.columns.binary
        lower, upper = self._lower.copy(), self._upper.copy()
        lower[binary] = upper[binary] = columns[binary]
        program = self._relaxation(lower, upper)
        self._programs.append(program)
        self._consider(columns)
        for _ in range(FIXED_ROUNDS):
            late = time_limit is not None and self.seconds() >= time_limit
            solved = None if late or self.closed(gap, True) else program.solve()
            if solved is None:
                break
            columns = np.clip(solved[0][: self._width], lower[: self._width], upper[: self._width])
            self._add(self._violated(columns))
            if self._consider(columns) - solved[1] <= gap / 10 * max(1.0, abs(solved[1])):
                break
        self._programs.remove(program)

    def _start(self) -> np.ndarray:
        """The best solution with its losses and penalty."""
        losses, _ = self._objective.losses(self._best)
        return np.concatenate([self._best, losses, [self._objective.penalty(self._best)]])

    def _relaxation(self, lower: np.ndarray, upper: np.ndarray) -> Any:
        program = self._backend.LinearProgram(self._costs, lower, upper)
        program.add(self._rows)
        return program

    def _violated(self, columns: np.ndarray) -> list[Row]:
        matrix, bound = self._reduced.lazy
        violation = bound - matrix @ columns
        violation[self._lazy] = 0
        worst = np.flatnonzero(violation > TOLERANCE / 10)
        worst = worst[np.argsort(-violation[worst], kind="stable")][:BATCH]
        self._lazy[worst] = True
        rows = []
        for row in worst:
            entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
            rows.append(Row(matrix.indices[entries], matrix.data[entries], float(bound[row])))
        return rows

    def _consider(self, columns: np.ndarray) -> float:
        """Adds the losses' tangents at a point, and takes it if it is better and feasible.

        Its objective is returned, infinity where it breaks a row.
        """
        values, rows = self._objective.tangents(columns, self._width)
        self._add(rows)
        value = np.inf
        if self.violation(columns) <= TOLERANCE:
            value = self._objective.loss_weight * float(values.mean())
            value += self._objective.penalty(columns)
            self._relaxed = min(self._relaxed, value)
            binary = columns[self._reduced.columns.binary]
            if value < self._value and np.all(np.abs(binary - np.round(binary)) <= TOLERANCE):
                self._best, self._value = columns, value
        self._bound = min(self._bound, self._value)  # rounding aside
        moved = Progress(self.seconds(), self._value, self._bound)
        if not self._trajectory or moved[1:] != self._trajectory[-1][1:]:
            self._trajectory.append(moved)
            if self._told is not None:
                self._told(moved, self._best)
        return value

    def violation(self, columns: np.ndarray) -> float:
        """By how much a point violates the rows, at most."""
        matrix, bound = self._reduced.lazy
        worst = float((bound - matrix @ columns).max(initial=0.0))
        for row in self._reduced.columns.rows:
            worst = max(worst, row.bound - float(row.coefficients @ columns[row.indices]))
        return worst

    def _add(self, rows: list[Row]) -> None:
        self._rows += rows
        for program in self._programs:
            program.add(rows)

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
