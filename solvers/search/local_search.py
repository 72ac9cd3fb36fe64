"""Good masks by greedy pruning and local search on the masked network itself."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from solvers.network.chain import Linear
from solvers.network.losses import cross_entropy
from solvers.programs.problem import PruningProblem
from solvers.tolerances import better

CHUNK = 4_000_000
"""How many values are computed at once at most, in one step of the network."""

PAIRED = 40
"""Of how many of the most promising flips every pair is tried."""

DENSE = 0.1
"""A matrix with a larger part of non-zero entries is multiplied as a dense one."""


class Mask(NamedTuple):
    """A mask and what it is worth.

    Attributes:
        kept: for each neuron 1 or 0.
        objective: of the problem.
    """

    kept: np.ndarray
    objective: float


class Evaluator:
    """The objectives of many masks at once.

    Args:
        problem: the network and the batch.
        most: of each gated layer how many neurons may be pruned.
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
        """Which masks prune no more than they may, [masks]."""
        pruned = np.stack([(1 - masks[:, part]).sum(axis=1) for part in self.slices], axis=1)
        return np.asarray((pruned <= self.most).all(axis=1))

    def penalties(self, masks: np.ndarray) -> np.ndarray:
        """P of each mask."""
        return self.problem.importance.penalties(masks)

    def importances(self, masks: np.ndarray) -> np.ndarray:
        """The sum of all layers' importances, where P forgives some."""
        return self.problem.importance.of_layers(masks).sum(axis=1)

    def losses(self, masks: np.ndarray) -> np.ndarray:
        """The mean cross-entropy with each mask.

        Args:
            masks: [masks, neurons].

        Returns:
            [masks].
        """
        parts = [
            self._losses(masks[start : start + self._chunk])
            for start in range(0, len(masks), self._chunk)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def objectives(self, masks: np.ndarray) -> np.ndarray:
        """The objective of each mask; infinite where too many neurons are pruned."""
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
    """Matrices that are hardly sparse are faster dense."""
    return matrix.toarray() if matrix.nnz > DENSE * matrix.shape[0] * matrix.shape[1] else matrix


def search(evaluator: Evaluator, seed: int, restarts: int, until: float) -> Iterator[Mask]:
    """Greedy pruning, flips and pairs of flips, then the same from shaken masks.

    Args:
        evaluator: of the problem.
        seed: of what is drawn.
        restarts: it ends after the best mask was shaken this many times in a row in vain.
        until: when to end, a reading of ``time.perf_counter``; infinity for never.

    Yields:
        Masks as they are found, the whole network first.
    """
    random = np.random.default_rng(seed)
    whole = np.ones(evaluator.problem.chain.neurons)
    best = Mask(whole, float(evaluator.objectives(whole[None])[0]))
    yield best
    if time.perf_counter() >= until:
        return
    start = greedy(evaluator, until)
    yield Mask(start, float(evaluator.objectives(start[None])[0]))
    in_vain = 0
    while True:
        found = improve(evaluator, start, until)
        in_vain = 0 if better(found.objective, best.objective) else in_vain + 1
        best = min(best, found, key=lambda mask: mask.objective)
        yield found
        if in_vain > restarts or time.perf_counter() >= until:
            return
        start = shaken(evaluator, best.kept, random)


def shaken(evaluator: Evaluator, kept: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A mask with some neurons flipped, and no more of a layer pruned than allowed.

    If too many would be pruned, others stay in their place: at the limit, a flip becomes a swap.

    Args:
        evaluator: of the problem.
        kept: the mask.
        random: what draws.

    Returns:
        Another mask, [neurons].
    """
    found = kept.copy()
    flips = random.choice(len(kept), min(len(kept), int(random.integers(2, 7))), False)
    found[flips] = 1 - found[flips]
    for part, most in zip(evaluator.slices, evaluator.most.tolist(), strict=True):
        gone = part.start + np.flatnonzero(found[part] == 0)
        surplus = len(gone) - most
        if surplus > 0:
            before = gone[kept[gone] == 0]
            others = before if len(before) >= surplus else gone
            found[random.choice(others, surplus, False)] = 1
    return found


def greedy(evaluator: Evaluator, until: float) -> np.ndarray:
    """Prunes what costs least for its importance, ever more at once, and keeps the best mask.

    Args:
        evaluator: of the problem.
        until: when to end.

    Returns:
        A mask, [neurons].
    """
    neurons = evaluator.problem.chain.neurons
    kept = np.ones(neurons)
    best = Mask(kept, float(evaluator.objectives(kept[None])[0]))
    while kept.any() and time.perf_counter() < until:
        left = np.flatnonzero(kept)
        without = np.repeat(kept[None], len(left), axis=0)
        without[np.arange(len(left)), left] = 0
        left, without = left[allowed := evaluator.allowed(without)], without[allowed]
        if not len(left):
            break
        costs = evaluator.problem.loss_weight * evaluator.losses(without)
        order = left[np.argsort(costs + evaluator.importances(without), kind="stable")]
        # at most an eighth at once: what a neuron costs changes with the others
        count = max(1, min(len(order) // 8, int(evaluator.most.sum() - (1 - kept).sum())))
        prefixes = np.repeat(kept[None], count, axis=0)
        for row in range(count):
            prefixes[row, order[: row + 1]] = 0
        values = evaluator.objectives(prefixes)
        if better(float(values.min()), best.objective):
            best = Mask(prefixes[values.argmin()], float(values.min()))
        fine = np.flatnonzero(np.isfinite(values))
        kept = prefixes[fine[-1]]
    return best.kept


def improve(evaluator: Evaluator, kept: np.ndarray, until: float) -> Mask:
    """Flips neurons, and pairs of them, as long as that helps.

    Args:
        evaluator: of the problem.
        kept: where to start.
        until: when to end.

    Returns:
        The mask where no flip helps, and no pair of promising ones.
    """
    best = Mask(kept, float(evaluator.objectives(kept[None])[0]))
    each = np.arange(len(kept))
    while time.perf_counter() < until:
        flipped = np.repeat(best.kept[None], len(kept), axis=0)
        flipped[each, each] = 1 - flipped[each, each]
        losses = evaluator.losses(flipped)
        values = evaluator.problem.loss_weight * losses
        # a swap's halves may not be allowed alone, and P may forgive a layer until another follows
        promising = np.argsort(values + evaluator.importances(flipped), kind="stable")
        values = np.where(evaluator.allowed(flipped), values + evaluator.penalties(flipped), np.inf)
        if not better(float(values.min()), best.objective):
            flipped = _pairs(best.kept, promising)
            values = evaluator.objectives(flipped)
            if not len(values) or not better(float(values.min()), best.objective):
                break
        best = Mask(flipped[values.argmin()], float(values.min()))
    return best


def _pairs(kept: np.ndarray, promising: np.ndarray) -> np.ndarray:
    """The mask with every two of the most promising flips of keeping and of pruning."""
    pruned, gone = promising[kept[promising] == 1], promising[kept[promising] == 0]
    flips = np.concatenate([pruned[:PAIRED], gone[:PAIRED]])
    first, second = np.triu_indices(len(flips), 1)
    flipped = np.repeat(kept[None], len(first), axis=0)
    for flip in (flips[first], flips[second]):
        flipped[np.arange(len(first)), flip] = 1 - flipped[np.arange(len(first)), flip]
    return flipped
