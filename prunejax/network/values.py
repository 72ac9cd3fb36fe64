"""What the coupling rules know of one array."""

from typing import Any, NamedTuple, SupportsIndex

from prunejax.network.labels import Axis, Labels, Shape


class Value(NamedTuple):
    """Labels of an array's axes, and where the masked network holds zeros in it.

    A removed channel may be left out of a sum only if it adds 0 to it in the masked network, which
    ``zero`` records: along that axis, all entries at removed indices are exactly 0.
    """

    axes: tuple[Axis, ...]
    zero: tuple[bool, ...]
    null: bool = False  # every entry is 0
    fill: Any = None  # the number that every entry is, if that is known

    def vanishes(self, axis: SupportsIndex) -> bool:
        """Whether the entries of removed indices along an axis are 0."""
        return self.null or self.zero[axis]


def fixed(shape: Shape) -> Value:
    """An array of which nothing can be removed."""
    return Value((None,) * len(shape), (False,) * len(shape))


def fresh(labels: Labels, shape: Shape, *, zero: bool, fill: Any = None) -> Value:
    """An array of which any index of any axis can be removed, as far as is known yet."""
    null = fill is not None and fill == 0
    axes = tuple(labels.fresh(size) for size in shape)
    return Value(axes, (zero or null,) * len(shape), null, fill)


def frozen(labels: Labels, value: Value) -> None:
    """Freezes every axis of an array."""
    for axis in value.axes:
        labels.freeze(axis)
