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

Where = tuple[np.ndarray, np.ndarray]
"""Positions along an axis, and the labels that are found there: see ``Labels.bases``."""

Shape = tuple[Any, ...]
"""Sizes of axes: integers, and the symbolic ones of ``jax.export`` for a batch of any size."""

PARTS = 6
"""So many labels may stand in the definition of one; where there would be more, all go together."""

TIED = "ties them to what stays whole"

MISFIT = "cuts them in a way that does not fit another one"

DEEPEST = 12
"""So many definitions may follow from one another."""


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
      causes: why sets must stay, by the numbers that ``reasons`` gives.
      op: the operation that ``freeze`` gives as the cause.
    """

    def __init__(self) -> None:
        self._parents = np.zeros(1024, np.int64)
        self._why = np.zeros(1024, np.int32)  # of the label that stands for a set; 0: it may go
        self._row = np.zeros(0, np.int32)  # of a label's definition in `_parts`; made when needed
        self._parts = np.zeros((0, PARTS), np.int64)  # -1 behind the last part
        self._rows = 0
        self._depth = 0
        self._below: tuple[np.ndarray, np.ndarray] | None = None  # see `bases`, once settled
        self._count = 1
        self._why[FROZEN] = 1
        self.causes: list[Cause] = [Cause(None, ""), Cause(None, "are positions")]
        self._numbers: dict[tuple[int, str], int] = {}
        self.op: Any = None
        # ties and causes wait here, so that many are followed at once; with definitions none waits
        self._ties: list[tuple[np.ndarray, np.ndarray]] = []
        self._stops: list[tuple[np.ndarray, int]] = []

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
            if self._rows:
                self._row = np.append(self._row, np.full_like(self._row, -1))
        made = np.arange(start, self._count)
        self._parents[start : self._count] = made
        return made

    def find(self, labels: np.ndarray) -> np.ndarray:
        """The label that stands for the set of each label, an array of the same shape."""
        if self._ties or self._stops:
            self._follow()
        roots = self._parents[labels]
        while True:
            above = self._parents[roots]
            if (above == roots).all():
                return roots
            self._parents[labels] = roots = above

    def union(self, first: np.ndarray, second: np.ndarray) -> None:
        """Ties two arrays of labels, index by index; they broadcast."""
        if first is second:
            return
        if first.shape != second.shape:
            first, second = np.broadcast_arrays(first, second)
        first, second = first.ravel(), second.ravel()
        if self._rows:
            self._tie(first, second)
        else:
            self._ties.append((first, second))

    def _follow(self) -> None:
        """Does what waits: all ties at once, then the causes in their order."""
        ties, self._ties = self._ties, []
        stops, self._stops = self._stops, []
        if ties:
            first, second = zip(*ties, strict=True)
            self._tie(np.concatenate(first), np.concatenate(second))
        if stops:
            labels, causes = zip(*stops, strict=True)
            roots = self.find(np.concatenate(labels))
            given = np.repeat(causes, [len(each) for each in labels])
            new = self._why[roots] == 0
            # of several for one set the last that is assigned stays: the first one given
            self._why[roots[new][::-1]] = given[new][::-1]

    def _tie(self, first: np.ndarray, second: np.ndarray) -> None:
        """Ties labels, [n] each, pair by pair."""
        while True:
            first, second = self.find(first), self.find(second)
            differ = first != second
            if not differ.any():
                return
            first, second = first[differ], second[differ]
            low, high = np.minimum(first, second), np.maximum(first, second)
            pinned = low == FROZEN
            if pinned.any():
                self._stop(high[pinned], self._cause(TIED))
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
        if not self._rows:
            return
        defined = self._row[high] >= 0
        low, high = low[defined], high[defined]
        while len(low):
            # of several definitions that one label takes over each is compared with the first
            _, first = np.unique(low, return_index=True)
            rest = np.ones(len(low), bool)
            rest[first] = False
            into, taken = self.find(low[first]), high[first]
            row = self._row[taken]
            self._row[taken] = -1
            also = (self._row[into] >= 0) & (row >= 0)  # of a pair that occurs twice: once
            takes = (self._row[into] < 0) & (row >= 0)
            self._row[into[takes]] = row[takes]
            if also.any():
                self._reconcile(self._parts[self._row[into[also]]], self._parts[row[also]])
            self._unloop(into)
            low, high = low[rest], high[rest]

    def _unloop(self, roots: np.ndarray) -> None:
        """Ties labels that stand in their own definitions to all their parts."""
        rows = self._definitions(roots)
        parts = self.find(np.maximum(rows, 0))
        looped = ((parts == roots[:, None]) & (rows >= 0)).any(1)
        if looped.any():
            again, parts = roots[looped], parts[looped]
            own = rows[looped] >= 0
            self._row[again] = -1
            self.union(np.repeat(again, own.sum(1)), parts[own])

    def _definitions(self, roots: np.ndarray) -> np.ndarray:
        """The parts of labels, [..., PARTS], -1 where there is none."""
        if not self._rows:
            return np.full((*roots.shape, PARTS), -1)
        rows = self._row[roots]
        return np.where(rows[..., None] >= 0, self._parts[rows], -1)

    def _defined(self) -> np.ndarray:
        """The labels that stand for a set and have a definition."""
        if not self._rows:
            return np.zeros(0, np.int64)
        found = np.flatnonzero(self._row[: self._count] >= 0)
        return found[self._parents[found] == found]

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
        if not self._rows:
            self._row = np.full(len(self._parents), -1, np.int32)
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
        new &= self._row[roots] < 0
        count = int(new.sum())
        while self._rows + count > len(self._parts):
            self._parts = np.append(self._parts, np.full((len(rows), PARTS), -1), axis=0)
        self._parts[self._rows : self._rows + count] = rows[new]
        self._row[roots[new]] = np.arange(self._rows, self._rows + count)
        self._rows += count
        self._below = None
        stays = self._why[roots] > 0
        if stays.any():
            for each in np.unique(self._why[roots[stays]]):
                at = stays & (self._why[roots] == each)
                self._stop(rows[at][rows[at] >= 0], int(each))
        if not new.all():
            old = self._definitions(self.find(roots[~new]))
            self._reconcile(old, rows[~new])

    def _reconcile(self, first: np.ndarray, second: np.ndarray) -> None:
        """Makes two definitions of the same labels mean the same: [n, PARTS] each."""
        if self._depth > DEEPEST:  # definitions that hold each other: nothing of them may go
            for rows in (first, second):
                self._stop(rows[rows >= 0], self._cause(MISFIT))
            return
        self._depth += 1
        try:
            self._agree(first, second)
        finally:
            self._depth -= 1

    def _agree(self, first: np.ndarray, second: np.ndarray) -> None:
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
        for rows in pairing.separate(one, other):
            pairs = pairing.matched([each[rows] for each in one], [each[rows] for each in other])
            for label, parts in pairs:
                if not parts:
                    self._stop(label, self._cause(MISFIT))
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
            if not self._rows:
                return
            parts = self._definitions(roots)
            labels = parts[parts >= 0]

    def freeze(self, axis: Axis, why: str) -> None:
        """Says that an axis must stay whole.

        Args:
          axis: its labels.
          why: what needs it, "sorts them" for example; the operation is ``op``.
        """
        if axis is None:
            return
        if self._rows:
            self._stop(axis.ravel(), self._cause(why))
        else:
            self._stops.append((axis.ravel(), self._cause(why)))

    def _cause(self, why: str) -> int:
        key = (id(self.op), why)
        if key not in self._numbers:
            self.causes.append(Cause(self.op, why))
            self._numbers[key] = len(self.causes) - 1
        return self._numbers[key]

    def join(self, axes: Sequence[Axis], why: str = TIED) -> Axis:
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
        if not self._rows:
            return None
        rows = self._definitions(self.find(labels))
        count = (rows >= 0).sum(-1)
        if count.size == 0 or count.min() == 0 or count.min() != count.max():
            return None
        return [self.find(rows[..., column]) for column in range(int(count.flat[0]))]

    def bases(self, labels: np.ndarray) -> Where:
        """The labels without a definition that labels come down to.

        Args:
          labels: [n].

        Returns:
          Positions in ``labels`` and bases, [m] each, sorted by position, no pair twice.
        """
        positions, roots = np.arange(len(labels)), self.find(labels)
        if not self._rows or (self._row[roots] < 0).all():
            return positions, roots
        if self._below is None:
            return self._expanded(positions, roots)
        starts, bases = self._below
        counts = starts[roots + 1] - starts[roots]
        defined = counts > 0
        counts[~defined] = 1
        owners = np.repeat(positions, counts)
        places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        below = roots[owners]
        through = np.repeat(defined, counts)
        below[through] = bases[starts[below[through]] + places[through]]
        return owners, below

    def all_bases(self, axes: Sequence[np.ndarray]) -> list[Where]:
        """What ``bases`` gives for each of many axes, looked up at once where that can be."""
        if self._rows or not axes:
            return [self.bases(axis) for axis in axes]
        roots = self.find(np.concatenate(axes))
        starts = np.cumsum([len(axis) for axis in axes])[:-1]
        return [(np.arange(len(each)), each) for each in np.split(roots, starts)]

    def _expanded(self, positions: np.ndarray, roots: np.ndarray) -> Where:
        """Pairs of a position and a base that its label comes down to, sorted."""
        done: list[np.ndarray] = []
        seen = np.zeros(0, np.int64)
        while len(roots):
            rows = self._definitions(roots)
            plain = rows[:, 0] < 0
            done.append(positions[plain] * self._count + roots[plain])
            at, column = np.nonzero(rows[~plain] >= 0)
            below = self.find(rows[~plain][at, column])
            keys = np.unique(positions[~plain][at] * self._count + below, return_index=True)[0]
            if len(seen):  # definitions may run in a circle
                found = np.minimum(np.searchsorted(seen, keys), len(seen) - 1)
                keys = keys[seen[found] != keys]
            seen = np.sort(np.append(seen, keys))
            positions, roots = keys // self._count, keys % self._count
        keys = np.unique(np.concatenate(done), return_index=True)[0]
        return keys // self._count, keys % self._count

    def settle(self) -> None:
        """Gives causes to the parts of all that must stay."""
        roots = self._defined()
        if not len(roots):
            return
        rows = self._definitions(roots)
        while True:
            frozen = self._why[roots] > 0
            parts = rows[frozen]
            owner = np.repeat(self._why[roots[frozen]], (parts >= 0).sum(1))
            below = self.find(parts[parts >= 0])
            left = self._why[below] == 0
            if not left.any():
                break
            self._why[below[left]] = owner[left]
        # what is defined by nothing that may go may not go either
        while True:
            whys = np.where(rows >= 0, self._why[self.find(np.maximum(rows, 0))], 1)
            stuck = (whys > 0).all(1) & (self._why[roots] == 0)
            if not stuck.any():
                break
            self._why[roots[stuck]] = whys[stuck, 0]
        owners, bases = self._expanded(roots, roots)
        starts = np.zeros(self._count + 1, np.int64)
        starts[1:] = np.cumsum(np.bincount(owners, minlength=self._count))
        self._below = starts, bases

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
        defined = self._defined()
        if not len(defined):
            return gone
        rows = self._definitions(defined)
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
        defined = self._defined()
        if not len(defined):
            return base
        base[defined] = False
        # a base that stands in a definition goes if all that it defines goes
        positions, below = self.bases(defined)
        defines, spared = np.zeros(self._count, bool), np.zeros(self._count, bool)
        defines[below] = True
        spared[below[~gone[defined[positions]]]] = True
        return (base | defines) & ~spared
