"""A mixed-integer program with linear rows, in sparse form."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix
from solvers.programs.rows import Row, Rows, stacked


class Loss(NamedTuple):
    """``column >= log sum_k exp(logit_k) - label``: the cross-entropy of one sample.

    Attributes:
      logits: the columns of the logits.
      label: the column of the label's logit.
      column: the column of the loss.
    """

    logits: Sequence[int]
    label: int
    column: int


@dataclass(frozen=True, eq=False)
class Program:
    """``min costs x`` with ``row_lower <= matrix x <= row_upper``, bounds and binaries.

    Attributes:
      costs: [columns].
      lower: the columns' lower bounds, [columns].
      upper: the columns' upper bounds, [columns].
      binary: the numbers of the columns that are 0 or 1.
      matrix: sparse, [rows, columns].
      row_lower: [rows]; minus infinity where a row has none.
      row_upper: [rows]; infinity where a row has none.
      columns: the columns' names.
      rows: the rows' names.
    """

    costs: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    binary: np.ndarray
    matrix: Matrix
    row_lower: np.ndarray
    row_upper: np.ndarray
    columns: tuple[str, ...]
    rows: tuple[str, ...]

    def scaled(self) -> "Program":
        """The same program, each row in units of its largest coefficient; see ``Row.scaled``."""
        factors = 1 / Rows.of_matrix(self.matrix, self.row_lower).units()
        return dataclasses.replace(
            self,
            matrix=scipy.sparse.csr_array(scipy.sparse.diags_array(factors) @ self.matrix),
            row_lower=self.row_lower * factors,
            row_upper=self.row_upper * factors,
        )

    def with_rows(self, rows: Mapping[str, Row]) -> "Program":
        """The same program with further rows.

        Args:
          rows: by name, each one ``coefficients x >= bound``.

        Returns:
          A new program.

        Raises:
          ValueError: a name is taken.
        """
        return self.extended(tuple(rows), stacked(list(rows.values())))

    def extended(self, names: tuple[str, ...], rows: Rows) -> "Program":
        """The same program with further rows.

        Args:
          names: one per row.
          rows: over the program's columns.

        Returns:
          A new program.

        Raises:
          ValueError: a name is taken.
        """
        if taken := sorted(set(names) & set(self.rows)):
            raise ValueError(f"there is a row {taken[0]!r} already")
        return dataclasses.replace(
            self,
            matrix=scipy.sparse.vstack([self.matrix, rows.matrix(len(self.costs))], format="csr"),
            row_lower=np.append(self.row_lower, rows.bounds),
            row_upper=np.append(self.row_upper, np.full(len(rows), np.inf)),
            rows=(*self.rows, *names),
        )

    def inequalities(self) -> Rows:
        """All rows as ``coefficients x >= bounds``; an equation becomes two of them."""
        below, above = np.isfinite(self.row_lower), np.isfinite(self.row_upper)
        rows = np.repeat(np.arange(len(self.rows)), below.astype(int) + above)
        first = np.append(True, rows[1:] != rows[:-1])[: len(rows)]
        signs = np.where(first & below[rows], 1.0, -1.0)
        bounds = np.where(signs > 0, self.row_lower[rows], -self.row_upper[rows])
        positive = Rows.of_matrix(self.matrix, self.row_lower).at(rows)
        repeated = np.repeat(signs, np.diff(positive.starts))
        return dataclasses.replace(
            positive, coefficients=positive.coefficients * repeated, bounds=bounds
        )

    def violation(self, values: np.ndarray) -> float:
        """The largest violation of a row, a bound or a binary by values, [columns]."""
        each = self.matrix @ values
        whole = values[self.binary]
        return float(
            max(
                (self.row_lower - each).max(initial=0.0),
                (each - self.row_upper).max(initial=0.0),
                (self.lower - values).max(initial=0.0),
                (values - self.upper).max(initial=0.0),
                np.abs(whole - np.round(whole)).max(initial=0.0),
            )
        )
