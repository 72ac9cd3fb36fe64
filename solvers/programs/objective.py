"""The objective of a program whose logits are affine in its columns, and its tangents."""

import itertools

import numpy as np

from solvers import tolerances
from solvers.network.losses import cross_entropy
from solvers.programs.reduced import Reduced
from solvers.programs.rows import Row


class Objective:
    """``loss_weight mean_b loss_b(x) + penalty(s)`` and its tangents.

    Args:
        reduced: the program.
        labels: [batch].
        loss_weight: lambda.
        importance: coefficients, [layers, neurons], and constants, [layers], of each layer's I.
        largest: the penalty is the sum of this many importances, the largest of the layers'.
    """

    def __init__(
        self,
        reduced: Reduced,
        labels: np.ndarray,
        loss_weight: float,
        importance: tuple[np.ndarray, np.ndarray],
        largest: int,
    ) -> None:
        self._constants = np.stack([vector.constant for vector in reduced.logits])
        self._matrices = np.stack([vector.matrix for vector in reduced.logits])
        self.labels, self.loss_weight = labels, loss_weight
        self._weights, self._offsets = importance
        self._largest = largest

    @property
    def batch(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    @property
    def neurons(self) -> int:
        """How many scores there are."""
        return self._weights.shape[1]

    def logits(self, columns: np.ndarray) -> np.ndarray:
        """Of each sample, [batch, classes]."""
        return self._constants + self._matrices @ columns

    def effects(self, column: int) -> np.ndarray:
        """By how much a column moves the logits, [batch, classes]."""
        return self._matrices[:, :, column]

    def promising(self, columns: np.ndarray) -> np.ndarray:
        """Scores, sorted: first those that lower the objective most as they fall, near a point."""
        slopes = self.losses(columns)[1][:, : self.neurons].mean(axis=0)
        gains = self.loss_weight * slopes + self._weights.sum(axis=0)
        return np.argsort(-gains, kind="stable")

    def losses(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cross-entropy of each sample, [batch], and its gradient, [batch, columns]."""
        values, slopes = cross_entropy(self.logits(columns), self.labels)
        return values, np.einsum("bk,bkn->bn", slopes, self._matrices)

    def value(self, columns: np.ndarray) -> float:
        """The objective."""
        values = cross_entropy(self.logits(columns), self.labels).values
        return self.loss_weight * float(values.mean()) + self.penalty(columns)

    def tangents(self, columns: np.ndarray, first: int) -> tuple[np.ndarray, list[Row]]:
        """The losses at a point, [batch], and rows that bound each from below around it.

        Args:
            columns: the point.
            first: the column that stands for the first sample's loss; the others follow it.

        Returns:
            The losses and the rows.
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
        return values, rows

    def broken(self, values: np.ndarray, first: int, gap: float) -> list[Row]:
        """The tangents that a solver's solution violates.

        Args:
            values: of the columns, the losses among them.
            first: the column of the first sample's loss.
            gap: the relative gap to reach.

        Returns:
            The rows.
        """
        losses, rows = self.tangents(values[:first], first)
        missing = losses - values[first : first + len(losses)]
        below = tolerances.tangent(gap, self.loss_weight)
        return [
            row
            for row, each in zip(rows, missing, strict=True)
            if each > below and row.violation(values) > tolerances.LAZY_MIXED
        ]

    def penalty(self, columns: np.ndarray) -> float:
        """P: the sum of the largest importances."""
        each = self._weights @ columns[: self._weights.shape[1]] + self._offsets
        return float(np.sort(each)[::-1][: self._largest].sum())

    def penalty_rows(self, column: int) -> list[Row]:
        """``P >= sum of importances``, for every choice of ``largest`` layers."""
        rows = []
        for layers in itertools.combinations(range(len(self._offsets)), self._largest):
            summed = self._weights[list(layers)].sum(axis=0)
            indices = np.flatnonzero(summed)
            rows.append(
                Row(
                    np.append(indices, column),
                    np.append(-summed[indices], 1.0),
                    float(self._offsets[list(layers)].sum()),
                )
            )
        return rows
