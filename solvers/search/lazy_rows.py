"""Rows that are added where they are violated, and the check of a point against all rows."""

import numpy as np

from solvers import tolerances
from solvers.programs.affine import AffineProgram
from solvers.programs.rows import Rows

BATCH = 300
"""At most so many lazy rows are added at once."""


class LazyRows:
    """The lazy rows of a program, and its other rows and bounds.

    Args:
      program: the program.

    Attributes:
      lower: the lower bounds of its columns, [columns].
      upper: the upper bounds, [columns].
    """

    def __init__(self, program: AffineProgram) -> None:
        own, width = program.columns.rows.scaled(), len(program.columns.lower)
        self._lazy, self._units = program.lazy, program.lazy.units()
        self._lazy_matrix, self._own_matrix = program.lazy.matrix(width), own.matrix(width)
        self._own_bounds = own.bounds
        self._given = np.zeros(len(self._lazy), bool)
        self.lower, self.upper = np.array(program.columns.lower), np.array(program.columns.upper)

    def violated(
        self, columns: np.ndarray, tolerance: float = tolerances.LAZY, *, again: bool = False
    ) -> Rows:
        """The lazy rows that a point violates most, at most ``BATCH`` of them.

        Args:
          columns: the point, [columns].
          tolerance: smaller violations do not count, in units of a row's largest coefficient.
          again: True to return rows also if an earlier call has returned them.

        Returns:
          The rows, the most violated one first.
        """
        violation = self._violations(columns)
        if not again:
            violation[self._given] = 0
        worst = np.flatnonzero(violation > tolerance)
        worst = worst[np.argsort(-violation[worst], kind="stable")][:BATCH]
        if not again:
            self._given[worst] = True
        return self._lazy.at(worst)

    def violation(self, columns: np.ndarray) -> float:
        """The largest violation of a row, in its unit, or of a bound by a point, [columns]."""
        own = self._own_bounds - self._own_matrix @ columns
        return max(
            float(self._violations(columns).max(initial=0.0)),
            float((self.lower - columns).max()),
            float((columns - self.upper).max()),
            float(own.max(initial=0.0)),
        )

    def _violations(self, columns: np.ndarray) -> np.ndarray:
        return (self._lazy.bounds - self._lazy_matrix @ columns) / self._units
