"""Entries affine in columns, sparse, and how further columns follow from them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix


class Entries(NamedTuple):
    """``constant + matrix x``, [entries] and sparse [entries, columns]."""

    constant: np.ndarray
    matrix: Matrix

    def at(self, rows: np.ndarray) -> "Entries":
        """Some of the entries."""
        return Entries(self.constant[rows], self.matrix[rows])

    def value(self, columns: np.ndarray) -> np.ndarray:
        """The entries where the columns have these values."""
        return self.constant + self.matrix @ columns[: self.matrix.shape[1]]

    def row(self, entry: int) -> tuple[np.ndarray, np.ndarray, float]:
        """An entry's columns, coefficients and constant."""
        part = slice(self.matrix.indptr[entry], self.matrix.indptr[entry + 1])
        return self.matrix.indices[part], self.matrix.data[part], float(self.constant[entry])


class Units(NamedTuple):
    """Units that are columns: ``outputs = s relu(inputs)``; on and neuron are -1 where none is."""

    inputs: Entries
    outputs: np.ndarray
    on: np.ndarray
    neurons: np.ndarray

    def complete(self, columns: np.ndarray) -> None:
        """Fills in these columns, in place, from those before."""
        inputs = self.inputs.value(columns)
        kept = np.where(self.neurons >= 0, columns[self.neurons], 1.0)
        columns[self.outputs] = kept * np.maximum(inputs, 0)
        switched = self.on >= 0
        columns[self.on[switched]] = (kept * (inputs > 0))[switched]


class Largest(NamedTuple):
    """A maximum that is a column, and which input it is."""

    inputs: Entries
    output: int
    chosen: np.ndarray

    def complete(self, columns: np.ndarray) -> None:
        """Fills in these columns, in place, from those before."""
        inputs = self.inputs.value(columns)
        columns[self.output] = inputs.max()
        columns[self.chosen] = 0
        columns[self.chosen[inputs.argmax()]] = 1


def placed(entries: Entries, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the coefficients of some entries are: rows, columns and values."""
    taken = scipy.sparse.coo_array(entries.matrix[rows])
    return rows[taken.row], taken.col, taken.data
