"""What the coupling rules know of one array."""

from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from prunejax.network.labels import Labels
from prunejax.network.sets import Axis, Shape

KNOWN = "known"
"""At removed indices the array is what the masked network computes there, see ``complement``."""

LOOSE = np.empty(0, np.int64)
"""An axis of a loose array that may be cut."""


class Value(NamedTuple):
    """Labels of an array's axes, and what the masked network holds at removed indices.

    A channel may be left out of a sum if what it adds in the masked network is known. For each
    axis ``at`` says what all entries at removed indices along it are: a number; ``KNOWN``, where
    they are computed from what is left; or None, where that cannot be done.

    An array that no variable has a part in is loose: it is computed at its full size, and each
    operation that reads it cuts out what it needs. Of its axes only those count that are None.
    """

    axes: tuple[Axis, ...]
    at: tuple[Any, ...]
    fill: Any = None  # the number that every entry is, if that is known
    loose: bool = False

    def there(self, axis: SupportsIndex) -> Any:
        """What the entries of removed indices along an axis are, as in ``at``."""
        return self.at[axis] if self.fill is None else self.fill

    def vanishes(self, axis: SupportsIndex) -> bool:
        """Whether the entries of removed indices along an axis are 0."""
        there = self.there(axis)
        return there is not None and there is not KNOWN and there == 0

    @property
    def null(self) -> bool:
        """Whether every entry is 0."""
        return self.fill is not None and self.fill == 0


def fixed(shape: Shape) -> Value:
    """An array of which nothing can be removed."""
    return Value((None,) * len(shape), (None,) * len(shape))


def fresh(labels: Labels, shape: Shape, at: Any) -> Value:
    """An array of which any index of any axis can be removed, as far as is known yet."""
    return Value(tuple(labels.fresh(size) for size in shape), (at,) * len(shape))


def loose(shape: Shape, fill: Any = None) -> Value:
    """An array that is computed at its full size."""
    axes = tuple(None if size == 1 else LOOSE for size in shape)
    return Value(axes, (KNOWN,) * len(shape), fill, loose=True)


def given(shape: Shape) -> Value:
    """An array that is computed at its full size, and of which nothing can be cut: an input."""
    return Value((None,) * len(shape), (KNOWN,) * len(shape), loose=True)


def told(value: Value) -> Value:
    """What is known of an array without what would have to be computed: numbers alone."""
    if value.loose:
        return value
    return value._replace(at=tuple(number(value.there(axis)) for axis in range(len(value.axes))))


def frozen(labels: Labels, value: Value, why: str) -> None:
    """Freezes every axis of an array."""
    for axis in value.axes:
        labels.freeze(axis, why)


def number(there: Any) -> Any:
    """The number that entries are, None where it is not one number or not known."""
    return None if there is KNOWN else there
