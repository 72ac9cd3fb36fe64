"""SCIP, behind two calls: linear programs that grow, and mixed-integer programs."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solvers.backends.scip_models import WALL_CLOCK, add_columns, add_row, optimised, package
from solvers.backends.scip_plugins import Plugins
from solvers.programs.results import MipResult
from solvers.programs.rows import Rows, joined
from solvers.tolerances import LINEAR

ITERATIONS = 1000
"""SoPlex does not see Ctrl-C, so it returns to Python after so many steps of the simplex method."""


class LinearProgram:
    """``min costs x`` over bounds and rows ``a x >= b``, solved again and again as rows come.

    Args:
      costs: [columns].
      lower: the columns' lower bounds, [columns].
      upper: the columns' upper bounds, [columns].

    Raises:
      ImportError: pyscipopt is not installed.
    """

    def __init__(self, costs: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        self._columns = costs, lower.copy(), upper.copy()
        self._blocks: list[Rows] = []
        self._until = np.inf
        self._lp = self._made()

    def add(self, rows: Rows) -> None:
        """Adds rows."""
        self._blocks.append(rows)
        if rows:
            scaled = rows.scaled()
            self._lp.addRows(
                [
                    list(zip(row.indices.tolist(), row.coefficients.tolist(), strict=True))
                    for row in scaled
                ],
                lhss=scaled.bounds.tolist(),
                rhss=[self._lp.infinity()] * len(rows),
            )

    def bound(self, columns: Sequence[int], lower: np.ndarray, upper: np.ndarray) -> None:
        """Gives columns other bounds, which must be finite."""
        for place, column in enumerate(columns):
            low, high = float(lower[place]), float(upper[place])
            self._columns[1][column], self._columns[2][column] = low, high
            self._lp.chgBound(column, low, high)

    def solve(self, time_limit: float | None = None) -> tuple[np.ndarray, float] | None:
        """Solves the program with its rows so far.

        Args:
          time_limit: seconds, or None.

        Returns:
          The solution, [columns], and its objective; None if there is none, or SoPlex finds none.

        Raises:
          TimeoutError: the time is over.
        """
        self._until = np.inf if time_limit is None else time.perf_counter() + time_limit
        if not self._solved():
            # many rows on an old basis can cause numerical trouble: again, without a basis
            blocks, self._blocks, self._lp = self._blocks, [], self._made()
            self.add(joined(blocks))
            if not self._solved():
                return None
        return np.asarray(self._lp.getPrimal()), float(self._lp.getObjVal())

    def _solved(self) -> bool:
        parameters = package().SCIP_LPPARAM
        while True:
            left = self._until - time.perf_counter()
            if left <= 0:
                raise TimeoutError
            if left < np.inf:
                self._lp.setRealParam(parameters.LPTILIM, float(left))
            try:
                self._lp.solve()
            except Exception as error:  # pyscipopt has no class of its own for it
                if "LP solver" not in str(error):
                    raise
                return False
            if self._lp.isOptimal():
                return True
            if self._lp.getNIterations() < ITERATIONS and time.perf_counter() < self._until:
                return False

    def _made(self) -> Any:
        costs, lower, upper = self._columns
        module = package()
        made = module.LP(sense="minimize")
        # with SoPlex's own 1e-6, the check of the rows would refuse its solutions for ever
        for tolerance in (module.SCIP_LPPARAM.FEASTOL, module.SCIP_LPPARAM.DUALFEASTOL):
            made.setRealParam(tolerance, LINEAR)
        made.setIntParam(module.SCIP_LPPARAM.TIMING, WALL_CLOCK)
        made.setIntParam(module.SCIP_LPPARAM.LPITLIM, ITERATIONS)
        infinity = made.infinity()
        made.addCols(
            [[] for _ in costs],
            objs=costs.tolist(),
            lbs=np.clip(lower, -infinity, infinity).tolist(),
            ubs=np.clip(upper, -infinity, infinity).tolist(),
        )
        return made


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
      memory_mb: a limit, or None.
      seed: shifts SCIP's own seeds.
      start: a solution to begin with, [columns], or None.
      priority: columns to branch on first.
      separate: whether SCIP may add its own cutting planes.
      on_incumbent: called with (objective, bound, values) for each better solution. What it
        raises is raised here when SCIP has ended.
      lazy: returns the rows, of those that are not in ``rows``, that values violate; called
        within the tree.
      complete: returns a solution near values that are not integral yet, or None; called at each
        node.

    Returns:
      The result.

    Raises:
      ImportError: pyscipopt is not installed.
    """
    until = np.inf if time_limit is None else time.perf_counter() + time_limit
    scip = package()
    model = scip.Model()
    first, columns = set(priority), add_columns(model, costs, lower, upper, binary)
    for index in first:
        model.chgVarBranchPriority(columns[index], 1)
    if not separate:
        model.setSeparating(scip.SCIP_PARAMSETTING.OFF)
    for row in rows.scaled():
        add_row(scip, model, columns, row, row.bound, None)
    plugins = Plugins(on_incumbent, lazy, complete)
    return optimised(model, columns, until, gap, memory_mb, seed, start, plugins)
