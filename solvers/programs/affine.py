"""A program whose logits are affine in its columns: what cutting planes work on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from solvers.programs.entries import Entries, Largest, Units
from solvers.programs.rows import Rows, joined


@dataclass
class Columns:
    """The columns of a program: the scores, and what stands beside them.

    Attributes:
        lower: bounds of all columns, scores first.
        upper: the same from above.
        start: values that fulfil all rows: those of the whole network.
        binary: the columns that are binary.
        blocks: rows that tie the columns, always part of the program, in the order they came.
    """

    lower: list[float]
    upper: list[float]
    start: list[float]
    binary: list[int] = field(default_factory=list)
    blocks: list[Rows] = field(default_factory=list)

    @classmethod
    def of_scores(cls, neurons: int, *, binary: bool = False) -> "Columns":
        """The scores alone, from 0 to 1, which are 1 in the whole network."""
        return cls([0.0] * neurons, [1.0] * neurons, [1.0] * neurons, list(range(neurons)) * binary)

    def add(self, lower: float, upper: float, start: float, *, binary: bool = False) -> int:
        """A new column's number."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.start.append(start)
        if binary:
            self.binary.append(len(self.lower) - 1)
        return len(self.lower) - 1

    @property
    def rows(self) -> Rows:
        """The blocks, one below the other."""
        return joined(self.blocks)


class Vector(NamedTuple):
    """Logits, affine in the columns: ``constant + matrix x``, [classes] and [classes, columns]."""

    constant: np.ndarray
    matrix: np.ndarray


def dense(entries: Entries, columns: int) -> Vector:
    """Entries as a dense matrix, with zeros for columns that came later.

    Args:
        entries: the entries.
        columns: how many columns there are now.

    Returns:
        The same entries.
    """
    matrix = entries.matrix.toarray()
    return Vector(entries.constant, np.pad(matrix, ((0, 0), (0, columns - matrix.shape[1]))))


@dataclass(frozen=True, eq=False)
class AffineProgram:
    """A program without its loss.

    Attributes:
        logits: of each sample.
        columns: the scores, one per neuron, and what stands beside them, with their rows.
        lazy: further rows, most of which never bind.
        open: how many units and maxima the bounds leave open.
        steps: how the columns beside the scores follow from the scores.
    """

    logits: list[Vector]
    columns: Columns
    lazy: Rows
    open: int
    steps: Sequence[Units | Largest] = ()

    def complete(self, scores: np.ndarray) -> np.ndarray:
        """All columns, [columns], where the network is evaluated with these scores, [neurons].

        They fulfil every row where the scores are 1, and need not elsewhere.
        """
        columns = np.zeros(len(self.columns.lower))
        columns[: len(scores)] = scores
        for step in self.steps:
            step.complete(columns)
        return columns
