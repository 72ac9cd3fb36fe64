"""HiGHS, behind the same two calls as SCIP. Only this file imports highspy."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solvers.programs.results import INTERRUPTED, MipResult
from solvers.programs.rows import Rows
from solvers.search.interrupts import interruptible
from solvers.tolerances import LINEAR


def package() -> Any:
    """Imports highspy.

    Returns:
      The package.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import highspy
    except ImportError as error:
        raise ImportError(
            "the solver HiGHS is not installed: pip install highspy (or 'prunejax[highs]'), or "
            "choose backend='scip'"
        ) from error
    return highspy


class LinearProgram:
    """``min costs x`` over bounds and rows ``a x >= b``, solved again and again as rows come.

    Args:
      costs: [columns].
      lower: the columns' lower bounds, [columns].
      upper: the columns' upper bounds, [columns].

    Raises:
      ImportError: highspy is not installed.
    """

    def __init__(self, costs: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        self._highspy = package()
        self._model = _model(self._highspy, costs, lower, upper)

    def add(self, rows: Rows) -> None:
        """Adds rows."""
        _add_rows(self._model, rows)

    def bound(self, columns: Sequence[int], lower: np.ndarray, upper: np.ndarray) -> None:
        """Gives columns other bounds, which must be finite."""
        for place, column in enumerate(columns):
            self._model.changeColBounds(int(column), float(lower[place]), float(upper[place]))

    def solve(self, time_limit: float | None = None) -> tuple[np.ndarray, float] | None:
        """Solves the program with its rows so far.

        Args:
          time_limit: seconds, or None.

        Returns:
          The solution, [columns], and its objective; None if there is none.

        Raises:
          TimeoutError: the time is over.
          KeyboardInterrupt: there was a Ctrl-C.
        """
        _limited(self._model, np.inf if time_limit is None else time_limit, mip=False)
        if interruptible(self._model.run, self._model.cancelSolve):
            raise KeyboardInterrupt
        if self._model.getModelStatus() == self._highspy.HighsModelStatus.kTimeLimit:
            raise TimeoutError
        if self._model.getModelStatus() != self._highspy.HighsModelStatus.kOptimal:
            return None
        values = np.array(self._model.getSolution().col_value)
        return values, float(self._model.getObjectiveValue())


def solve_mip(
    costs: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    binary: Sequence[int],
    rows: Rows,
    *,
    time_limit: float | None = None,
    gap: float = 0.0,
    memory_mb: float | None = None,
    seed: int = 0,
    start: np.ndarray | None = None,
    priority: Sequence[int] = (),
    separate: bool = True,
    on_incumbent: Callable[[float, float, np.ndarray], None] | None = None,
    lazy: Callable[[np.ndarray], Rows] | None = None,
    complete: Callable[[np.ndarray], np.ndarray | None] | None = None,
) -> MipResult:
    """Solves ``min costs x`` over bounds, rows ``a x >= b`` and binaries.

    Args:
      costs: [columns].
      lower: the columns' lower bounds, [columns].
      upper: the columns' upper bounds, [columns].
      binary: the numbers of the columns that are 0 or 1.
      rows: the rows.
      time_limit: seconds, or None.
      gap: the relative gap to stop at.
      memory_mb: ignored, because HiGHS has no such limit.
      seed: HiGHS's own seed.
      start: a solution to begin with, [columns], or None.
      priority: ignored, because HiGHS takes no priorities.
      separate: ignored.
      on_incumbent: called with (objective, bound, values) for each better solution. What it
        raises is raised here when HiGHS has ended.
      lazy: returns the rows, of those that are not in ``rows``, that values violate. HiGHS takes
        no rows within its tree, so the program is solved again with them.
      complete: returns a solution near values that violate such rows, or None.

    Returns:
      The result.

    Raises:
      ImportError: highspy is not installed.
    """
    del memory_mb, priority, separate
    until = np.inf if time_limit is None else time.perf_counter() + time_limit
    highspy = package()
    model = _model(highspy, costs, lower, upper)
    _add_rows(model, rows)
    model.setOptionValue("mip_rel_gap", gap)
    model.setOptionValue("mip_abs_gap", 0.0)
    model.setOptionValue("random_seed", seed)
    model.setOptionValue("mip_feasibility_tolerance", LINEAR)
    raised: list[BaseException] = []
    if on_incumbent is not None:

        def improved(event: Any) -> None:
            solution = event.data_out
            try:
                on_incumbent(
                    float(solution.objective_function_value),
                    float(solution.mip_dual_bound),
                    np.array(solution.mip_solution),
                )
            except BaseException as error:
                raised.append(error)
                model.cancelSolve()

        model.cbMipImprovingSolution += improved
    best, bound = start, -np.inf
    # the linear program gathers most of the lazy rows before the binaries are made whole
    whole = lazy is None
    while True:
        if whole and len(binary):
            _make_binary(highspy, model, binary)
        if best is not None:
            values: Any = best  # highspy's stub knows no dtypes
            model.setSolution(len(best), np.arange(len(best), dtype=np.int32), values)
        if bound > -np.inf and time.perf_counter() >= until:
            return MipResult(best, bound, "timelimit")
        integral = whole and len(binary) > 0
        _limited(model, until - time.perf_counter(), mip=integral)
        interrupted = interruptible(model.run, model.cancelSolve)
        if raised:
            raise raised[0]
        result = _result(highspy, model, mip=integral)
        status = INTERRUPTED if interrupted else result.status
        bound = max(bound, result.bound)
        broken = None if lazy is None or result.values is None else lazy(result.values)
        if whole and not broken:
            return MipResult(result.values, bound, status)
        if result.values is not None and complete is not None:
            completed = complete(result.values)
            if completed is not None and (best is None or costs @ completed < costs @ best):
                best = completed
        if status != "optimal":
            return MipResult(best, bound, status)
        if best is not None and costs @ best - bound <= gap * max(1.0, abs(costs @ best)):
            return MipResult(best, bound, "optimal")
        if broken:
            _add_rows(model, broken)
        else:
            whole = True


def _make_binary(highspy: Any, model: Any, binary: Sequence[int]) -> None:
    model.changeColsIntegrality(
        len(binary),
        np.asarray(binary, np.int32),
        np.full(len(binary), int(highspy.HighsVarType.kInteger), np.uint8),
    )


def _limited(model: Any, seconds: float, *, mip: bool) -> None:
    """Limits the next run. For linear programs, HiGHS also counts the time of earlier runs."""
    before = 0.0 if mip else model.getRunTime()
    model.setOptionValue("time_limit", before + max(seconds, 0.0))


def _result(highspy: Any, model: Any, *, mip: bool) -> MipResult:
    words = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
        highspy.HighsModelStatus.kUnbounded: "unbounded",
        highspy.HighsModelStatus.kUnboundedOrInfeasible: "inforunbd",
        highspy.HighsModelStatus.kTimeLimit: "timelimit",
    }
    status = model.getModelStatus()
    info, solution = model.getInfo(), model.getSolution()
    feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    optimal = status == highspy.HighsModelStatus.kOptimal
    bound = -np.inf
    if mip:
        bound = float(info.mip_dual_bound)
    elif optimal:
        bound = float(info.objective_function_value)
    values = np.array(solution.col_value) if solution.value_valid and feasible else None
    return MipResult(values, bound, words.get(status, str(status)))


def _model(highspy: Any, costs: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Any:
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("primal_feasibility_tolerance", LINEAR)
    model.HandleUserInterrupt = True
    count, none = len(costs), np.array([], np.int32)
    model.addCols(
        count,
        np.asarray(costs, np.float64),
        np.asarray(lower, np.float64),
        np.asarray(upper, np.float64),
        0,
        np.zeros(count, np.int32),
        none,
        np.array([], np.float64),
    )
    return model


def _add_rows(model: Any, rows: Rows) -> None:
    if not rows:
        return
    scaled = rows.scaled()
    model.addRows(
        len(rows),
        scaled.bounds,
        np.full(len(rows), np.inf),
        len(scaled.indices),
        scaled.starts[:-1].astype(np.int32),
        scaled.indices.astype(np.int32),
        scaled.coefficients,
    )
