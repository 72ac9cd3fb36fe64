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
      lower: the lower bounds of all columns, scores first.
      upper: the upper bounds.
      start: the values that the columns have in the whole network; they fulfil all rows.
      binary: the numbers of the binary columns.
      blocks: the rows over these columns that are not lazy, in the order in which they came.
    """

    lower: list[float]
    upper: list[float]
    start: list[float]
    binary: list[int] = field(default_factory=list)
    blocks: list[Rows] = field(default_factory=list)

    @classmethod
    def of_scores(cls, neurons: int, *, binary: bool = False) -> "Columns":
        """Scores from 0 to 1 and nothing else; in the whole network they are 1."""
        return cls([0.0] * neurons, [1.0] * neurons, [1.0] * neurons, list(range(neurons)) * binary)

    def add(self, lower: float, upper: float, start: float, *, binary: bool = False) -> int:
        """Adds a column and returns its number."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.start.append(start)
        if binary:
            self.binary.append(len(self.lower) - 1)
        return len(self.lower) - 1

    @property
    def rows(self) -> Rows:
        """All blocks, one below the other."""
        return joined(self.blocks)


class Vector(NamedTuple):
    """Logits, affine in the columns: ``constant + matrix x``, [classes] and [classes, columns]."""

    constant: np.ndarray
    matrix: np.ndarray


def dense(entries: Entries, columns: int) -> Vector:
    """Converts sparse entries to dense ones.

    Args:
      entries: the entries.
      columns: how many columns there are; at least as many as the entries have.

    Returns:
      The same entries over that many columns.
    """
    matrix = entries.matrix.toarray()
    return Vector(entries.constant, np.pad(matrix, ((0, 0), (0, columns - matrix.shape[1]))))


@dataclass(frozen=True, eq=False)
class AffineProgram:
    """A program without its loss.

    Attributes:
      logits: one vector per sample.
      columns: the scores, one per neuron, and what stands beside them, with their rows.
      lazy: further rows. Most of them never bind, so that they are added where they are violated.
      open: how many units and maxima the bounds leave open.
      steps: how the columns beside the scores follow from the scores, in order.
    """

    logits: list[Vector]
    columns: Columns
    lazy: Rows
    open: int
    steps: Sequence[Units | Largest] = ()

    def complete(self, scores: np.ndarray) -> np.ndarray:
        """Evaluates the network with some scores.

        Args:
          scores: [neurons].

        Returns:
          The values of all columns, [columns]. They fulfil every row if all scores are 1; other
          scores may violate rows.
        """
        columns = np.zeros(len(self.columns.lower))
        columns[: len(scores)] = scores
        for step in self.steps:
            step.complete(columns)
        return columns
