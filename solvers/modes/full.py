"""The published program with all its variables, solved by a mixed-integer solver.

It is what the paper writes down, and slow; ``paper.solve`` finds the same in the space of the
scores.
"""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers import tolerances
from solvers.backends import scip_program
from solvers.modes.whole import whole
from solvers.programs import explicit
from solvers.programs.explicit import Formulation
from solvers.programs.problem import PruningProblem
from solvers.programs.program import LIMITS, MipResult, Program
from solvers.programs.rows import Row
from solvers.search.certificates import certified
from solvers.search.segments import furthest
from solvers.settings import LOSSES, Settings
from solvers.solution import Solution


def solve(
    problem: PruningProblem,
    settings: Settings,
    *,
    loss: str | None = None,
    rows: Mapping[str, Row] | None = None,
) -> Solution:
    """Scores that relax the neurons, from the whole published program.

    Args:
        problem: the network and the batch.
        settings: limits and the solver.
        loss: "cuts" adds tangents of the losses within the solver's tree, where a loss is too low;
            "exp" gives SCIP the exponentials, whatever ``settings.backend`` is; by default what the
            settings say.
        rows: more rows for the program, by name; see ``explicit.formulate`` for its columns,
            of which the scores are the first.

    Returns:
        The solution. At a limit it is the best one so far, the whole network at worst; its status
        is "precision limit" where the gap asked for is finer than the solver's own accuracy, or
        where its numerics gave up.

    Raises:
        ValueError: no scores fulfil all rows; the message names rows that have no common solution.
            Another word for ``loss``.
        TimeoutError: a limit came before any solution, which only rows of one's own can cause.
        ImportError: the solver is not installed.
    """
    loss = settings.loss if loss is None else loss
    if loss not in LOSSES:
        raise ValueError(f"loss must be {' or '.join(map(repr, LOSSES))}, got {loss!r}")
    started = time.perf_counter()
    try:
        form = explicit.formulate(problem, normal=True, until=settings.until(started))
    except TimeoutError:
        if rows:
            raise TimeoutError("time limit before any solution was found") from None
        seconds = time.perf_counter() - started
        return whole(problem, "paper-restriction", "time limit", seconds)
    program = form.program.with_rows(form.in_units(rows or {})).scaled()
    search = _Search(form, program, settings, started)
    built = time.perf_counter()
    try:
        status = search.run(loss)
    except KeyboardInterrupt:
        status = "interrupted"
    if search.best is None:
        raise TimeoutError(f"{status} before any solution was found")
    values = search.best
    losses, _ = form.cross_entropy(values)
    scores = values[: problem.chain.neurons]
    return Solution(
        layers=tuple(gate.name for gate in problem.chain.gates),
        scores=tuple(scores[part] for part in problem.chain.slices()),
        status=status,
        objective=search.value,
        bound=search.bound,
        bound_scope="paper-restriction",
        loss=float(losses.mean()),
        problem=problem,
        violation=program.violation(values),
        seconds={"build": built - started, "solve": time.perf_counter() - built},
        rows=len(program.rows) + (len(losses) if loss == "exp" else len(search.tangents)),
        columns=len(program.columns),
        binaries=len(program.binary),
        open=form.open,
        trajectory=tuple(search.trajectory),
    )


def tangents(problem: PruningProblem, settings: Settings) -> list[Row]:
    """The tangents of the losses that solving a program needed, until its end or a limit.

    Args:
        problem: the network and the batch.
        settings: limits and the solver.

    Returns:
        Rows over the columns of ``explicit.formulate``.
    """
    form = explicit.formulate(problem, normal=True)
    search = _Search(form, form.program.scaled(), settings, time.perf_counter())
    with contextlib.suppress(KeyboardInterrupt):
        search.run("cuts")
    if search.best is not None:
        search.tangents += form.tangents(search.best)
    return search.tangents


