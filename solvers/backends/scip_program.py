"""SCIP on a ``Program``: losses with exponentials, infeasible rows, files."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solvers.backends import scip_models
from solvers.backends.scip_plugins import Plugins
from solvers.programs.program import Loss, Program
from solvers.programs.results import MipResult
from solvers.programs.rows import Rows


def solve_program(
    program: Program,
    losses: Sequence[Loss] = (),
    *,
    time_limit: float | None = None,
    gap: float = 0.0,
    memory_mb: float | None = None,
    seed: int = 0,
    start: np.ndarray | None = None,
    on_incumbent: Callable[[float, float, np.ndarray], None] | None = None,
    complete: Callable[[np.ndarray], np.ndarray | None] | None = None,
) -> MipResult:
    """Solves a program whose losses are constraints of their own, with exponentials.

    Args:
      program: the linear part.
      losses: each ``theta >= log sum_k exp(o_k) - o_label``.
      time_limit: as in ``scip.solve_mip``.
      gap: as in ``scip.solve_mip``.
      memory_mb: as in ``scip.solve_mip``.
      seed: as in ``scip.solve_mip``.
      start: as in ``scip.solve_mip``.
      on_incumbent: as in ``scip.solve_mip``.
      complete: as in ``scip.solve_mip``.

    Returns:
      The result.

    Raises:
      ImportError: pyscipopt is not installed.
    """
    until = np.inf if time_limit is None else time.perf_counter() + time_limit
    made, columns = _of_program(program, losses)
    plugins = Plugins(on_incumbent, complete=complete)
    return scip_models.optimised(made, columns, until, gap, memory_mb, seed, start, plugins)


def infeasible_rows(program: Program) -> tuple[str, ...]:
    """Names the rows of an irreducible infeasible subsystem.

    Args:
      program: a program, probably without a solution.

    Returns:
      The names of rows that have no common solution within the columns' bounds, although they
      would have one without any one of them. Empty if the program has a solution.

    Raises:
      ImportError: pyscipopt is not installed.
    """
    made = model(program, ())
    made.optimize()
    if made.getStatus() not in ("infeasible", "inforunbd"):
        return ()
    made.freeTransform()
    subsystem = made.generateIIS().getSubscip()
    return tuple(str(row.name) for row in subsystem.getConss())


def model(program: Program, losses: Sequence[Loss]) -> Any:
    """Makes a ``pyscipopt.Model`` of a program and does not solve it.

    Args:
      program: the linear part.
      losses: as in ``solve_program``.

    Returns:
      The model.

    Raises:
      ImportError: pyscipopt is not installed.
    """
    return _of_program(program, losses)[0]


def write(program: Program, losses: Sequence[Loss], path: Path) -> None:
    """Writes a program to a file, in the format of the path's ending.

    Args:
      program: the linear part.
      losses: as in ``solve_program``; only .cip can hold them.
      path: of the file.

    Raises:
      ImportError: pyscipopt is not installed.
    """
    model(program, losses).writeProblem(str(path), verbose=False)


def _of_program(program: Program, losses: Sequence[Loss]) -> tuple[Any, list[Any]]:
    scip = scip_models.package()
    made = scip.Model("prunejax")
    made.hideOutput()
    columns = scip_models.add_columns(
        made,
        program.costs,
        program.lower,
        program.upper,
        program.binary.tolist(),
        program.columns,
    )
    rows = Rows.of_matrix(program.matrix, program.row_lower)
    for row, name, high in zip(rows, program.rows, program.row_upper.tolist(), strict=True):
        scip_models.add_row(
            scip,
            made,
            columns,
            row,
            None if row.bound == -np.inf else row.bound,
            None if high == np.inf else high,
            name,
        )
    for index, (logits, label, loss) in enumerate(losses):
        # log sum exp(o_k) - o_label <= theta, divided so that no exponential can overflow
        each = scip.quicksum(
            scip.exp(
                -columns[loss]
                if logit == label
                else columns[logit] - columns[label] - columns[loss]
            )
            for logit in logits
        )
        made.addCons(each <= 1, f"log_sum_exp_s{index}")
    return made, columns
