"""Good masks, found by greedy pruning and local search on the masked network itself."""

import time
from collections.abc import Iterator

import numpy as np

from solvers.search.masks import Evaluator, Mask
from solvers.tolerances import better

PAIRED = 40
"""Pairs are tried of this many of the most promising flips of each kind."""


def search(evaluator: Evaluator, seed: int, restarts: int, until: float) -> Iterator[Mask]:
    """Prunes greedily, improves by flips and pairs of flips, then does so from shaken masks.

    Args:
      evaluator: of the problem.
      seed: of the random numbers.
      restarts: the search ends when shaking the best mask led to nothing better this many times
        in a row.
      until: when to end, a reading of ``time.perf_counter``; infinity for never.

    Yields:
      Masks as they are found; the first one is the whole network.
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
        improved = improve(evaluator, start, until)
        in_vain = 0 if better(improved.objective, best.objective) else in_vain + 1
        best = min(best, improved, key=lambda mask: mask.objective)
        yield improved
        if in_vain > restarts or time.perf_counter() >= until:
            return
        start = shaken(evaluator, best.kept, random)


def shaken(evaluator: Evaluator, kept: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Flips some neurons of a mask at random.

    If a layer would lose too many neurons, others that were pruned come back: at the limit, a flip
    becomes a swap.

    Args:
      evaluator: of the problem.
      kept: the mask, [neurons].
      random: the generator of random numbers.

    Returns:
      Another mask that is allowed, [neurons].
    """
    mask = kept.copy()
    flips = random.choice(len(kept), min(len(kept), int(random.integers(2, 7))), False)
    mask[flips] = 1 - mask[flips]
    for part, most in zip(evaluator.slices, evaluator.most.tolist(), strict=True):
        gone = part.start + np.flatnonzero(mask[part] == 0)
        surplus = len(gone) - most
        if surplus > 0:
            before = gone[kept[gone] == 0]
            others = before if len(before) >= surplus else gone
            mask[random.choice(others, surplus, False)] = 1
    return mask


def greedy(evaluator: Evaluator, until: float) -> np.ndarray:
    """Prunes the neurons that cost least for their importance, until none is left.

    Args:
      evaluator: of the problem.
      until: when to end, a reading of ``time.perf_counter``.

    Returns:
      The best mask on the way, [neurons].
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
        # at most an eighth at once, because the cost of a neuron depends on the others
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
    """Flips neurons, and pairs of neurons, as long as the objective falls.

    Args:
      evaluator: of the problem.
      kept: the mask to start from, [neurons].
      until: when to end, a reading of ``time.perf_counter``.

    Returns:
      A mask that no flip improves, and no pair of promising flips, unless the time was over.
    """
    best = Mask(kept, float(evaluator.objectives(kept[None])[0]))
    each = np.arange(len(kept))
    while time.perf_counter() < until:
        flipped = np.repeat(best.kept[None], len(kept), axis=0)
        flipped[each, each] = 1 - flipped[each, each]
        losses = evaluator.losses(flipped)
        values = evaluator.problem.loss_weight * losses
        # half a swap may not be allowed, and P may ignore a layer until another one is pruned too
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
    """Masks that differ from a mask by two of the most promising flips of either kind."""
    pruned, gone = promising[kept[promising] == 1], promising[kept[promising] == 0]
    flips = np.concatenate([pruned[:PAIRED], gone[:PAIRED]])
    first, second = np.triu_indices(len(flips), 1)
    flipped = np.repeat(kept[None], len(first), axis=0)
    for flip in (flips[first], flips[second]):
        flipped[np.arange(len(first)), flip] = 1 - flipped[np.arange(len(first)), flip]
    return flipped
