"""SCIP, behind two calls: linear programs that grow, and mixed-integer programs. The only file that
imports pyscipopt."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from solvers.reduced import Row


def _pyscipopt() -> Any:
    try:
        import pyscipopt
    except ImportError as error:
        raise ImportError(
            "the solver SCIP is not installed: pip install pyscipopt, or choose backend='highs'"
        ) from error
    return pyscipopt


class LinearProgram:
    """``min costs x`` over bounds and rows ``a x >= b``, solved again and again as rows come.

    Args:
        costs: [columns].
        lower: bounds of the columns.
        upper: the same from above.

    Raises:
        ImportError: pyscipopt is not installed.
    """

    def __init__(self, costs: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        self._lp = _pyscipopt().LP(sense="minimize")
        infinity = self._lp.infinity()
        self._lp.addCols(
            [[] for _ in costs],
            objs=costs.tolist(),
            lbs=np.clip(lower, -infinity, infinity).tolist(),
            ubs=np.clip(upper, -infinity, infinity).tolist(),
        )

    def add(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        if rows:
            self._lp.addRows(
                [
                    list(zip(row.indices.tolist(), row.coefficients.tolist(), strict=True))
                    for row in rows
                ],
                lhss=[row.bound for row in rows],
                rhss=[self._lp.infinity()] * len(rows),
            )

    def solve(self) -> tuple[np.ndarray, float] | None:
        """The solution and its objective; None if there is none."""
        self._lp.solve()
        if not self._lp.isOptimal():
            return None
        return np.asarray(self._lp.getPrimal()), float(self._lp.getObjVal())


class MipResult(NamedTuple):
    """What a mixed-integer program gave.

    Attributes:
        values: of the columns, or None where no solution was found.
        bound: on the objective, from below.
        status: SCIP's word.
    """

    values: np.ndarray | None
    bound: float
    status: str


def solve_mip(
    costs: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    binary: Sequence[int],
    rows: Sequence[Row],
    *,
    time_limit: float | None = None,
    gap: float = 0.0,
    memory_mb: float | None = None,
    seed: int = 0,
    start: np.ndarray | None = None,
    priority: Sequence[int] = (),
    on_incumbent: Callable[[float, float, np.ndarray], None] | None = None,
) -> MipResult:
    """Solves ``min costs x`` over bounds, rows ``a x >= b`` and binaries.

    Args:
        costs: [columns].
        lower: bounds of the columns.
        upper: the same from above.
        binary: the columns that are 0 or 1.
        rows: the rows.
        time_limit: seconds, or None.
        gap: stop at this relative gap.
        memory_mb: a limit, or None.
        seed: shifts SCIP's own seeds.
        start: a solution to begin with.
        priority: columns to branch on first.
        on_incumbent: told (objective, bound, values) of each better solution.

    Returns:
        The result.

    Raises:
        ImportError: pyscipopt is not installed.
    """
    scip = _pyscipopt()
    model = scip.Model()
    model.hideOutput()
    model.setParam("randomization/randomseedshift", seed)
    model.setParam("limits/gap", gap)
    if time_limit is not None:
        model.setParam("limits/time", max(time_limit, 0.0))
    if memory_mb is not None:
        model.setParam("limits/memory", memory_mb)
    chosen, first = set(binary), set(priority)
    columns = []
    for index, (cost, low, high) in enumerate(
        zip(costs.tolist(), lower.tolist(), upper.tolist(), strict=True)
    ):
        column = model.addVar(
            vtype="B" if index in chosen else "C",
            lb=None if np.isneginf(low) else low,
            ub=None if np.isposinf(high) else high,
            obj=cost,
        )
        if index in first:
            model.chgVarBranchPriority(column, 1)
        columns.append(column)
    for row in rows:
        _add_row(scip, model, columns, row)
    if start is not None:
        solution = model.createSol()
        for column, value in zip(columns, start.tolist(), strict=True):
            model.setSolVal(solution, column, value)
        model.addSol(solution, free=True)
    if on_incumbent is not None:
        model.includeEventhdlr(
            _incumbents(scip, columns, on_incumbent)(), "incumbents", "tells of better solutions"
        )
    model.optimize()
    values = None
    if model.getNSols() > 0:
        best = model.getBestSol()
        values = np.array([model.getSolVal(best, column) for column in columns])
    return MipResult(values, float(model.getDualbound()), str(model.getStatus()))


def _add_row(scip: Any, model: Any, columns: Sequence[Any], row: Row) -> None:
    """By terms: sums of expressions take many times as long to build."""
    terms = {
        scip.scip.Term(columns[index]): float(value)
        for index, value in zip(row.indices.tolist(), row.coefficients.tolist(), strict=True)
    }
    model.addCons(scip.scip.ExprCons(scip.Expr(terms), lhs=float(row.bound)))


def _incumbents(scip: Any, columns: Sequence[Any], told: Callable[..., None]) -> Any:
    class Incumbents(scip.Eventhdlr):
        """Passes better solutions on."""

        def eventinit(self) -> None:
            self.model.catchEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexit(self) -> None:
            self.model.dropEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexec(self, event: Any) -> None:
            del event
            best = self.model.getBestSol()
            told(
                float(self.model.getSolObjVal(best)),
                float(self.model.getDualbound()),
                np.array([self.model.getSolVal(best, column) for column in columns]),
            )

    return Incumbents
