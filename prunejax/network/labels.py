"""Integer labels of channels: which must go together, which go with others, and which must stay."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.export import is_symbolic_dim

from prunejax.network import pairing

FROZEN = 0
"""A label of what must stay: positions, what is given, what is returned."""

Axis = np.ndarray | None
"""The label of each index of an axis; None where nothing can be removed."""

Shape = tuple[Any, ...]
"""Sizes of axes: integers, and the symbolic ones of ``jax.export`` for a batch of any size."""

PARTS = 6
"""So many labels may stand in the definition of one: a reshape cuts an axis into no more."""


class Cause(NamedTuple):
    """Why channels must stay.

    Attributes:
      op: the operation that needs them, or None.
      why: what it does with them.
    """

    op: Any
    why: str


class Labels:
    """Union-find over integers, with labels that others define.

    Labels of one set go together. A label may be *defined* by others, its parts: it goes if, and
    only if, one of them goes. Where an axis of 24 channels is cut into 4 heads of width 6, the
    label of each channel is defined by that of its head and that of its place within the head.
    A set that must stay has a cause.

    Attributes:
      causes: why sets must stay, by the numbers that ``cause`` gives.
      cause: what ``freeze`` gives as the operation.
    """

    def __init__(self) -> None:
        self._parents = np.zeros(1024, np.int64)
        self._why = np.zeros(1024, np.int32)  # of the label that stands for a set; 0: it may go
        self._parts: np.ndarray | None = None  # made with the first definition, -1 where none
        self._count = 1
        self._why[FROZEN] = 1
        self.causes: list[Cause] = [Cause(None, ""), Cause(None, "is a position")]
        self._numbers: dict[tuple[int, str], int] = {}
        self.op: Any = None

    def __len__(self) -> int:
        return self._count

    def fresh(self, size: Any) -> Axis:
        """Makes labels for an axis; an axis of length 1 or symbolic length has none: it stays.

        Args:
          size: the length of the axis.

        Returns:
          New labels, [size], or None.
        """
        return None if size == 1 or is_symbolic_dim(size) else self.make(size)

    def make(self, size: int) -> np.ndarray:
        """Makes any number of new labels, [size]."""
        start, self._count = self._count, self._count + size
        while self._count > len(self._parents):
            self._parents = np.concatenate([self._parents, np.zeros_like(self._parents)])
            self._why = np.concatenate([self._why, np.zeros_like(self._why)])
            if self._parts is not None:
                self._parts = np.concatenate([self._parts, np.full_like(self._parts, -1)])
        made = np.arange(start, self._count)
        self._parents[start : self._count] = made
        return made

    def find(self, labels: np.ndarray) -> np.ndarray:
        """The label that stands for the set of each label, an array of the same shape."""
        roots = self._parents[labels]
        while True:
            above = self._parents[roots]
            if np.array_equal(above, roots):
                return roots
            self._parents[labels] = roots = above

    def union(self, first: np.ndarray, second: np.ndarray) -> None:
        """Ties two arrays of labels, index by index; they broadcast."""
        if first is second:
            return
        if first.shape != second.shape:
            first, second = np.broadcast_arrays(first, second)
        first, second = first.ravel(), second.ravel()
        while True:
            first, second = self.find(first), self.find(second)
            differ = first != second
            if not differ.any():
                return
            first, second = first[differ], second[differ]
            low, high = np.minimum(first, second), np.maximum(first, second)
            pinned = low == FROZEN
            if pinned.any():
                self._stop(high[pinned], 1)
                low, high = low[~pinned], high[~pinned]
                first, second = low, high
            self._parents[high] = low
            won = self._parents[high] == low  # of several for one label the last one wins
            self._merge(low[won], high[won])

    def _merge(self, low: np.ndarray, high: np.ndarray) -> None:
        """What was known of the labels that no longer stand for their sets."""
        why, other = self._why[low], self._why[high]
        mixed = (why > 0) != (other > 0)
        if mixed.any():
            causes = np.maximum(why, other)[mixed]
            for each in np.unique(causes):
                self._stop(low[mixed][causes == each], int(each))
        if self._parts is None:
            return
        defined, also = self._parts[high, 0] >= 0, self._parts[low, 0] >= 0
        takes = defined & ~also
        self._parts[low[takes]] = self._parts[high[takes]]
        both = defined & also
        old, new = self._parts[low[both]], self._parts[high[both]]
        self._parts[high[defined]] = -1
        if both.any():
            self._reconcile(old, new)

    def define(self, labels: np.ndarray, parts: Sequence[np.ndarray]) -> None:
        """Says of labels that they go exactly if one of their parts goes.

        Args:
          labels: [n].
          parts: arrays of labels, each [n].
        """
        if len(parts) == 1:
            self.union(labels, parts[0])
            return
        if len(parts) > PARTS:
            for part in parts[1:]:
                self.union(parts[0], part)
            self.union(labels, parts[0])
            return
        if self._parts is None:
            self._parts = np.full((len(self._parents), PARTS), -1)
        roots = self.find(labels)
        rows = np.full((len(roots), PARTS), -1)
        for column, part in enumerate(parts):
            rows[:, column] = self.find(part)
        # a label that stands among its own parts
        looped = (rows == roots[:, None]).any(1)
        if looped.any():
            for column in range(len(parts)):
                self.union(rows[looped, column], roots[looped])
            self.define(labels[~looped], [part[~looped] for part in parts])
            return
        _, firsts = np.unique(roots, return_index=True)
        new = np.zeros(len(roots), bool)
        new[firsts] = True
        new &= self._parts[roots, 0] < 0
        self._parts[roots[new]] = rows[new]
        stays = self._why[roots] > 0
        if stays.any():
            for each in np.unique(self._why[roots[stays]]):
                at = stays & (self._why[roots] == each)
                self._stop(rows[at][rows[at] >= 0], int(each))
        if not new.all():
            old = self._parts[self.find(roots[~new])]
            self._reconcile(old, rows[~new])

    def _reconcile(self, first: np.ndarray, second: np.ndarray) -> None:
        """Makes two definitions of the same labels mean the same: [n, PARTS] each."""
        one, other = (
            [self.find(rows[:, column]) for column in range((rows >= 0).all(0).sum())]
            if len({*(rows >= 0).sum(1).tolist()}) == 1
            else None
            for rows in (first, second)
        )
        if one is None or other is None:  # definitions of several lengths
            lengths = np.stack([(first >= 0).sum(1), (second >= 0).sum(1)], 1)
            for pair in np.unique(lengths, axis=0):
                chosen = (lengths == pair).all(1)
                self._reconcile(first[chosen], second[chosen])
            return
        for label, parts in pairing.matched(one, other):
            if not parts:
                self._stop(label, self._cause("cuts them in a way that does not fit another one"))
            elif len(parts) == 1:
                self.union(label, parts[0])
            else:
                self.define(label, parts)

    def _stop(self, labels: np.ndarray, cause: int) -> None:
        """Gives a cause to the sets of labels, and to the parts that define them."""
        while len(labels):
            roots = self.find(labels)
            roots = roots[self._why[roots] == 0]
            self._why[roots] = cause
            if self._parts is None:
                return
            parts = self._parts[roots]
            labels = parts[parts >= 0]

    def freeze(self, axis: Axis, why: str) -> None:
        """Says that an axis must stay whole.

        Args:
          axis: its labels.
          why: what needs it, "sorts them" for example; the operation is ``op``.
        """
        if axis is not None:
            self._stop(axis.ravel(), self._cause(why))

    def _cause(self, why: str) -> int:
        key = (id(self.op), why)
        if key not in self._numbers:
            self.causes.append(Cause(self.op, why))
            self._numbers[key] = len(self.causes) - 1
        return self._numbers[key]

    def join(self, axes: Sequence[Axis], why: str = "ties them to what stays whole") -> Axis:
        """Ties axes of one length to each other, all of them frozen if one is.

        Args:
          axes: one axis or more.
          why: why they must stay if one of them has no labels.

        Returns:
          The axis they have become.
        """
        present = [axis for axis in axes if axis is not None]
        if len(present) < len(axes):
            for axis in present:
                self.freeze(axis, why)
            return None
        for axis in present[1:]:
            self.union(present[0], axis)
        return present[0]

    def removable(self, labels: np.ndarray) -> np.ndarray:
        """For each label whether it can be removed."""
        return self._why[self.find(labels)] == 0

    def free(self, axis: Axis) -> bool:
        """Whether any index of the axis can be removed."""
        return axis is not None and bool(self.removable(axis).any())

    def reasons(self, labels: np.ndarray) -> np.ndarray:
        """For each label the number of its cause in ``causes``, 0 where it can be removed."""
        return self._why[self.find(labels)]

    def parts(self, labels: np.ndarray) -> list[np.ndarray] | None:
        """The parts of labels, [n] each, if all of them are defined by equally many."""
        if self._parts is None:
            return None
        rows = self._parts[self.find(labels)]
        count = (rows >= 0).sum(-1)
        if count.size == 0 or count.min() == 0 or count.min() != count.max():
            return None
        return [self.find(rows[..., column]) for column in range(int(count.flat[0]))]

    def bases(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels without a definition that labels come down to.

        Args:
          labels: [n].

        Returns:
          Positions in ``labels`` and bases, [m] each, sorted by position, no pair twice.
        """
        positions, roots = np.arange(len(labels)), self.find(labels)
        if self._parts is None:
            return positions, roots
        done, seen = [], set[tuple[int, int]]()
        while len(roots):
            rows = self._parts[roots]
            plain = rows[:, 0] < 0
            done.append((positions[plain], roots[plain]))
            at, column = np.nonzero(rows[~plain] >= 0)
            positions = positions[~plain][at]
            roots = self.find(rows[~plain][at, column])
            pairs = [*zip(positions.tolist(), roots.tolist(), strict=True)]
            fresh = [pair not in seen for pair in pairs]  # definitions may run in a circle
            seen.update(pairs)
            positions, roots = positions[fresh], roots[fresh]
        found = np.unique(
            np.stack([np.concatenate([each[side] for each in done]) for side in (0, 1)], 1), axis=0
        )
        return found[:, 0], found[:, 1]

    def settle(self) -> None:
        """Gives causes to the parts of all that must stay."""
        if self._parts is None:
            return
        while True:
            roots = np.flatnonzero(self._parts[: self._count, 0] >= 0)
            roots = roots[self._parents[roots] == roots]
            frozen = roots[self._why[roots] > 0]
            parts = self._parts[frozen]
            owner = np.repeat(self._why[frozen], (parts >= 0).sum(1))
            below = self.find(parts[parts >= 0])
            left = self._why[below] == 0
            if not left.any():
                break
            self._why[below[left]] = owner[left]
        # what is defined by nothing that may go may not go either
        while True:
            rows = self._parts[roots]
            whys = np.where(rows >= 0, self._why[self.find(np.maximum(rows, 0))], 1)
            stuck = (whys > 0).all(1) & (self._why[roots] == 0)
            if not stuck.any():
                return
            self._why[roots[stuck]] = whys[stuck, 0]

    def spread(self, removed: np.ndarray) -> np.ndarray:
        """What goes if some sets go.

        Args:
          removed: for each label that stands for a set whether it is removed, [labels].

        Returns:
          For each label whether it is removed, [labels].
        """
        everywhere = np.arange(self._count)
        roots = self.find(everywhere)
        gone = removed[roots]
        if self._parts is None:
            return gone
        defined = np.flatnonzero((self._parts[: self._count, 0] >= 0) & (roots == everywhere))
        rows = self._parts[defined]
        while True:
            through = ((rows >= 0) & gone[np.maximum(rows, 0)]).any(1) & ~gone[defined]
            if not through.any():
                return gone
            gone[defined[through]] = True
            gone = gone[roots]

    def allowed(self, gone: np.ndarray) -> np.ndarray:
        """The bases that may go so that no label goes but those that shall.

        Args:
          gone: for each label whether it shall go, [labels]; labels of one set alike.

        Returns:
          For each label that stands for a set whether it is a base that goes, [labels].
        """
        everywhere = np.arange(self._count)
        base = gone & (self.find(everywhere) == everywhere)
        if self._parts is None:
            return base
        defined = np.flatnonzero(self._parts[: self._count, 0] >= 0)
        defined = defined[self._parents[defined] == defined]
        base[defined] = False
        # a base that stands in a definition goes if all that it defines goes
        positions, below = self.bases(defined)
        defines, spared = np.zeros(self._count, bool), np.zeros(self._count, bool)
        defines[below] = True
        spared[below[~gone[defined[positions]]]] = True
        return (base | defines) & ~spared
