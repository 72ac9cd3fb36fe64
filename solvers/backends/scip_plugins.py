"""Callbacks of SCIP within its tree: better solutions, lazy rows, a heuristic."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solvers.programs.rows import Rows


class Plugins:
    """Callbacks of a solve, whose errors are kept.

    Args:
      on_incumbent: as in ``scip.solve_mip``.
      lazy: as in ``scip.solve_mip``.
      complete: as in ``scip.solve_mip``.

    Attributes:
      raised: the errors of callbacks; the first one has told SCIP to stop.
    """

    def __init__(
        self,
        on_incumbent: Callable[[float, float, np.ndarray], None] | None = None,
        lazy: Callable[[np.ndarray], Rows] | None = None,
        complete: Callable[[np.ndarray], np.ndarray | None] | None = None,
    ) -> None:
        self._on_incumbent, self._lazy, self._complete = on_incumbent, lazy, complete
        self.raised: list[BaseException] = []

    def include(self, scip: Any, model: Any, columns: Sequence[Any]) -> None:
        """Adds the callbacks to a model.

        Args:
          scip: the package.
          model: SCIP's.
          columns: its variables.
        """
        if self._on_incumbent is not None:
            handler = _incumbents(scip, columns, self._on_incumbent, self._guarded)
            model.includeEventhdlr(handler, "incumbents", "tells of better solutions")
        if self._lazy is not None:
            _include_lazy(scip, model, columns, self._lazy, self._guarded)
        if self._complete is not None:
            heuristic = _completing(scip, columns, self._complete, self._guarded)
            model.includeHeur(
                heuristic,
                "completing",
                "completes scores to a solution",
                "c",
                timingmask=scip.SCIP_HEURTIMING.DURINGLPLOOP | scip.SCIP_HEURTIMING.AFTERLPNODE,
            )

    def _guarded(self, model: Any, call: Callable[[], Any], otherwise: Any) -> Any:
        """The result of a call. An error is kept, because SCIP would only print it and go on."""
        if self.raised:
            return otherwise
        try:
            return call()
        except BaseException as error:
            self.raised.append(error)
            model.interruptSolve()
            return otherwise


def _values(model: Any, solution: Any, columns: Sequence[Any]) -> np.ndarray:
    return np.array([model.getSolVal(solution, column) for column in columns])


def _incumbents(
    scip: Any, columns: Sequence[Any], told: Callable[..., None], guarded: Callable[..., Any]
) -> Any:
    class Incumbents(scip.Eventhdlr):
        """Reports better solutions."""

        def eventinit(self) -> None:
            self.model.catchEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexit(self) -> None:
            self.model.dropEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexec(self, event: Any) -> None:
            del event
            guarded(self.model, self._tell, None)

        def _tell(self) -> None:
            best = self.model.getBestSol()
            told(
                float(self.model.getSolObjVal(best)),
                float(self.model.getDualbound()),
                _values(self.model, best, columns),
            )

    return Incumbents()


def _include_lazy(
    scip: Any,
    model: Any,
    columns: Sequence[Any],
    lazy: Callable[[np.ndarray], Rows],
    guarded: Callable[..., Any],
) -> None:
    result = scip.SCIP_RESULT

    class Handler(scip.Conshdlr):
        """Adds the rows that a solution violates, as cutting planes."""

        def conscheck(self, constraints: Any, solution: Any, *_: Any) -> dict[str, Any]:
            del constraints
            rows = guarded(self.model, lambda: lazy(_values(self.model, solution, columns)), None)
            return {"result": result.INFEASIBLE if rows else result.FEASIBLE}

        def consenfolp(self, *_: Any) -> dict[str, Any]:
            return {"result": result.SEPARATED if self._separated() else result.FEASIBLE}

        def conssepalp(self, *_: Any) -> dict[str, Any]:
            return {"result": result.SEPARATED if self._separated() else result.DIDNOTFIND}

        def consenfops(self, *_: Any) -> dict[str, Any]:
            return {"result": result.SOLVELP}

        def conslock(self, constraint: Any, locktype: Any, positive: int, negative: int) -> None:
            # later rows are unknown, so SCIP must not round or fix columns for lack of rows
            del constraint
            for column in columns:
                self.model.addVarLocksType(
                    column, locktype, positive + negative, positive + negative
                )

        def _separated(self) -> bool:
            return bool(guarded(self.model, self._separate, False))

        def _separate(self) -> bool:
            rows = lazy(_values(self.model, None, columns))
            for row in rows.scaled():
                cut = self.model.createEmptyRowUnspec("lazy", lhs=row.bound, rhs=None, local=False)
                self.model.cacheRowExtensions(cut)
                for index, value in zip(
                    row.indices.tolist(), row.coefficients.tolist(), strict=True
                ):
                    self.model.addVarToRow(cut, columns[index], value)
                self.model.flushRowExtensions(cut)
                self.model.addCut(cut, forcecut=True)
                self.model.releaseRow(cut)
            return bool(rows)

    # after integrality, because at fractional solutions rows are separated, not enforced
    model.includeConshdlr(
        Handler(),
        "lazy",
        "rows that are added where they are broken",
        sepapriority=1,
        enfopriority=-1,
        chckpriority=-1,
        sepafreq=1,
        eagerfreq=1,
        maxprerounds=0,
        needscons=False,
    )
    # later rows may break a symmetry of the rows so far
    model.setParam("misc/usesymmetry", 0)
    model.setParam("misc/allowstrongdualreds", False)
    model.setParam("misc/allowweakdualreds", False)


def _completing(
    scip: Any,
    columns: Sequence[Any],
    complete: Callable[[np.ndarray], np.ndarray | None],
    guarded: Callable[..., Any],
) -> Any:
    class Completing(scip.Heur):
        """Offers a solution made from the solution of the linear program."""

        def heurexec(self, heurtiming: Any, nodeinfeasible: bool) -> dict[str, Any]:
            del heurtiming, nodeinfeasible
            better = guarded(self.model, self._try, False)
            return {"result": scip.SCIP_RESULT.FOUNDSOL if better else scip.SCIP_RESULT.DIDNOTFIND}

        def _try(self) -> bool:
            values = complete(_values(self.model, None, columns))
            if values is None:
                return False
            solution = self.model.createOrigSol(self)  # presolving may have fixed columns
            for column, value in zip(columns, values.tolist(), strict=True):
                self.model.setSolVal(solution, column, value)
            return bool(self.model.trySol(solution, printreason=False))

    return Completing()
