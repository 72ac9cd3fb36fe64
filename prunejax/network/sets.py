"""Sets of labels that go together, and why some of them must stay."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.export import is_symbolic_dim

FROZEN = 0
"""A label of what must stay: positions, what is given, what is returned."""

Axis = np.ndarray | None
"""The label of each index of an axis; None where nothing can be removed."""

Shape = tuple[Any, ...]
"""Sizes of axes: integers, and the symbolic ones of ``jax.export`` for a batch of any size."""

TIED = "ties them to what stays whole"


class Cause(NamedTuple):
    """Why channels must stay.

    Attributes:
      op: the operation that needs them, or None.
      why: what it does with them.
    """

    op: Any
    why: str


class Sets:
    """Union-find over integers. Labels of one set go together; one that must stay has a cause.

    Ties and causes wait until something is asked, so that many are followed at once.

    Attributes:
      causes: why sets must stay, by the numbers that ``reasons`` gives.
      op: the operation that ``freeze`` gives as the cause.
    """

    def __init__(self) -> None:
        self._parents = np.zeros(1024, np.int64)
        self._why = np.zeros(1024, np.int32)  # of the label that stands for a set; 0: it may go
        self._count = 1
        self._why[FROZEN] = 1
        self.causes: list[Cause] = [Cause(None, ""), Cause(None, "are positions")]
        self._numbers: dict[tuple[int, str], int] = {}
        self.op: Any = None
        self._waits = True
        self._ties: list[tuple[np.ndarray, np.ndarray, int]] = []
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
        self._ties.append((first.ravel(), second.ravel(), self._cause(TIED)))
        if not self._waits:
            self._follow()

    def _follow(self) -> None:
        """Does what waits: all ties at once, then the causes in their order."""
        ties, self._ties = self._ties, []
        stops, self._stops = self._stops, []
        if ties:
            first, second, causes = zip(*ties, strict=True)
            causes = np.repeat(causes, [len(each) for each in first])
            self._tie(np.concatenate(first), np.concatenate(second), causes)
        if stops:
            labels, causes = zip(*stops, strict=True)
            causes = np.repeat(causes, [len(each) for each in labels])
            self._stop(np.concatenate(labels), causes)

    def _tie(self, first: np.ndarray, second: np.ndarray, causes: np.ndarray) -> None:
        """Ties labels pair by pair, [n] each; a tie to ``FROZEN`` gives a cause."""
        while True:
            first, second = self.find(first), self.find(second)
            differ = first != second
            if not differ.any():
                return
            first, second, causes = first[differ], second[differ], causes[differ]
            low, high = np.minimum(first, second), np.maximum(first, second)
            pinned = low == FROZEN
            if pinned.any():
                self._stop(high[pinned], causes[pinned])
                low, high, causes = low[~pinned], high[~pinned], causes[~pinned]
                first, second = low, high
            self._parents[high] = low
            won = self._parents[high] == low  # of several for one label the last one wins
            self._merge(low[won], high[won])

    def _merge(self, low: np.ndarray, high: np.ndarray) -> None:
        """What was known of the labels that no longer stand for their sets."""
        why, other = self._why[low], self._why[high]
        mixed = (why > 0) != (other > 0)
        if mixed.any():
            self._stop(low[mixed], np.maximum(why, other)[mixed])

    def _stop(self, labels: np.ndarray, causes: Any) -> tuple[np.ndarray, np.ndarray]:
        """Gives causes to the sets of labels that have none; of several the first.

        Args:
          labels: [n].
          causes: their numbers, [n], or one for all.

        Returns:
          The labels that stand for the sets that have one now, and the causes.
        """
        roots = self.find(labels)
        new = self._why[roots] == 0
        roots, causes = roots[new], np.broadcast_to(causes, roots.shape)[new]
        self._why[roots[::-1]] = causes[::-1]  # of several for one set the last assigned stays
        return roots, causes

    def freeze(self, axis: Axis, why: str) -> None:
        """Says that an axis must stay whole.

        Args:
          axis: its labels.
          why: what needs it, "sorts them" for example; the operation is ``op``.
        """
        if axis is None:
            return
        self._stops.append((axis.ravel(), self._cause(why)))
        if not self._waits:
            self._follow()

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
