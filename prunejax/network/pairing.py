"""Two definitions of the same labels made to agree: which part of one is which of the other.

Labels may be defined twice, where channels are cut into heads and their widths in two places. The
definitions agree if parts of one are tied to parts of the other so that each label goes in both or
in neither.
"""

import itertools
from collections.abc import Sequence

import numpy as np

MOST_ORDERS = 24
"""So many ways to pair parts are compared at most."""


def matched(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Pairs the parts of two definitions.

    A part is first paired with those that, taken together, divide the labels as it does: heads
    with heads, or heads with groups of heads and the place in a group. Where no division agrees,
    parts are tied one to one, or stay, in the way that leaves the most sets.

    Args:
      one: the parts of each label by one definition, [n] each.
      other: those by another.

    Returns:
      Pairs (part, parts): the first is to be defined by the others, or tied to it if it is one; a
      part without others must stay.
    """
    pairs: list[tuple[np.ndarray, list[np.ndarray]]] = []
    if not len(one[0]):
        return pairs
    left = [list(one), list(other)]
    for side in (0, 1):
        for part in list(left[side]):
            chosen = _same_division(part, left[1 - side])
            if chosen:
                pairs.append((part, [left[1 - side][index] for index in chosen]))
                left[side] = [each for each in left[side] if each is not part]
                left[1 - side] = [
                    each for index, each in enumerate(left[1 - side]) if index not in chosen
                ]
    first, second = sorted(left, key=len)
    tied: list[tuple[np.ndarray, np.ndarray]] = []
    if first:
        orders = itertools.islice(itertools.permutations(second, len(first)), MOST_ORDERS)
        ways = [[*zip(first, order, strict=True)] for order in orders]
        tied = max(ways, key=lambda way: sum(_sets(pair) for pair in way))
        tied = [pair for pair in tied if _sets(pair)]
    # what goes with no part of the other definition may not go on its own
    rest = [part for part in (*first, *second) if not any(_is(part, pair) for pair in tied)]
    return [*pairs, *((each, [part]) for each, part in tied), *((part, []) for part in rest)]


def _is(part: np.ndarray, pair: tuple[np.ndarray, np.ndarray]) -> bool:
    return part is pair[0] or part is pair[1]


def _same_division(part: np.ndarray, others: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The fewest of some parts that divide the labels as one part does; none if no choice does."""
    codes = np.unique(part, return_inverse=True)[1]
    for count in range(1, len(others) + 1):
        for chosen in itertools.combinations(range(len(others)), count):
            rows = np.stack([others[index] for index in chosen], 1)
            inverse = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
            both = np.unique(np.stack([codes, inverse], 1), axis=0)
            if len(both) == codes.max() + 1 == inverse.max() + 1:
                return chosen
    return ()


def _sets(pair: tuple[np.ndarray, np.ndarray]) -> int:
    """How many sets are left of labels that are tied to each other; 0 if all become one."""
    codes = np.unique(np.concatenate(pair), return_inverse=True)[1].ravel()
    first, second = codes[: len(pair[0])], codes[len(pair[0]) :]
    lowest = np.arange(codes.max() + 1)
    while True:
        before = lowest.copy()
        least = np.minimum(lowest[first], lowest[second])
        np.minimum.at(lowest, first, least)
        np.minimum.at(lowest, second, least)
        lowest = lowest[lowest]
        if np.array_equal(before, lowest):
            sets = len({*lowest.tolist()})
            return sets if sets > 1 else 0
