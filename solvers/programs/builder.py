"""Collects the columns and rows of a ``Program`` block by block."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix
from solvers.programs.program import Program


class Builder:
    """Collects columns and blocks of rows."""

    def __init__(self) -> None:
        self._columns: list[tuple[float, float, float, bool, str]] = []
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._bounds: list[tuple[np.ndarray, np.ndarray]] = []
        self._rows: list[str] = []

    def columns(
        self,
        names: Sequence[str],
        lower: float = -np.inf,
        upper: float = np.inf,
        *,
        cost: float = 0.0,
        binary: bool = False,
    ) -> np.ndarray:
        """Adds columns.

        Args:
          names: one per column.
          lower: the lower bound of all of them.
          upper: the upper bound.
          cost: the coefficient in the objective.
          binary: whether they are 0 or 1.

        Returns:
          Their numbers, [columns].
        """
        start = len(self._columns)
        self._columns += [(cost, lower, upper, binary, name) for name in names]
        return np.arange(start, len(self._columns))

    def rows(
        self,
        names: Sequence[str],
        terms: Sequence[tuple[np.ndarray, np.ndarray | float]],
        lower: np.ndarray | float = -np.inf,
        upper: np.ndarray | float = np.inf,
        *,
        minus: Matrix | None = None,
    ) -> None:
        """Adds rows ``lower <= sum of terms - minus x <= upper``.

        Args:
          names: one per row.
          terms: each one has a column per row, [rows], and coefficients: one per row, or one for
            all rows.
          lower: one bound per row, or one for all rows.
          upper: the same from above.
          minus: a sparse matrix, [rows, columns so far], or None.
        """
        start, count = len(self._rows), len(names)
        for columns, coefficients in terms:
            self._entries.append(
                (
                    np.arange(start, start + count),
                    columns,
                    np.broadcast_to(np.asarray(coefficients, np.float64), (count,)),
                )
            )
        if minus is not None:
            sparse = minus.tocoo()
            self._entries.append((start + sparse.coords[0], sparse.coords[1], -sparse.data))
        self._bounds.append((np.broadcast_to(lower, (count,)), np.broadcast_to(upper, (count,))))
        self._rows += names

    def build(self) -> Program:
        """The program. Entries of one row and column are added up, and zeros are left out."""
        costs, lower, upper, binary, names = zip(*self._columns, strict=True)
        rows, columns, values = (
            np.concatenate([entry[part] for entry in self._entries]) for part in range(3)
        )
        matrix = scipy.sparse.csr_array(
            (values, (rows, columns)), shape=(len(self._rows), len(costs))
        )
        matrix.eliminate_zeros()
        return Program(
            np.array(costs),
            np.array(lower),
            np.array(upper),
            np.flatnonzero(binary),
            matrix,
            np.concatenate([bound[0] for bound in self._bounds]),
            np.concatenate([bound[1] for bound in self._bounds]),
            names,
            tuple(self._rows),
        )
