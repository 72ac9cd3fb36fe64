"""Integer labels of channels: which must go together, which go with others, and which must stay."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from prunejax.network import pairing
from prunejax.network.sets import Sets

Where = tuple[np.ndarray, np.ndarray]
"""Positions along an axis, and the labels that are found there: see ``Labels.bases``."""

PARTS = 6
"""So many labels may stand in the definition of one; where there would be more, all go together."""

MISFIT = "cuts them in a way that does not fit another one"

DEEPEST = 12
"""So many definitions may follow from one another."""


class Labels(Sets):
    """Sets of labels, and labels that others define.

    A label may be *defined* by others, its parts: it goes if, and only if, one of them goes. Where
    an axis of 24 channels is cut into 4 heads of width 6, the label of each channel is defined by
    that of its head and that of its place within the head.
    """

    def __init__(self) -> None:
        super().__init__()
        self._row = np.zeros(0, np.int32)  # of a label's definition in `_parts`; made when needed
        self._parts = np.zeros((0, PARTS), np.int64)  # -1 behind the last part
        self._rows = 0
        self._depth = 0
        self._below: Where | None = None  # see `bases`, once settled

    def make(self, size: int) -> np.ndarray:
        """Makes any number of new labels, [size]."""
        made = super().make(size)
        if self._rows and len(self._row) < len(self._parents):
            more = np.full(len(self._parents) - len(self._row), -1, np.int32)
            self._row = np.append(self._row, more)
        return made

    def _merge(self, low: np.ndarray, high: np.ndarray) -> None:
        super()._merge(low, high)
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
        self._waits = False  # from now on what is known of a set changes with each tie
        stays = self._why[roots] > 0
        if stays.any():
            self._stop_parts(rows[stays], self._why[roots[stays]])
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

    def _stop(self, labels: np.ndarray, causes: Any) -> tuple[np.ndarray, np.ndarray]:
        roots, causes = super()._stop(labels, causes)
        if self._rows and len(roots):
            self._stop_parts(self._definitions(roots), causes)
        return roots, causes

    def _stop_parts(self, rows: np.ndarray, causes: np.ndarray) -> None:
        """Gives the parts in definitions, [n, PARTS], the causes of what they define, [n]."""
        present = rows >= 0
        self._stop(rows[present], np.repeat(causes, present.sum(1)))

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
