"""The coupling rule of reshape: which labels the entries carry over to the new axes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.export import is_symbolic_dim

from prunejax.network.labels import Labels
from prunejax.network.sets import Axis, Shape
from prunejax.network.shaping import alike
from prunejax.network.values import Value, fixed

MOST_CUTS = 6
"""So many definitions are followed from one label to those that define it."""


class Block(NamedTuple):
    """Axes before and after a reshape that hold the same entries.

    Attributes:
      before: the old axes, those of length 1 left out.
      after: the new ones.
      old: the lengths of the old axes.
      new: the lengths of the new ones.
    """

    before: list[int]
    after: list[int]
    old: list[Any]
    new: list[Any]

    @property
    def same(self) -> bool:
        """Whether the axes are the same ones."""
        return self.old == self.new


class Part(NamedTuple):
    """Labels of the entries of a block, all of which one old axis gave.

    Attributes:
      entries: the label of each entry, in the new shape.
      there: what the array is where they are removed, as ``Value.at``.
    """

    entries: np.ndarray
    there: Any


def reshape(labels: Labels, value: Value, old: Shape, new: Shape) -> Value:
    """Splits the reshape into the smallest independent blocks of axes and treats each alone.

    Flattening repeats the label of a channel over the positions. Where channels are cut into
    several axes, the label of each is defined by one label per axis: it goes if the head goes, or
    its place in the head. Where several axes are put together it is the other way around.

    Args:
      labels: the labels so far.
      value: what is reshaped.
      old: its shape.
      new: the shape it gets.

    Returns:
      The result.
    """
    if math.prod(new) == 0:
        return fixed(new)
    axes: list[Axis] = [None] * len(new)
    at: list[Any] = [None] * len(new)
    for block in blocks(old, new):
        if block.same:
            for before, after in zip(block.before, block.after, strict=True):
                axes[after], at[after] = value.axes[before], value.there(before)
            continue
        free = [axis for axis in block.before if labels.free(value.axes[axis])]
        if not free:
            continue
        if any(is_symbolic_dim(size) for size in (*block.old, *block.new)):
            for axis in free:
                labels.freeze(value.axes[axis], "puts them together with a batch of any size")
            continue
        parts: list[Part] = []
        for axis in free:
            along = [1] * len(block.old)
            along[block.before.index(axis)] = -1
            label = value.axes[axis]
            assert label is not None
            for each in _opened(labels, label, MOST_CUTS):
                entries = np.broadcast_to(each.reshape(along), block.old).reshape(block.new)
                parts.append(Part(entries, value.there(axis)))
        for place, labelled, there in _carried(labels, parts, block.new):
            axes[block.after[place]], at[block.after[place]] = labelled, there
    return Value(tuple(axes), tuple(at), value.fill)


def _opened(labels: Labels, axis: np.ndarray, depth: int) -> list[np.ndarray]:
    """The labels of an axis, or those that define them, and those that define those."""
    parts = labels.parts(axis) if depth else None
    if parts is None:
        return [axis]
    return [below for part in parts for below in _opened(labels, part, depth - 1)]


def _carried(
    labels: Labels, parts: Sequence[Part], new: list[int]
) -> list[tuple[int, np.ndarray, Any]]:
    """The labels of the new axes of a block: (its place among them, labels, what is there)."""
    lines: list[list[tuple[np.ndarray, Any]]] = [[] for _ in new]
    for part in parts:
        roots = labels.find(part.entries)
        moves = [
            place
            for place in range(len(new))
            if not np.array_equal(roots, np.broadcast_to(roots.take([0], axis=place), roots.shape))
        ]
        if len(moves) <= 1:
            place = moves[0] if moves else _only(new)
            if place is not None:
                lines[place].append((_line(part.entries, place), part.there))
            else:
                labels.freeze(part.entries, "cuts into several what only goes together")
            continue
        made = {place: labels.make(new[place]) for place in moves}
        spread = []
        for place in moves:
            along = [1] * len(new)
            along[place] = -1
            spread.append(np.broadcast_to(made[place].reshape(along), new).ravel())
            lines[place].append((made[place], part.there))
        labels.define(part.entries.ravel(), spread)
    found = []
    for place, line in enumerate(lines):
        if not line:
            continue
        axis = line[0][0]
        if len(line) > 1:
            axis = labels.make(new[place])
            labels.define(axis, [each for each, _ in line])
        found.append((place, axis, alike([there for _, there in line])))
    return found


def _only(new: list[int]) -> int | None:
    return 0 if len(new) == 1 else None


def _line(entries: np.ndarray, place: int) -> np.ndarray:
    """The labels along one axis, at the beginning of the others."""
    return np.moveaxis(entries, place, 0).reshape(entries.shape[place], -1)[:, 0].copy()


def blocks(old: Shape, new: Shape) -> list[Block]:
    """Groups of axes, old and new, that hold the same entries.

    Args:
      old: a shape without zeros.
      new: another with as many entries.

    Returns:
      The groups in order.
    """
    found, i, j = [], 0, 0
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
        before = [axis for axis in range(start_i, i) if old[axis] != 1]
        after = [axis for axis in range(start_j, j) if new[axis] != 1]
        found.append(Block(before, after, [old[a] for a in before], [new[a] for a in after]))
    return found


def _less(first: Any, second: Any) -> bool:
    """Whether a size is the smaller one; of symbolic sizes, the one that divides the other."""
    if is_symbolic_dim(first) or is_symbolic_dim(second):
        return is_symbolic_dim(second) and bool(second % first == 0)
    return bool(first < second)
