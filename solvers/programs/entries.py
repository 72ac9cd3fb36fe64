"""Entries of a vector that are affine in the columns, and columns that follow from them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.chain import Linear
from solvers.network.matrices import Matrix


class Entries(NamedTuple):
    """``constant + matrix x``, [entries] and sparse [entries, columns]."""

    constant: np.ndarray
    matrix: Matrix

    @classmethod
    def of_constants(cls, values: np.ndarray, columns: int) -> "Entries":
        """Entries with these values, in which none of so many columns takes part."""
        return cls(values, scipy.sparse.csr_array((len(values), columns)))

    @classmethod
    def of_columns(cls, columns: np.ndarray) -> "Entries":
        """One entry per column of these numbers: the column itself."""
        count, width = len(columns), int(columns.max()) + 1
        matrix = scipy.sparse.csr_array(
            (np.ones(count), columns, np.arange(count + 1)), shape=(count, width)
        )
        return cls(np.zeros(count), matrix)

    @classmethod
    def of_parts(
        cls, constant: np.ndarray, parts: Sequence[tuple[np.ndarray, ...]], columns: int
    ) -> "Entries":
        """Entries whose coefficients are given as rows, columns and values, in several parts."""
        at, of, values = (np.concatenate(each) for each in zip(*parts, strict=True))
        shape = (len(constant), columns)
        return cls(constant, scipy.sparse.csr_array((values, (at, of)), shape=shape))

    def through(self, step: Linear) -> "Entries":
        """What a linear step makes of these entries: ``step.matrix entries + step.offset``."""
        product = scipy.sparse.csr_array(step.matrix @ self.matrix)
        return Entries(step.matrix @ self.constant + step.offset, product)

    def minus(self, other: "Entries") -> "Entries":
        """The difference to as many other entries, one by one."""
        difference = scipy.sparse.csr_array(self.matrix - other.matrix)
        return Entries(self.constant - other.constant, difference)

    def without_zeros(self) -> "Entries":
        """The same entries; a coefficient of 0 is not stored."""
        matrix = self.matrix.copy()
        matrix.eliminate_zeros()
        return Entries(self.constant, matrix)

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