class _Search:
    """The best solution so far, and the bound.

    Args:
        form: the published program.
        program: the same with the caller's rows.
        settings: limits and the solver.
        started: when the time began, a reading of ``time.perf_counter``.
    """

    def __init__(
        self, form: Formulation, program: Program, settings: Settings, started: float
    ) -> None:
        self._started = started
        self._form, self._program, self._settings = form, program, settings
        self.best: np.ndarray | None = None
        self._floor = form.problem.penalty(np.zeros(form.problem.chain.neurons))
        self.value, self.bound = np.inf, self._floor
        self.tangents: list[Row] = []
        self.trajectory: list[tuple[float, ...]] = []
        self._below = tolerances.tangent(settings.gap, form.problem.loss_weight)
        self._whole = form.complete(np.ones(form.problem.chain.neurons))
        self._consider(self._whole)

    def run(self, loss: str) -> str:
        """Solves the program; the status."""
        left = self._left()
        if left is not None and left <= 0:
            return "time limit"
        result = self._exponentials(left) if loss == "exp" else self._cuts(left)
        if result.status in ("infeasible", "inforunbd") and (
            names := scip_program.infeasible_rows(self._program)
        ):
            raise ValueError(
                f"no scores fulfil all rows; these have no common solution: {', '.join(names)}"
            )
        self._consider(result.values, result.bound)
        if self._closed():
            return "optimal"
        return LIMITS.get(result.status, "precision limit")

    def _exponentials(self, left: float | None) -> MipResult:
        return scip_program.solve_program(
            self._program,
            self._form.exact_losses,
            time_limit=left,
            gap=self._settings.gap / 2,
            memory_mb=self._settings.memory_mb,
            seed=self._settings.seed,
            start=self.best,
            on_incumbent=lambda _, bound, values: self._consider(values, bound),
            complete=self._complete,
        )

    def _cuts(self, left: float | None) -> MipResult:
        program, backend = self._program, self._settings.solver()
        self.tangents += self._form.tangents(self._whole)
        rows = [*program.inequalities(), *self.tangents]
        result: Any = backend.solve_mip(
            program.costs,
            program.lower,
            program.upper,
            program.binary.tolist(),
            rows,
            time_limit=left,
            gap=self._settings.gap / 2,
            memory_mb=self._settings.memory_mb,
            seed=self._settings.seed,
            start=self.best,
            on_incumbent=lambda _, bound, values: self._consider(values, bound),
            lazy=self._broken,
            complete=self._complete,
        )
        return result

    def _broken(self, values: np.ndarray) -> list[Row]:
        """Tangents of the losses that lie above their columns."""
        losses, _ = self._form.cross_entropy(values)
        missing = losses - values[self._form.losses]
        found = [
            row
            for row, each in zip(self._form.tangents(values), missing, strict=True)
            if each > self._below and row.violation(values) > tolerances.LAZY_MIXED
        ]
        self.tangents += found
        return found

    def _complete(self, values: np.ndarray) -> np.ndarray | None:
        """A better point, or None: the values' scores, or as far towards them as the rows allow."""
        neurons = self._form.problem.chain.neurons
        scores, best = np.clip(values[:neurons], 0, 1), self.best
        point = self._form.complete(scores)
        if best is not None:
            near = furthest(best[:neurons], scores, lambda each: self._feasible(each))
            point = self._form.complete(near)
        before = self.value
        self._consider(point)
        return self.best if self.value < before else None

    def _feasible(self, scores: np.ndarray) -> bool:
        broken = self._program.violation(self._form.complete(scores))
        return broken <= tolerances.FEASIBLE

    def _left(self) -> float | None:
        limit = self._settings.time_limit
        return None if limit is None else max(limit - (time.perf_counter() - self._started), 0.0)

    def _closed(self) -> bool:
        return bool(
            np.isfinite(self.value)
        ) and self.value - self.bound <= self._settings.gap * max(1.0, abs(self.value))

    def _consider(self, values: np.ndarray | None, bound: float = -np.inf) -> None:
        """Takes a bound, and a solution if it is feasible and better."""
        if values is not None:
            scores = np.clip(values[: self._form.problem.chain.neurons], 0, 1)
            # what the scores imply is exact; the solver's own values count where rows of the
            # caller's choose among binaries
            box = np.clip(values, self._program.lower, self._program.upper)
            for point in (self._form.complete(scores), box):
                value = self._form.objective(point)
                broken = self._program.violation(point)
                if value < self.value and broken <= tolerances.FEASIBLE_FULL:
                    self.best, self.value = point, value
                    break
        self.bound = certified(max(self.bound, bound), self.value, self._floor)
        moved = (time.perf_counter() - self._started, self.value, self.bound)
        if not self.trajectory or moved[1:] != self.trajectory[-1][1:]:
            self.trajectory.append(moved)
            self._settings.tell(*moved)
