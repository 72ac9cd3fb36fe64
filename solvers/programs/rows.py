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
        """By how much values violate the row, in units of its largest coefficient."""
        scaled = self.scaled()
        return scaled.bound - float(scaled.coefficients @ values[self.indices])


@dataclass(frozen=True, eq=False)
class Rows:
    """``matrix x >= bounds``.

    Attributes:
        matrix: sparse, [rows, columns].
        bounds: [rows].
    """

    matrix: Matrix
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[Row]:
        starts = self.matrix.indptr.tolist()
        for place, bound in enumerate(self.bounds.tolist()):
            part = slice(starts[place], starts[place + 1])
            yield Row(self.matrix.indices[part], self.matrix.data[part], bound)

    def at(self, rows: np.ndarray) -> "Rows":
        """Some of the rows, by numbers or by a mask, in that order."""
        return Rows(self.matrix[rows], self.bounds[rows])

    def scaled(self) -> "Rows":
        """The same rows, each in units of its largest coefficient; see ``Row.scaled``."""
        factors = 1 / row_units(self.matrix)
        return Rows(scaled_rows(self.matrix, factors), self.bounds * factors)

    def violations(self, values: np.ndarray) -> np.ndarray:
        """By how much values violate each row, [rows], in units of its largest coefficient.

        Args:
            values: of at least as many columns as the rows have, [columns].
        """
        missing = self.bounds - self.matrix @ values[: self.matrix.shape[1]]
        return missing / row_units(self.matrix)


def stacked(rows: Sequence[Row], columns: int) -> Rows:
    """Single rows as a matrix.

    Args:
        rows: the rows.
        columns: how many columns there are.

    Returns:
        The same rows in the same order.
    """
    matrix = scipy.sparse.csr_array(
        (
            np.concatenate([np.zeros(0), *(row.coefficients for row in rows)]),
            np.concatenate([np.zeros(0, np.int64), *(row.indices for row in rows)]),
            np.cumsum([0, *(len(row.indices) for row in rows)]),
        ),
        shape=(len(rows), columns),
    )
    return Rows(matrix, np.array([row.bound for row in rows], np.float64))


def joined(blocks: Sequence[Rows], columns: int) -> Rows:
    """Blocks of rows, one below the other.

    Args:
        blocks: each has at most so many columns.
        columns: how many columns there are now.

    Returns:
        All rows, in order.
    """
    lengths = [np.diff(block.matrix.indptr) for block in blocks]
    matrix = scipy.sparse.csr_array(
        (
            np.concatenate([np.zeros(0), *(block.matrix.data for block in blocks)]),
            np.concatenate([np.zeros(0, np.int64), *(block.matrix.indices for block in blocks)]),
            np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths])),
        ),
        shape=(sum(map(len, blocks)), columns),
    )
    return Rows(matrix, np.concatenate([np.zeros(0), *(block.bounds for block in blocks)]))


def scaled_rows(matrix: Matrix, factors: np.ndarray) -> Matrix:
    """A sparse matrix, each row times a factor, [rows]; its entries keep their order."""
    data = matrix.data * np.repeat(factors, np.diff(matrix.indptr))
    return scipy.sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def row_units(matrix: Matrix) -> np.ndarray:
    """The unit of each row of a sparse matrix, [rows]: that of its largest coefficient."""
    sizes = np.zeros(matrix.shape[0])
    filled = np.diff(matrix.indptr) > 0
    # not `abs(matrix)`, which would sort the matrix's own entries
    sizes[filled] = np.maximum.reduceat(np.abs(matrix.data), matrix.indptr[:-1][filled])
    return units(sizes)
