"""Rows of linear programs: one, and many as a sparse matrix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix
from solvers.network.units import unit, units


class Row(NamedTuple):
    """``coefficients x >= bound`` over the columns ``indices``."""

    indices: np.ndarray
    coefficients: np.ndarray
    bound: float

    def scaled(self) -> "Row":
        """The same row in units of its largest coefficient, so that tolerances are relative to it.

        The factor is a power of 2: nothing is rounded.
        """
        factor = 1 / unit(float(np.abs(self.coefficients).max(initial=0.0)))
        return Row(self.indices, self.coefficients * factor, self.bound * factor)

    def violation(self, values: np.ndarray) -> float:
        """The violation of the row by values, [columns], in units of its largest coefficient."""
        scaled = self.scaled()
        return scaled.bound - float(scaled.coefficients @ values[self.indices])


@dataclass(frozen=True, eq=False)
class Rows:
    """Many rows ``coefficients x >= bounds``, as the arrays of a sparse matrix by rows.

    Attributes:
      starts: where each row's entries start, and where those of the last row end, [rows + 1].
      indices: the entries' columns, [entries].
      coefficients: [entries].
      bounds: [rows].
    """

    starts: np.ndarray
    indices: np.ndarray
    coefficients: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of_matrix(cls, matrix: Matrix, bounds: np.ndarray) -> "Rows":
        """``matrix x >= bounds``, for a matrix [rows, columns] sparse by rows."""
        return cls(matrix.indptr, matrix.indices, matrix.data, bounds)

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[Row]:
        starts = self.starts.tolist()
        for place, bound in enumerate(self.bounds.tolist()):
            part = slice(starts[place], starts[place + 1])
            yield Row(self.indices[part], self.coefficients[part], bound)

    def matrix(self, columns: int) -> Matrix:
        """The coefficients as a sparse matrix, [rows, columns]."""
        return scipy.sparse.csr_array(
            (self.coefficients, self.indices, self.starts), shape=(len(self), columns)
        )

    def at(self, rows: np.ndarray) -> "Rows":
        """The rows of these numbers, in their order."""
        lengths = np.diff(self.starts)[rows]
        starts = np.append(0, np.cumsum(lengths))
        entries = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], lengths)
        return Rows(starts, self.indices[entries], self.coefficients[entries], self.bounds[rows])

    def appended(self, columns: np.ndarray, coefficients: np.ndarray) -> "Rows":
        """The same rows, each with one more entry at its end: columns and coefficients, [rows]."""
        ends = self.starts[1:]
        return Rows(
            self.starts + np.arange(len(self.starts)),
            np.insert(self.indices, ends, columns),
            np.insert(self.coefficients, ends, coefficients),
            self.bounds,
        )

    def units(self) -> np.ndarray:
        """The unit of each row, [rows]: that of its largest coefficient."""
        sizes = np.zeros(len(self))
        filled = np.diff(self.starts) > 0
        sizes[filled] = np.maximum.reduceat(np.abs(self.coefficients), self.starts[:-1][filled])
        return units(sizes)

    def scaled(self) -> "Rows":
        """The same rows, each in units of its largest coefficient; see ``Row.scaled``."""
        factors = 1 / self.units()
        repeated = np.repeat(factors, np.diff(self.starts))
        coefficients = self.coefficients * repeated
        return Rows(self.starts, self.indices, coefficients, self.bounds * factors)

    def violations(self, values: np.ndarray) -> np.ndarray:
        """The violation of each row, [rows], by values, [columns], in the row's unit."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.starts))
        products = self.coefficients * values[self.indices]
        sums = np.bincount(rows, products, minlength=len(self))
        return (self.bounds - sums) / self.units()


def stacked(rows: Sequence[Row]) -> Rows:
    """Single rows as one block, in the same order."""
    return Rows(
        np.cumsum([0, *(len(row.indices) for row in rows)]),
        np.concatenate([np.zeros(0, np.int64), *(row.indices for row in rows)]),
        np.concatenate([np.zeros(0), *(row.coefficients for row in rows)]),
        np.array([row.bound for row in rows], np.float64),
    )


def joined(blocks: Sequence[Rows]) -> Rows:
    """Blocks of rows, one below the other."""
    lengths = [np.diff(block.starts) for block in blocks]
    return Rows(
        np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths])),
        np.concatenate([np.zeros(0, np.int64), *(block.indices for block in blocks)]),
        np.concatenate([np.zeros(0), *(block.coefficients for block in blocks)]),
        np.concatenate([np.zeros(0), *(block.bounds for block in blocks)]),
    )
