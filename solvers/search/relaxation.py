"""A master problem that grows: its rows so far, and the backend's linear program of them."""

from typing import Any

import numpy as np

from solvers.programs.affine import AffineProgram
from solvers.programs.master import master
from solvers.programs.objective import Objective
from solvers.programs.results import MipResult
from solvers.programs.rows import Rows, joined


class Relaxation:
    """The linear program of all tangents and rows so far, and the mixed-integer one.

    Args:
      program: the program without its loss.
      objective: the objective to minimise.
      backend: a module with ``LinearProgram`` and ``solve_mip``.

    Attributes:
      width: how many columns the program has; the columns of the losses and of P follow them.
      columns: how many columns there are in all.

    Raises:
      ImportError: the solver is not installed.
    """

    def __init__(self, program: AffineProgram, objective: Objective, backend: Any) -> None:
        self._objective, self._backend = objective, backend
        self._binary = program.columns.binary
        self._costs, self._lower, self._upper, rows = master(program, objective)
        self.width, self.columns = len(program.columns.lower), len(self._costs)
        self._blocks: list[Rows] = []
        self._linear = backend.LinearProgram(self._costs, self._lower, self._upper)
        self.add(rows)

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(map(len, self._blocks))

    def entries(self) -> int:
        """How many entries the rows have."""
        return sum(len(block.indices) for block in self._blocks)

    def add(self, rows: Rows) -> None:
        """Adds rows."""
        self._blocks.append(rows)
        self._linear.add(rows)

    def add_tangents(self, point: np.ndarray) -> np.ndarray:
        """Adds the losses' tangents at a point, and returns the losses there.

        Args:
          point: the program's own columns, [width].

        Returns:
          The losses, [batch].
        """
        losses, rows = self._objective.tangents(point, self.width)
        self.add(rows)
        return losses

    def bound(self, columns: list[int], values: np.ndarray) -> None:
        """Fixes columns of the linear program, but not of the mixed-integer one, to values."""
        self._linear.bound(columns, values, values)

    def solve(self, seconds: float | None) -> tuple[np.ndarray, float] | None:
        """Solves the linear program.

        Args:
          seconds: a limit, or None.

        Returns:
          The point of the program, [width], and the optimum, a bound from below; None if the
          solver finds none.

        Raises:
          TimeoutError: the time is over.
          KeyboardInterrupt: there was a Ctrl-C.
        """
        solved = self._linear.solve(seconds)
        return None if solved is None else (solved[0][: self.width], solved[1])

    def branch(self, **settings: Any) -> MipResult:
        """Solves the mixed-integer program; see ``solve_mip`` of the backend for the settings."""
        return self._backend.solve_mip(
            self._costs,
            self._lower,
            self._upper,
            self._binary,
            joined(self._blocks),
            **settings,
        )
