"""Masks of neurons, and the objectives of many masks at once."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from solvers.network.chain import Linear
from solvers.network.losses import cross_entropy
from solvers.programs.problem import PruningProblem

CHUNK = 4_000_000
"""At most so many values are computed at once, in one step of the network."""

DENSE = 0.1
"""A matrix with a larger share of non-zero entries is multiplied as a dense one."""


class Mask(NamedTuple):
    """A mask and its objective.

    Attributes:
      kept: 1 for neurons that stay, 0 for others, [neurons].
      objective: of the problem; infinity if the mask is not allowed.
    """

    kept: np.ndarray
    objective: float


class Evaluator:
    """Computes the objectives of many masks at once.

    Args:
      problem: the network and the batch.
      most: how many neurons of each gated layer may be pruned, [layers].
    """

    def __init__(self, problem: PruningProblem, most: Sequence[int]) -> None:
        chain = problem.chain
        self.problem, self.most, self.slices = problem, np.array(most), chain.slices()
        self._first = min(chain.owners)
        # what comes before the first gate is the same for every mask
        *_, self._common = itertools.islice(chain.forward(problem.flat), self._first + 1)
        steps = [
            step._replace(matrix=_fast(step.matrix)) if isinstance(step, Linear) else step
            for step in chain.steps
        ]
        self._chain = dataclasses.replace(chain, steps=tuple(steps))
        widest = max(len(step.offset) for step in steps if isinstance(step, Linear))
        self._chunk = max(1, CHUNK // (len(problem.flat) * widest))

    def allowed(self, masks: np.ndarray) -> np.ndarray:
        """Whether each mask of [masks, neurons] prunes no more than it may: bools, [masks]."""
        pruned = np.stack([(1 - masks[:, part]).sum(axis=1) for part in self.slices], axis=1)
        return np.asarray((pruned <= self.most).all(axis=1))

    def penalties(self, masks: np.ndarray) -> np.ndarray:
        """The penalty P of each mask of [masks, neurons]: [masks]."""
        return self.problem.importance.penalties(masks)

    def importances(self, masks: np.ndarray) -> np.ndarray:
        """The sum of all layers' importances, also of those that P ignores, per mask: [masks]."""
        return self.problem.importance.of_layers(masks).sum(axis=1)

    def losses(self, masks: np.ndarray) -> np.ndarray:
        """The mean cross-entropy of the network under each mask.

        Args:
          masks: 1 for neurons that stay, 0 for others, [masks, neurons].

        Returns:
          In nats, [masks].
        """
        parts = [
            self._losses(masks[start : start + self._chunk])
            for start in range(0, len(masks), self._chunk)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def objectives(self, masks: np.ndarray) -> np.ndarray:
        """The objective of each of [masks, neurons]: [masks]; infinity if it prunes too much."""
        values = np.full(len(masks), np.inf)
        allowed = self.allowed(masks)
        fine = masks[allowed]
        values[allowed] = self.problem.loss_weight * self.losses(fine) + self.penalties(fine)
        return values

    def _losses(self, masks: np.ndarray) -> np.ndarray:
        batch = len(self._common)
        common = self._common[None] * masks[:, None, self._chain.owners[self._first]]
        values = common.reshape(len(masks) * batch, -1)
        *_, logits = self._chain.forward(values, masks, self._first + 1)
        labels = np.tile(np.asarray(self.problem.labels), len(masks))
        return cross_entropy(logits, labels).values.reshape(len(masks), batch).mean(axis=1)


def _fast(matrix: Any) -> Any:
    """The faster form of a matrix: dense if it is hardly sparse."""
    return matrix.toarray() if matrix.nnz > DENSE * matrix.shape[0] * matrix.shape[1] else matrix
