"""Rows of linear programs."""

from collections.abc import Sequence
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


def relu_rows(
    inputs: tuple[np.ndarray, np.ndarray, float],
    output: int,
    on: int,
    lower: float,
    upper: float,
    gate: int | None = None,
) -> list[Row]:
    """``h <= U v``, ``h >= z - U (1 - s)``, ``h <= z - L (1 - v)``; the column of h is not below 0.

    Args:
        inputs: z, columns, coefficients and constant; a gate that is part of it already included.
        output: the column of h.
        on: the column of v, or of s where the unit is active whenever it is not pruned.
        lower: L.
        upper: U, not below 0.
        gate: the column of s; without, s is 1.

    Returns:
        The rows.
    """
    indices, coefficients, constant = inputs
    least = np.append(indices, output), np.append(-coefficients, 1.0), constant
    if gate is not None:
        least = np.append(least[0], gate), np.append(least[1], -upper), constant - upper
    most = np.append(indices, [output, on]), np.append(coefficients, [-1.0, lower])
    return [
        Row(np.array([on, output]), np.array([upper, -1.0]), 0.0),
        Row(*least),
        Row(*most, float(lower) - constant),
    ]


def stacked(rows: Sequence[Row], columns: int) -> tuple[Matrix, np.ndarray]:
    """Rows as ``matrix x >= bounds``: sparse, [rows, columns], and [rows]."""
    matrix = scipy.sparse.csr_array(
        (
            np.concatenate([np.zeros(0), *(row.coefficients for row in rows)]),
            np.concatenate([np.zeros(0, np.int64), *(row.indices for row in rows)]),
            np.cumsum([0, *(len(row.indices) for row in rows)]),
        ),
        shape=(len(rows), columns),
    )
    return matrix, np.array([row.bound for row in rows])


def row_units(matrix: Matrix) -> np.ndarray:
    """The unit of each row of a sparse matrix, [rows]: that of its largest coefficient."""
    return units(abs(matrix).max(axis=1).toarray())
