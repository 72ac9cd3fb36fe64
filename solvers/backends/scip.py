"""SCIP, behind two calls: linear programs that grow, and mixed-integer programs.

The only file that imports pyscipopt.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solvers.backends.scip_plugins import Plugins
from solvers.programs.program import BROKEN, INTERRUPTED, MipResult
from solvers.programs.rows import Row, Rows, joined
from solvers.search.interrupts import interruptible
from solvers.tolerances import LINEAR, MIXED

ITERATIONS = 1000
"""SoPlex does not see Ctrl-C: after so many steps of the simplex method, Python looks."""

WALL_CLOCK = 2
"""SCIP's number for measuring real time; by default it measures the processor's."""


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
        """Gives columns other bounds, finite ones."""
        for place, column in enumerate(columns):
            low, high = float(lower[place]), float(upper[place])
            self._columns[1][column], self._columns[2][column] = low, high
            self._lp.chgBound(column, low, high)

    def solve(self, time_limit: float | None = None) -> tuple[np.ndarray, float] | None:
        """The solution and its objective; None if there is none, or SoPlex finds none.

        Args:
            time_limit: seconds, or None.

        Raises:
            TimeoutError: the time is over.
        """
        self._until = np.inf if time_limit is None else time.perf_counter() + time_limit
        if not self._solved():
            # many rows on an old basis can be too much for its numerics: without one, once more
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
        # SoPlex's own 1e-6 would leave solutions that the check of the rows refuses for ever
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
        lazy: the rows that values break, of those that are not in ``rows``; asked within the tree.
        complete: a solution near values that are not integral yet, or None; asked at each node.

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
        columns: its columns.
        until: when to end, a reading of ``time.perf_counter``; infinity for never.
        gap: see ``solve_mip``, as what follows.
        memory_mb: the same.
        seed: the same.
        start: the same.
        plugins: what is told and asked on the way.

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
    # SCIP's own handler would stay in the place of Python's
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
    """Adds a row by terms: sums of expressions take many times as long to build."""
    terms = {
        scip.scip.Term(columns[index]): float(value)
        for index, value in zip(row.indices.tolist(), row.coefficients.tolist(), strict=True)
    }
    model.addCons(scip.scip.ExprCons(scip.Expr(terms), lhs=low, rhs=high), name)
