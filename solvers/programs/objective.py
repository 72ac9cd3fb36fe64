"""The objective of a program whose logits are affine in its columns, and its tangents."""

import numpy as np

from solvers import tolerances
from solvers.network.losses import cross_entropy
from solvers.programs.affine import AffineProgram
from solvers.programs.importance import Importance
from solvers.programs.rows import Row, Rows, stacked


class Objective:
    """``loss_weight mean_b loss_b(x) + penalty(s)`` and its tangents.

    Args:
      program: gives the logits.
      labels: [batch].
      loss_weight: lambda.
      importance: gives the penalty of the scores.
    """

    def __init__(
        self,
        program: AffineProgram,
        labels: np.ndarray,
        loss_weight: float,
        importance: Importance,
    ) -> None:
        self._constants = np.stack([vector.constant for vector in program.logits])
        self._matrices = np.stack([vector.matrix for vector in program.logits])
        self.labels, self.loss_weight = labels, loss_weight
        self.importance = importance

    @property
    def batch(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    @property
    def neurons(self) -> int:
        """How many scores there are."""
        return self.importance.neurons

    def logits(self, columns: np.ndarray) -> np.ndarray:
        """The logits of each sample, [batch, classes], at a point [columns]."""
        return self._constants + self._matrices @ columns

    def effects(self, column: int) -> np.ndarray:
        """The derivative of the logits in a column, [batch, classes]."""
        return self._matrices[:, :, column]

    def promising(self, columns: np.ndarray) -> np.ndarray:
        """The numbers of the scores: first those whose decrease lowers the objective most."""
        slopes = self.losses(columns)[1][:, : self.neurons].mean(axis=0)
        gains = self.loss_weight * slopes + self.importance.weights.sum(axis=0)
        return np.argsort(-gains, kind="stable")

    def losses(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cross-entropy of each sample, [batch], and its gradient, [batch, columns]."""
        values, slopes = cross_entropy(self.logits(columns), self.labels)
        return values, np.einsum("bk,bkn->bn", slopes, self._matrices)

    def value(self, columns: np.ndarray) -> float:
        """The objective at a point [columns]."""
        values = cross_entropy(self.logits(columns), self.labels).values
        return self.loss_weight * float(values.mean()) + self.penalty(columns)

    def tangents(self, columns: np.ndarray, first: int) -> tuple[np.ndarray, Rows]:
        """The losses at a point and their tangents there.

        Args:
          columns: the point, [columns].
          first: the column of the first sample's loss; those of the other samples follow it.

        Returns:
          The losses, [batch], and one row per sample, ``loss >= value + slope (x - columns)``.
        """
        values, slopes = self.losses(columns)
        rows = []
        for sample, (value, slope) in enumerate(zip(values, slopes, strict=True)):
            indices = np.flatnonzero(np.abs(slope) > tolerances.SLOPE)
            rows.append(
                Row(
                    np.append(indices, first + sample),
                    np.append(-slope[indices], 1.0),
                    float(value - slope[indices] @ columns[indices]),
                )
            )
        return values, stacked(rows)

    def broken(self, values: np.ndarray, first: int, gap: float) -> Rows:
        """The tangents that a solver's solution violates.

        Args:
          values: the values of all columns, also of the losses.
          first: the column of the first sample's loss.
          gap: the relative gap to reach.

        Returns:
          The rows, of samples whose loss is too low in the solution.
        """
        losses, rows = self.tangents(values[:first], first)
        missing = losses - values[first : first + len(losses)]
        return lacking(rows, missing, values, tolerances.tangent(gap, self.loss_weight))

    def penalty(self, columns: np.ndarray) -> float:
        """P, the sum of the largest importances, at a point [columns]."""
        return self.importance.penalty(columns[: self.neurons])

    def completed(self, columns: np.ndarray) -> np.ndarray:
        """A point [columns] with its losses and its penalty: the columns of the master problem."""
        return np.concatenate([columns, self.losses(columns)[0], [self.penalty(columns)]])


def lacking(rows: Rows, missing: np.ndarray, values: np.ndarray, below: float) -> Rows:
    """The tangents that a solver's solution violates.

    Args:
      rows: tangents at the solution, one per sample.
      missing: how far the column of each sample's loss is below the loss, [batch], in nats.
      values: of the columns, [columns].
      below: how far it may be below, in nats.

    Returns:
      The rows of samples whose loss is too low, and whose row is violated.
    """
    violated = rows.violations(values) > tolerances.LAZY_MIXED
    return rows.at(np.flatnonzero((missing > below) & violated))
