"""Entries of a vector that are affine in the columns, and columns that follow from them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix


class Entries(NamedTuple):
    """``constant + matrix x``, [entries] and sparse [entries, columns]."""

    constant: np.ndarray
    matrix: Matrix

    def at(self, rows: np.ndarray) -> "Entries":
        """The entries of these numbers, in their order."""
        return Entries(self.constant[rows], self.matrix[rows])

    def value(self, columns: np.ndarray) -> np.ndarray:
        """The entries, [entries], for values of the columns, [columns]."""
        return self.constant + self.matrix @ columns[: self.matrix.shape[1]]

    def row(self, entry: int) -> tuple[np.ndarray, np.ndarray, float]:
        """An entry's columns, coefficients and constant."""
        part = slice(self.matrix.indptr[entry], self.matrix.indptr[entry + 1])
        return self.matrix.indices[part], self.matrix.data[part], float(self.constant[entry])


class Units(NamedTuple):
    """Units with columns of their own: ``outputs = s relu(inputs)``.

    Attributes:
      inputs: one entry per unit.
      outputs: the columns of the outputs, [units].
      on: the columns of their binaries, [units]; -1 where a unit has none.
      neurons: the columns of their scores, [units]; -1 where s is 1.
    """

    inputs: Entries
    outputs: np.ndarray
    on: np.ndarray
    neurons: np.ndarray

    def complete(self, columns: np.ndarray) -> None:
        """Sets these columns, in place, from the values of the columns before them."""
        inputs = self.inputs.value(columns)
        kept = np.where(self.neurons >= 0, columns[self.neurons], 1.0)
        columns[self.outputs] = kept * np.maximum(inputs, 0)
        switched = self.on >= 0
        columns[self.on[switched]] = (kept * (inputs > 0))[switched]


class Largest(NamedTuple):
    """A maximum with a column of its own.

    Attributes:
      inputs: the entries that compete.
      output: the column of the maximum.
      chosen: the columns of the binaries that say which entry it is, [entries].
    """

    inputs: Entries
    output: int
    chosen: np.ndarray

    def complete(self, columns: np.ndarray) -> None:
        """Sets these columns, in place, from the values of the columns before them."""
        inputs = self.inputs.value(columns)
        columns[self.output] = inputs.max()
        columns[self.chosen] = 0
        columns[self.chosen[inputs.argmax()]] = 1


def placed(entries: Entries, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows, columns and values of the coefficients of some entries, given by their numbers."""
    taken = scipy.sparse.coo_array(entries.matrix[rows])
    return rows[taken.row], taken.col, taken.data
