"""Mode "full": the published program with all its variables, given to a mixed-integer solver.

This is the program as the paper writes it down. It is slow; mode "paper" solves the same program in
the space of the scores.
"""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers import tolerances
from solvers.backends import scip_program
from solvers.programs import explicit
from solvers.programs.explicit import Formulation
from solvers.programs.objective import lacking
from solvers.programs.problem import PruningProblem
from solvers.programs.program import Program
from solvers.programs.results import LIMITS, MipResult
from solvers.programs.rows import Row, Rows, joined
from solvers.search.incumbent import Incumbent
from solvers.search.segments import furthest
from solvers.settings import LOSSES, Settings
from solvers.solution import Solution, whole


def solve(
    problem: PruningProblem,
    settings: Settings,
    *,
    loss: str | None = None,
    rows: Mapping[str, Row] | None = None,
) -> Solution:
    """Finds scores that relax the neurons, from the explicit program.

    Args:
      problem: the network and the batch.
      settings: limits and the solver.
      loss: "cuts" adds tangents of the losses within the solver's tree, where a loss is too low;
        "exp" gives SCIP the exponentials, whatever ``settings.backend`` is; None takes it from
        the settings.
      rows: further rows for the program, by name. ``explicit.formulate`` has its columns; the
        first ones are the scores.

    Returns:
      The solution. At a limit it is the best one so far, at worst the whole network. Its status
      is "precision limit" if the gap asked for is finer than the solver's own accuracy, or if the
      solver had numerical trouble.

    Raises:
      ValueError: no scores fulfil all rows, and the message names rows without a common solution;
        or ``loss`` is another word.
      TimeoutError: a limit came before any solution; without ``rows`` this cannot happen.
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
    best = search.incumbent
    if best.solution is None:
        raise TimeoutError(f"{status} before any solution was found")
    losses, _ = form.cross_entropy(best.solution)
    return Solution(
        layers=problem.chain.names,
        scores=problem.chain.split(best.solution[: problem.chain.neurons]),
        status=status,
        objective=best.value,
        bound=best.bound,
        bound_scope="paper-restriction",
        loss=float(losses.mean()),
        problem=problem,
        violation=program.violation(best.solution),
        seconds={"build": built - started, "solve": time.perf_counter() - built},
        rows=len(program.rows) + (len(losses) if loss == "exp" else len(search.tangents)),
        columns=len(program.columns),
        binaries=len(program.binary),
        open=form.open,
        trajectory=tuple(best.trajectory),
    )


def tangents(problem: PruningProblem, settings: Settings) -> Rows:
    """The tangents of the losses that a solve of the explicit program needed.

    Args:
      problem: the network and the batch.
      settings: limits and the solver; at a limit, the tangents so far are returned.

    Returns:
      Rows over the columns of ``explicit.formulate(problem, normal=True)``.

    Raises:
      ImportError: the solver is not installed.
    """
    form = explicit.formulate(problem, normal=True)
    search = _Search(form, form.program.scaled(), settings, time.perf_counter())
    with contextlib.suppress(KeyboardInterrupt):
        search.run("cuts")
    if search.incumbent.solution is not None:
        search.blocks.append(form.tangents(search.incumbent.solution))
    return search.tangents


class _Search:
    """The search: its best solution so far, and its tangents.

    Args:
      form: the published program.
      program: the same with the caller's rows.
      settings: limits and the solver.
      started: when the solve started, a reading of ``time.perf_counter``.

    Attributes:
      incumbent: the best values of all columns; None until one fulfils the caller's rows.
      blocks: the tangents that were needed.
    """

    def __init__(
        self, form: Formulation, program: Program, settings: Settings, started: float
    ) -> None:
        self._form, self._program, self._settings = form, program, settings
        self._limits, self._neurons = settings.limits(started), form.chain.neurons
        floor = form.problem.penalty(np.zeros(self._neurons))
        self.incumbent: Incumbent[np.ndarray | None] = Incumbent(
            None, floor, started, settings.tell
        )
        self.blocks: list[Rows] = []
        self._below = tolerances.tangent(settings.gap, form.problem.loss_weight)
        self._whole = form.complete(np.ones(self._neurons))
        self._consider(self._whole)

    @property
    def tangents(self) -> Rows:
        """All tangents that were needed."""
        return joined(self.blocks)

    def run(self, loss: str) -> str:
        """Solves the program; the status at the end."""
        left = self._limits.left()
        if left is not None and left <= 0:
            return "time limit"
        given: dict[str, Any] = {
            "time_limit": left,
            "gap": self._settings.gap / 2,
            "memory_mb": self._settings.memory_mb,
            "seed": self._settings.seed,
            "start": self.incumbent.solution,
            "on_incumbent": lambda _, bound, values: self._consider(values, bound),
            "complete": self._complete,
        }
        solve = self._exponentials if loss == "exp" else self._cuts
        result = solve(given)
        if result.status in ("infeasible", "inforunbd") and (
            names := scip_program.infeasible_rows(self._program)
        ):
            raise ValueError(
                f"no scores fulfil all rows; these have no common solution: {', '.join(names)}"
            )
        self._consider(result.values, result.bound)
        if self.incumbent.closed(self._settings.gap):
            return "optimal"
        return LIMITS.get(result.status, "precision limit")

    def _exponentials(self, given: dict[str, Any]) -> MipResult:
        return scip_program.solve_program(self._program, self._form.exact_losses, **given)

    def _cuts(self, given: dict[str, Any]) -> MipResult:
        program = self._program
        self.blocks.append(self._form.tangents(self._whole))
        return self._settings.solver().solve_mip(
            program.costs,
            program.lower,
            program.upper,
            program.binary.tolist(),
            joined([program.inequalities(), *self.blocks]),
            lazy=self._broken,
            **given,
        )

    def _broken(self, values: np.ndarray) -> Rows:
        """Tangents of the losses that lie above their columns."""
        losses, _ = self._form.cross_entropy(values)
        missing = losses - values[self._form.losses]
        rows = lacking(self._form.tangents(values), missing, values, self._below)
        self.blocks.append(rows)
        return rows

    def _complete(self, values: np.ndarray) -> np.ndarray | None:
        """A better solution for the solver, or None.

        It has the scores of the solver's values, or lies as far towards them as the rows allow.
        """
        scores, best = np.clip(values[: self._neurons], 0, 1), self.incumbent.solution
        if best is not None:
            scores = furthest(best[: self._neurons], scores, self._feasible)
        before = self.incumbent.value
        self._consider(self._form.complete(scores))
        return self.incumbent.solution if self.incumbent.value < before else None

    def _feasible(self, scores: np.ndarray) -> bool:
        broken = self._program.violation(self._form.complete(scores))
        return broken <= tolerances.FEASIBLE

    def _consider(self, values: np.ndarray | None, bound: float = -np.inf) -> None:
        """Takes a bound, and a solution if it is feasible and better."""
        if values is not None:
            scores = np.clip(values[: self._neurons], 0, 1)
            # the values that follow from the scores are exact; the solver's own values are needed
            # if the caller's rows prescribe binaries
            box = np.clip(values, self._program.lower, self._program.upper)
            for point in (self._form.complete(scores), box):
                fulfilled = self._program.violation(point) <= tolerances.FEASIBLE_FULL
                if fulfilled and self.incumbent.take(point, self._form.objective(point)):
                    break
        self.incumbent.lift(bound)
        self.incumbent.record()
