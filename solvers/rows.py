"""Rows of linear programs."""

import math
from typing import NamedTuple

import numpy as np

from solvers.layers import Matrix


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


def unit(size: float) -> float:
    """The power of 2 next below a size; 1 for 0."""
    return math.ldexp(0.5, math.frexp(size)[1]) if size > 0 else 1.0


def units(sizes: np.ndarray) -> np.ndarray:
    """``unit`` of each."""
    return np.where(sizes > 0, np.ldexp(0.5, np.frexp(sizes)[1]), 1.0)


def row_units(matrix: Matrix) -> np.ndarray:
    """The unit of each row of a sparse matrix, [rows]: of its largest coefficient."""
    return units(abs(matrix).max(axis=1).toarray())
