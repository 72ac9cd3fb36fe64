"""The published program with all its variables, solved by a mixed-integer solver.

It is what the paper writes down, and slow; ``paper.solve`` finds the same in the space of the
scores.
"""

import time
from collections.abc import Mapping
from typing import Literal

import numpy as np

from solvers import formulation, scip_program
from solvers.formulation import Formulation
from solvers.program import LIMITS, Program
from solvers.reduced import Row
from solvers.settings import Settings
from solvers.solution import Solution

TOLERANCE = 5e-7
"""By how much a solution may violate a row."""

EXACT = 1e-8
"""By how little tangents may lie below a loss, in nats, to count as equal to it."""


def solve(
    problem: formulation.Problem,
    settings: Settings,
    *,
    loss: Literal["cuts", "exp"] = "cuts",
    rows: Mapping[str, Row] | None = None,
) -> Solution:
    """Scores that relax the neurons, from the whole published program.

    Args:
        problem: the network and the batch.
        settings: limits and the solver.
        loss: "cuts" adds tangents of the losses until they are tight, round by round; "exp" gives
            SCIP the exponentials, whatever ``settings.backend`` is.
        rows: more rows for the program, by name; see ``formulation.formulate`` for its columns,
            of which the scores are the first.

    Returns:
        The solution. At a limit it is the best one so far, the whole network at worst; its status
        is "precision limit" where the gap asked for is finer than the solver's own accuracy.

    Raises:
        ValueError: no scores fulfil all rows; the message names rows that have no common solution.
            Another word for ``loss``.
        TimeoutError: a limit came before any solution, which only rows of one's own can cause.
        ImportError: the solver is not installed.
    """
    if loss not in ("cuts", "exp"):
        raise ValueError(f"loss must be 'cuts' or 'exp', got {loss!r}")
    started = time.perf_counter()
    form = formulation.formulate(problem)
    search = _Search(form, form.program.with_rows(rows or {}), settings)
    built = time.perf_counter()
    try:
        status = search.exponentials() if loss == "exp" else search.cuts()
    except KeyboardInterrupt:
        status = "interrupted"
    if search.best is None:
        raise TimeoutError(f"{status} before any solution was found")
    values, program = search.best, search.program
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


class _Search:
    """The best solution so far, and the bound.

    Args:
        form: the published program.
        program: the same with the caller's rows.
        settings: limits and the solver.
    """

    def __init__(self, form: Formulation, program: Program, settings: Settings) -> None:
        self._started = time.perf_counter()
        self._form, self._settings = form, settings
        self.program = program
        self.best: np.ndarray | None = None
        self.value, self.bound = np.inf, form.problem.penalty(np.zeros(form.problem.chain.neurons))
        self.tangents: list[Row] = []
        self.trajectory: list[tuple[float, ...]] = []
        whole = np.ones(form.problem.chain.neurons)
        self.tangents += form.tangents(form.complete(whole))
        self._consider(form.complete(whole))

    def exponentials(self) -> str:
        """Solves once, with the losses as they are; the status."""
        result = scip_program.solve_program(
            self.program,
            self._form.exact_losses,
            time_limit=self._left(),
            gap=self._settings.gap / 2,
            memory_mb=self._settings.memory_mb,
            seed=self._settings.seed,
            start=self.best,
            on_incumbent=lambda _, bound, values: self._consider(values, bound),
        )
        self._check(result.status)
        if result.values is not None:
            self._consider(result.values, result.bound)
        return _word(result.status)

    def cuts(self) -> str:
        """Tangents: of the relaxation until it is tight, then of mixed-integer programs."""
        backend, program = self._settings.solver(), self.program
        rows = program.inequalities()
        relaxation = backend.LinearProgram(program.costs, program.lower, program.upper)
        relaxation.add([*rows, *self.tangents])
        lowest = np.inf
        while (left := self._left()) is None or left > 0:
            solved = relaxation.solve()
            if solved is None:
                if self.best is None:  # else the numerics are too hard
                    self._check("infeasible")
                break
            self._consider(None, solved[1])
            lowest = min(lowest, self._form.objective(solved[0]))
            if self._close(lowest):
                break
            if self._exact(solved[0]):
                break
            new = self._form.tangents(solved[0])
            relaxation.add(new)
            self.tangents += new
        while not self._close(self.value):
            left = self._left()
            if left is not None and left <= 0:
                return "time limit"
            result = backend.solve_mip(
                program.costs,
                program.lower,
                program.upper,
                program.binary.tolist(),
                [*rows, *self.tangents],
                time_limit=left,
                gap=self._settings.gap / 4,
                memory_mb=self._settings.memory_mb,
                seed=self._settings.seed,
                start=self.best,
            )
            self._check(result.status)
            self._consider(result.values, result.bound)
            if _word(result.status) != "optimal" or result.values is None:
                return _word(result.status)
            if self._exact(result.values) and not self._close(self.value):
                return "precision limit"
            self.tangents += self._form.tangents(result.values)
        return "optimal"

    def _left(self) -> float | None:
        limit = self._settings.time_limit
        return None if limit is None else max(limit - (time.perf_counter() - self._started), 0.0)

    def _close(self, value: float) -> bool:
        return bool(np.isfinite(value)) and value - self.bound <= self._settings.gap * max(
            1.0, abs(value)
        )

    def _exact(self, values: np.ndarray) -> bool:
        """Whether further tangents at a solution would say nothing new."""
        losses, _ = self._form.cross_entropy(values)
        return bool(np.all(losses - values[self._form.losses] <= EXACT))

    def _check(self, status: str) -> None:
        """Raises where there is no solution at all."""
        if status in ("infeasible", "inforunbd"):
            names = scip_program.infeasible_rows(self.program)
            if not names:  # there is a solution: the numerics are too hard
                return
            raise ValueError(
                f"no scores fulfil all rows; these have no common solution: {', '.join(names)}"
            )

    def _consider(self, values: np.ndarray | None, bound: float = -np.inf) -> None:
        """Takes a bound, and a solution if it is feasible and better."""
        self.bound = max(self.bound, bound)
        if values is not None:
            scores = np.clip(values[: self._form.problem.chain.neurons], 0, 1)
            # what the scores imply is exact; the solver's own values count where rows of the
            # caller's choose among binaries
            box = np.clip(values, self.program.lower, self.program.upper)
            for point in (self._form.complete(scores), box):
                value = self._form.objective(point)
                if value < self.value and self.program.violation(point) <= TOLERANCE:
                    self.best, self.value = point, value
                    break
        moved = (time.perf_counter() - self._started, self.value, self.bound)
        if not self.trajectory or moved[1:] != self.trajectory[-1][1:]:
            self.trajectory.append(moved)
            self._settings.tell(*moved)


def _word(status: str) -> str:
    """A solver's status in the words of ``Solution``."""
    return "optimal" if status in ("optimal", "gaplimit") else LIMITS.get(status, status)
