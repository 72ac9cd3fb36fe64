"""Integer labels of channels, and which of them must be kept or removed together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.export import is_symbolic_dim

FROZEN = 0
"""The label of everything that must stay: inputs, outputs, positions."""

Axis = np.ndarray | None
"""The label of each index of an axis; None where nothing can be removed."""

Shape = tuple[Any, ...]
"""Sizes of axes: integers, and the symbolic ones of ``jax.export`` for a batch of any size."""


class Labels:
    """Union-find over integers; the smallest of a set stands for it, so that FROZEN always wins."""

    def __init__(self) -> None:
        self._parents = np.zeros(1024, np.int64)
        self._count = 1
        self.born = 1  # labels from here on were not given to a variable

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
        first, second = np.broadcast_arrays(first, second)
        first, second = self.find(first.ravel()), self.find(second.ravel())
        differ = first != second
        for a, b in zip(first[differ].tolist(), second[differ].tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low

    def freeze(self, axis: Axis) -> None:
        """Ties an axis to what must stay."""
        if axis is not None:
            self.union(axis, np.asarray(FROZEN))

    def join(self, axes: Sequence[Axis]) -> Axis:
        """Ties axes of one length to each other, all of them frozen if one is.

        Args:
          axes: one axis or more.

        Returns:
          The axis they have become.
        """
        if any(axis is None for axis in axes):
            for axis in axes:
                self.freeze(axis)
            return None
        present = [axis for axis in axes if axis is not None]
        for axis in present[1:]:
            self.union(present[0], axis)
        return present[0]

    def free(self, axis: Axis) -> bool:
        """Whether any index of the axis can be removed."""
        return axis is not None and bool(np.any(self.find(axis) != FROZEN))

    def rooted(self, axis: Axis) -> bool:
        """Whether an index of the axis that can be removed is tied to a variable's."""
        if axis is None:
            return False
        roots = self.find(axis)
        return bool(np.any((roots != FROZEN) & (roots < self.born)))

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            label = int(self._parents[label])
        return label
