"""A mixed-integer program with linear rows, in sparse form, and what solving one gives."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix
from solvers.programs.rows import Row, Rows, stacked


class MipResult(NamedTuple):
    """What a mixed-integer program gave.

    Attributes:
        values: of the columns, or None where no solution was found.
        bound: on the objective, from below.
        status: "optimal", "infeasible", or the solver's own word for where it stopped.
    """

    values: np.ndarray | None
    bound: float
    status: str


INTERRUPTED = "userinterrupt"
"""The word for a solve that Ctrl-C ended."""

BROKEN = "broken"
"""The word for a solve that ended because of the solver's numerical trouble."""

LIMITS = {
    "timelimit": "time limit",
    "memlimit": "memory limit",
    INTERRUPTED: "interrupted",
    BROKEN: "precision limit",
}
"""The solvers' words for why they stopped before the end -> ours."""


class Loss(NamedTuple):
    """``column >= log sum_k exp(logit_k) - label``: the cross-entropy of one sample.

    Attributes:
        logits: their columns.
        label: the column of the label's logit.
        column: the loss's own.
    """

    logits: Sequence[int]
    label: int
    column: int


@dataclass(frozen=True, eq=False)
class Program:
    """``min costs x`` with ``row_lower <= matrix x <= row_upper``, bounds and binaries.

    Attributes:
        costs: [columns].
        lower: bounds of the columns.
        upper: the same from above.
        binary: the numbers of the columns that are 0 or 1.
        matrix: sparse, [rows, columns].
        row_lower: [rows], minus infinity where there is none.
        row_upper: [rows], infinity where there is none.
        columns: their names.
        rows: their names.
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
        """The same program with rows of one's own.

        Args:
            rows: for each name a row ``coefficients x >= bound``.

        Returns:
            A new program.

        Raises:
            ValueError: a name is taken.
        """
        return self.extended(tuple(rows), stacked(list(rows.values())))

    def extended(self, names: tuple[str, ...], rows: Rows) -> "Program":
        """The same program with further rows.

        Args:
            names: of the rows.
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
        """All rows as ``matrix x >= bounds``; an equation is two of them, one after the other."""
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
        """By how much values violate a row, a bound or a binary, at most."""
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
        """New columns' numbers."""
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
        """A block of rows ``lower <= sum of terms - minus x <= upper``.

        Args:
            names: of the rows.
            terms: columns, one a row, and their coefficients.
            lower: one a row, or one for all.
            upper: the same from above.
            minus: sparse, [rows, columns so far].
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
        """The program; a row's equal columns are summed, zeros left out."""
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
