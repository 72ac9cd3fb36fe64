"""The coupling rule of reshape: which labels the entries carry over to the new axes."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jax.export import is_symbolic_dim

from prunejax.network.labels import Axis, Labels, Shape
from prunejax.network.values import Value

Choose: TypeAlias = Callable[[int, np.ndarray, int], int]
"""(block, the labels of an axis that is cut, how many axes it is cut into) -> which carries them"""


def reshape(labels: Labels, value: Value, old: Shape, new: Shape, choose: Choose) -> Value:
    """Splits the reshape into the smallest independent blocks of axes and treats each alone.

    A block with one removable axis carries its labels along: flattening repeats the label of a
    channel over the positions; cutting an axis in two ties the channels that stand in one place.
    Of several removable axes in a block that changes, one stays removable: the last of those that
    are tied to a variable.

    Args:
      labels: the labels so far.
      value: what is reshaped.
      old: its shape, without zeros.
      new: the shape it gets.
      choose: which of the axes that channels are cut into carries them, the others being
        positions.

    Returns:
      The result.
    """
    axes: list[Axis] = []
    zero: list[bool] = []
    for block, (before, after) in enumerate(_blocks(old, new)):
        kept = [axis for axis in range(*before) if old[axis] != 1]
        made = [axis for axis in range(*after) if new[axis] != 1]
        inner = [value.axes[axis] for axis in kept]
        if [old[axis] for axis in kept] == [new[axis] for axis in made]:
            vanish = [value.zero[axis] for axis in kept]
            by_axis = dict(zip(made, zip(inner, vanish, strict=True), strict=True))
        else:
            removable = [axis for axis in kept if labels.free(value.axes[axis])]
            by_axis = {}
            if removable:
                # an axis of copies gives way to an axis of channels
                chosen = max(removable, key=lambda axis: (labels.rooted(value.axes[axis]), axis))
                for axis in removable:
                    if axis != chosen:
                        labels.freeze(value.axes[axis])
                carried = _carry(
                    labels,
                    value.axes[chosen],
                    [old[axis] for axis in kept],
                    kept.index(chosen),
                    [new[axis] for axis in made],
                    functools.partial(choose, block),
                )
                by_axis = {
                    axis: (labels_, value.zero[chosen])
                    for axis, labels_ in zip(made, carried, strict=True)
                }
        for axis in range(*after):
            labels_, vanishes = by_axis.get(axis, (None, False))
            axes.append(labels_)
            zero.append(vanishes)
    return Value(tuple(axes), tuple(zero), value.null)


def _blocks(old: Shape, new: Shape) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Ranges of axes, old and new, of equal size."""
    blocks, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        size_i = size_j = 1
        if i < len(old):
            size_i, i = old[i], i + 1
        if j < len(new):
            size_j, j = new[j], j + 1
        while size_i != size_j:
            if _less(size_i, size_j):
                size_i, i = size_i * old[i], i + 1
            else:
                size_j, j = size_j * new[j], j + 1
        blocks.append(((start_i, i), (start_j, j)))
    return blocks


def _less(first: Any, second: Any) -> bool:
    """Whether a size is the smaller one; of symbolic sizes, the one that divides the other."""
    if is_symbolic_dim(first) or is_symbolic_dim(second):
        return is_symbolic_dim(second) and bool(second % first == 0)
    return bool(first < second)


def _carry(
    labels: Labels,
    axis: Axis,
    old: list[int],
    place: int,
    new: list[int],
    choose: Callable[[np.ndarray, int], int],
) -> list[Axis]:
    """The labels of the new axes of a block, of which one has the labels of the old axis."""
    assert axis is not None
    along = [1] * len(old)
    along[place] = -1
    entries = np.broadcast_to(axis.reshape(along), old).reshape(new)
    roots = labels.find(entries)
    chosen = None
    for candidate in range(len(new)):
        line = np.moveaxis(roots, candidate, -1).reshape(-1, new[candidate])
        if (line == line[0]).all():
            chosen = candidate
            break
    if chosen is None:
        chosen = choose(axis, len(new)) if len(new) > 1 else 0
    lines = np.moveaxis(entries, chosen, -1).reshape(math.prod(new) // new[chosen], new[chosen])
    labels.union(lines, lines[0])
    return [lines[0].copy() if index == chosen else None for index in range(len(new))]
