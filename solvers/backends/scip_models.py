"""Models of SCIP's: their columns and rows, and how they are solved. Only this file imports it."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from solvers.backends.scip_plugins import Plugins
from solvers.programs.results import BROKEN, INTERRUPTED, MipResult
from solvers.programs.rows import Row
from solvers.search.interrupts import interruptible
from solvers.tolerances import MIXED

WALL_CLOCK = 2
"""SCIP's number for measuring real time; by default it measures processor time."""


def package() -> Any:
    """Imports pyscipopt.

    Returns:
      The package.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import pyscipopt
    except ImportError as error:
        raise ImportError(
            "the solver SCIP is not installed: pip install pyscipopt, or choose backend='highs'"
        ) from error
    return pyscipopt


def add_columns(
    model: Any,
    costs: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    binary: Sequence[int],
    names: Sequence[str] = (),
) -> list[Any]:
    """Adds columns to a model.

    Args:
      model: SCIP's.
      costs: [columns].
      lower: the columns' lower bounds, [columns]; minus infinity for none.
      upper: the columns' upper bounds, [columns]; infinity for none.
      binary: the numbers of the columns that are 0 or 1.
      names: one per column; empty for names of SCIP's.

    Returns:
      SCIP's variables, [columns].
    """
    chosen = set(binary)
    return [
        model.addVar(
            names[index] if names else "",
            vtype="B" if index in chosen else "C",
            lb=None if low == -np.inf else low,
            ub=None if high == np.inf else high,
            obj=cost,
        )
        for index, (cost, low, high) in enumerate(
            zip(costs.tolist(), lower.tolist(), upper.tolist(), strict=True)
        )
    ]


def optimised(
    model: Any,
    columns: list[Any],
    until: float,
    gap: float,
    memory_mb: float | None,
    seed: int,
    start: np.ndarray | None,
    plugins: Plugins,
) -> MipResult:
    """Solves a model.

    Args:
      model: SCIP's.
      columns: its variables.
      until: when to end, a reading of ``time.perf_counter``; infinity for never.
      gap: as in ``solve_mip``.
      memory_mb: as in ``solve_mip``.
      seed: as in ``solve_mip``.
      start: as in ``solve_mip``.
      plugins: callbacks of the solve.

    Returns:
      The result.
    """
    model.hideOutput()
    model.setParam("numerics/feastol", MIXED)
    model.setParam("randomization/randomseedshift", seed)
    model.setParam("limits/gap", gap)
    model.setParam("limits/absgap", gap)  # a gap is relative to 1 where the objective is smaller
    model.setParam("timing/clocktype", WALL_CLOCK)
    if memory_mb is not None:
        model.setParam("limits/memory", memory_mb)
    if start is not None:
        solution = model.createSol()
        for column, value in zip(columns, start.tolist(), strict=True):
            model.setSolVal(solution, column, value)
        model.addSol(solution, free=True)
    plugins.include(package(), model, columns)
    # SCIP's own handler of Ctrl-C would replace Python's, and stay
    model.setParam("misc/catchctrlc", False)
    if until < np.inf:
        model.setParam("limits/time", max(until - time.perf_counter(), 0.0))
    broken = False
    try:
        interrupted = interruptible(model.optimizeNogil, model.interruptSolve)
    except Exception as error:  # pyscipopt has no class of its own for it
        if "LP solver" not in str(error):
            raise
        broken, interrupted = True, False
    if plugins.raised:
        raise plugins.raised[0]
    values = None
    if model.getNSols() > 0:
        best = model.getBestSol()
        values = np.array([model.getSolVal(best, column) for column in columns])
    if broken:
        return MipResult(values, -np.inf, BROKEN)
    status = INTERRUPTED if interrupted else str(model.getStatus())
    return MipResult(values, float(model.getDualbound()), status)


def add_row(
    scip: Any,
    model: Any,
    columns: Sequence[Any],
    row: Row,
    low: float | None,
    high: float | None,
    name: str = "",
) -> None:
    """Adds a row to a model.

    Args:
      scip: the package.
      model: SCIP's.
      columns: its variables.
      row: the columns and coefficients; its bound does not count.
      low: the lower bound, or None.
      high: the upper bound, or None.
      name: of the row.
    """
    # by terms, because sums of expressions take many times as long to build
    terms = {
        scip.scip.Term(columns[index]): float(value)
        for index, value in zip(row.indices.tolist(), row.coefficients.tolist(), strict=True)
    }
    model.addCons(scip.scip.ExprCons(scip.Expr(terms), lhs=low, rhs=high), name)
