"""SCIP, behind two calls: linear programs that grow, and mixed-integer programs.

The only file that imports pyscipopt.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solvers.interrupts import interruptible
from solvers.program import INTERRUPTED, MipResult
from solvers.reduced import Row

FEASIBILITY = 1e-8
"""By how much SCIP may violate a row: less than the solutions' own check allows."""

LP_FEASIBILITY = 1e-9
"""The same for linear programs."""


def package() -> Any:
    """Imports pyscipopt.

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
        self._columns = costs, lower, upper
        self._rows: list[Row] = []
        self._lp = self._made()

    def add(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        self._rows += rows
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
        """The solution and its objective; None if there is none, or SoPlex finds none."""
        if not self._solved():
            # many rows on an old basis can be too much for its numerics: without one, once more
            rows, self._rows, self._lp = self._rows, [], self._made()
            self.add(rows)
            if not self._solved():
                return None
        return np.asarray(self._lp.getPrimal()), float(self._lp.getObjVal())

    def _solved(self) -> bool:
        try:
            self._lp.solve()
        except Exception as error:  # pyscipopt has no class of its own for it
            if "LP solver" not in str(error):
                raise
            return False
        return bool(self._lp.isOptimal())

    def _made(self) -> Any:
        costs, lower, upper = self._columns
        module = package()
        made = module.LP(sense="minimize")
        # SoPlex's own 1e-6 would leave solutions that the check of the rows refuses for ever
        for tolerance in (module.SCIP_LPPARAM.FEASTOL, module.SCIP_LPPARAM.DUALFEASTOL):
            made.setRealParam(tolerance, LP_FEASIBILITY)
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
    rows: Sequence[Row],
    *,
    time_limit: float | None = None,
    gap: float = 0.0,
    memory_mb: float | None = None,
    seed: int = 0,
    start: np.ndarray | None = None,
    priority: Sequence[int] = (),
    separate: bool = True,
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
        separate: whether the solver may add its own cutting planes.
        on_incumbent: told (objective, bound, values) of each better solution; what it raises is
            raised here, once SCIP has ended.

    Returns:
        The result.

    Raises:
        ImportError: pyscipopt is not installed.
    """
    scip = package()
    model = scip.Model()
    first, columns = set(priority), add_columns(model, costs, lower, upper, binary)
    for index in first:
        model.chgVarBranchPriority(columns[index], 1)
    if not separate:
        model.setParam("separating/maxrounds", 0)
        model.setParam("separating/maxroundsroot", 0)
    for row in rows:
        add_row(scip, model, columns, row, float(row.bound), None)
    return optimised(model, columns, time_limit, gap, memory_mb, seed, start, on_incumbent)


def add_columns(
    model: Any,
    costs: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    binary: Sequence[int],
    names: Sequence[str] = (),
) -> list[Any]:
    """A model's columns."""
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
    time_limit: float | None,
    gap: float,
    memory_mb: float | None,
    seed: int,
    start: np.ndarray | None,
    on_incumbent: Callable[[float, float, np.ndarray], None] | None,
) -> MipResult:
    """Solves a model; the arguments are those of ``solve_mip``."""
    model.hideOutput()
    model.setParam("numerics/feastol", FEASIBILITY)
    model.setParam("randomization/randomseedshift", seed)
    model.setParam("limits/gap", gap)
    if time_limit is not None:
        model.setParam("limits/time", max(time_limit, 0.0))
    if memory_mb is not None:
        model.setParam("limits/memory", memory_mb)
    if start is not None:
        solution = model.createSol()
        for column, value in zip(columns, start.tolist(), strict=True):
            model.setSolVal(solution, column, value)
        model.addSol(solution, free=True)
    raised: list[BaseException] = []
    if on_incumbent is not None:
        model.includeEventhdlr(
            _incumbents(package(), columns, on_incumbent, raised)(),
            "incumbents",
            "tells of better solutions",
        )
    # SCIP's own handler would stay in the place of Python's
    model.setParam("misc/catchctrlc", False)
    interrupted = interruptible(model.optimizeNogil, model.interruptSolve)
    if raised:
        raise raised[0]
    values = None
    if model.getNSols() > 0:
        best = model.getBestSol()
        values = np.array([model.getSolVal(best, column) for column in columns])
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
    """Adds a row by terms: sums of expressions take many times as long to build."""
    terms = {
        scip.scip.Term(columns[index]): float(value)
        for index, value in zip(row.indices.tolist(), row.coefficients.tolist(), strict=True)
    }
    model.addCons(scip.scip.ExprCons(scip.Expr(terms), lhs=low, rhs=high), name)


def _incumbents(
    scip: Any, columns: Sequence[Any], told: Callable[..., None], raised: list[BaseException]
) -> Any:
    class Incumbents(scip.Eventhdlr):
        """Passes better solutions on."""

        def eventinit(self) -> None:
            self.model.catchEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexit(self) -> None:
            self.model.dropEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexec(self, event: Any) -> None:
            del event
            best = self.model.getBestSol()
            try:
                told(
                    float(self.model.getSolObjVal(best)),
                    float(self.model.getDualbound()),
                    np.array([self.model.getSolVal(best, column) for column in columns]),
                )
            except BaseException as error:  # SCIP would print it, and go on
                raised.append(error)
                self.model.interruptSolve()

    return Incumbents
