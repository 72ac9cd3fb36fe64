"""The penalty P of scores: the sum of the largest layers' importances."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from solvers.network.chain import Gate
from solvers.programs.rows import Row, Rows, stacked


class Importance(NamedTuple):
    """``I_l = sum_i (s_i - 2) / N_l`` of each gated layer, affine in the scores.

    ElAraby et al. (2023). N_l is the ``size`` of the layer's ``Gate``; P is the sum of the largest
    I_l.

    Attributes:
      weights: [layers, neurons].
      offsets: [layers].
      largest: how many layers P is the sum of.
    """

    weights: np.ndarray
    offsets: np.ndarray
    largest: int

    @property
    def neurons(self) -> int:
        """How many scores there are."""
        return self.weights.shape[1]

    def of_layers(self, scores: np.ndarray) -> np.ndarray:
        """The importances, [..., layers], of scores [..., neurons]."""
        return (self.weights @ scores.T).T + self.offsets

    def penalties(self, scores: np.ndarray) -> np.ndarray:
        """P, [...], of scores [..., neurons]."""
        return np.sort(self.of_layers(scores))[..., ::-1][..., : self.largest].sum(axis=-1)

    def penalty(self, scores: np.ndarray) -> float:
        """P of scores [neurons]."""
        return float(self.penalties(scores))

    def choices(self) -> Iterator[tuple[tuple[int, ...], np.ndarray, float]]:
        """For every choice of ``largest`` layers: their numbers, summed weights, summed offset."""
        for layers in itertools.combinations(range(len(self.offsets)), self.largest):
            chosen = list(layers)
            yield layers, self.weights[chosen].sum(axis=0), float(self.offsets[chosen].sum())

    def rows(self, column: int) -> Rows:
        """``P >= the sum of importances``, one row per choice of layers.

        Args:
          column: the column of P; the first columns are the scores.

        Returns:
          The rows.
        """
        rows = []
        for _, weights, offset in self.choices():
            indices = np.flatnonzero(weights)
            rows.append(Row(np.append(indices, column), np.append(-weights[indices], 1.0), offset))
        return stacked(rows)


def importance(gates: Sequence[Gate], largest: int) -> Importance:
    """The importances of a network's gated layers.

    Args:
      gates: the layers.
      largest: how many of them P is the sum of.

    Returns:
      The importances.
    """
    weights = np.zeros((len(gates), sum(gate.neurons for gate in gates)))
    start = 0
    for layer, gate in enumerate(gates):
        weights[layer, start : start + gate.neurons] = 1 / gate.size
        start += gate.neurons
    offsets = np.array([-2 * gate.neurons / gate.size for gate in gates])
    return Importance(weights, offsets, largest)
