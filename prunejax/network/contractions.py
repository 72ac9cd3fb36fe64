"""Coupling rules of sums over channels: products of matrices, convolutions, reductions."""

from typing import Any

import numpy as np

from prunejax.network.labels import Labels
from prunejax.network.program import Op
from prunejax.network.sets import FROZEN, Axis, Shape
from prunejax.network.values import KNOWN, Value, number

REDUCTIONS = frozenset(
    (
        "reduce_sum",
        "reduce_max",
        "reduce_min",
        "reduce_prod",
        "reduce_and",
        "reduce_or",
        "argmax",
        "argmin",
    )
)
CUMULATIONS = frozenset(
    (
        "cumsum",
        "cumprod",
        "cummax",
        "cummin",
        "cumlogsumexp",
    )
)
WINDOWS = frozenset(("reduce_window_sum", "reduce_window_max", "reduce_window_min"))

MERGED = {
    "reduce_sum": "add",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "mul",
    "reduce_and": "and",
    "reduce_or": "or",
    "psum": "add",
    "pmax": "max",
    "pmin": "min",
}
"""The reductions that may leave entries out if they are known, and what puts two results in one."""

SAME_FOR_EQUAL = ("reduce_max", "reduce_min", "reduce_and", "reduce_or", "pmax", "pmin")
"""The reductions that give the number that all entries are."""

UNKNOWN_TERMS = "sums over them, and what a masked one adds is not known"

UNKNOWN_ENTRIES = "takes account of all of them, and what a masked one holds is not known"


def reduction(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """A sum may lose terms that are known; so may a maximum, not the place of one."""
    value, axes = inputs[0], op.params["axes"]
    for axis in axes:
        if op.name not in MERGED:
            labels.freeze(value.axes[axis], "needs the place of each among all of them")
        elif value.there(axis) is None:
            sums = MERGED[op.name] == "add"
            labels.freeze(value.axes[axis], UNKNOWN_TERMS if sums else UNKNOWN_ENTRIES)
    left = [axis for axis in range(len(value.axes)) if axis not in axes]
    return Value(
        tuple(value.axes[axis] for axis in left),
        tuple(reduced(op.name, value.there(axis)) for axis in left),
        value.fill if value.fill is not None and _keeps(op.name, value.fill) else None,
    )


def reduced(name: str, there: Any) -> Any:
    """What a reduction over other axes gives where entries are known."""
    if there is None or name not in MERGED:
        return None
    return there if number(there) is not None and _keeps(name, there) else KNOWN


def _keeps(name: str, entry: Any) -> bool:
    return name in SAME_FOR_EQUAL or (name in ("reduce_sum", "psum") and entry == 0)


def cumulation(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Running sums: the axis keeps all its positions; the other axes do not mix."""
    value, along = inputs[0], op.params["axis"]
    labels.freeze(value.axes[along], "runs over them in their order")
    at = []
    for axis in range(len(value.axes)):
        there = value.there(axis)
        same = op.name in ("cummax", "cummin") or (op.name == "cumsum" and there == 0)
        at.append(there if there is None or same else KNOWN)
    axes = tuple(None if index == along else axis for index, axis in enumerate(value.axes))
    return Value(axes, tuple(at))


def window(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Pooling: the axes of the window keep their positions; the other axes do not mix."""
    value = inputs[0]
    axes, at = [], []
    dilated = any(size != 1 for size in op.params["base_dilation"])
    padded = dilated or any(tuple(ends) != (0, 0) for ends in op.params["padding"])
    for index, axis in enumerate(value.axes):
        moves = (
            op.params["window_dimensions"][index],
            op.params["window_strides"][index],
            op.params["base_dilation"][index],
        )
        if moves != (1, 1, 1) or tuple(op.params["padding"][index]) != (0, 0):
            labels.freeze(axis, "slides a window over them")
            axis = None
        axes.append(axis)
        there = value.there(index)
        # a sum of equal numbers is another one, and a window may lie in the padding alone
        same = there == 0 if op.name == "reduce_window_sum" else not padded
        at.append(there if there is None or same else KNOWN)
    return Value(tuple(axes), tuple(at))


def dot_general(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Ties what is multiplied; a contracted channel may go if what it adds is known."""
    (left_sum, right_sum), (left_batch, right_batch) = op.params["dimension_numbers"]
    left, right = inputs
    for a, b in zip(left_sum, right_sum, strict=True):
        joined = labels.join([left.axes[a], right.axes[b]])
        if joined is not None and not summable(left.there(a), right.there(b)):
            labels.freeze(joined, UNKNOWN_TERMS)
    batches = list(zip(left_batch, right_batch, strict=True))
    free = [
        (value, axis)
        for value, used in (
            (left, {*left_sum, *left_batch}),
            (right, {*right_sum, *right_batch}),
        )
        for axis in range(len(value.axes))
        if axis not in used
    ]
    return Value(
        tuple(labels.join([left.axes[a], right.axes[b]]) for a, b in batches)
        + tuple(value.axes[axis] for value, axis in free),
        tuple(times(left.there(a), right.there(b)) for a, b in batches)
        + tuple(times(value.there(axis), KNOWN) for value, axis in free),
        0 if left.null or right.null else None,
    )


def summable(left: Any, right: Any) -> bool:
    """Whether products are known where both factors are what they are at removed indices."""
    return times(left, right) is not None


def times(left: Any, right: Any) -> Any:
    """A sum of products, from what the factors are at removed indices; 0 makes it 0."""
    for there in (left, right):
        if number(there) is not None and there == 0:
            return 0
    return None if left is None or right is None else KNOWN


def convolution(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value | None:
    """Ties the channels of the input to the kernel's; None if batches are grouped.

    Of a convolution in groups whole groups may go, and the same places in all of them.
    """
    if op.params["batch_group_count"] != 1:
        return None
    numbers, groups = op.params["dimension_numbers"], op.params["feature_group_count"]
    left, right = inputs
    for value, spec in ((left, numbers.lhs_spec), (right, numbers.rhs_spec)):
        for axis in spec[2:]:
            labels.freeze(value.axes[axis], "slides a window over them")
    batch, feature = numbers.lhs_spec[:2]
    out, into = numbers.rhs_spec[:2]
    axes: list[Axis] = [None] * len(left.axes)
    at: list[Any] = [None] * len(left.axes)
    axes[numbers.out_spec[0]] = left.axes[batch]
    at[numbers.out_spec[0]] = times(left.there(batch), KNOWN)
    produced = _complete(right.axes[out], shapes[1][out])
    at[numbers.out_spec[1]] = times(right.there(out), KNOWN)
    if groups == 1:
        joined = labels.join([left.axes[feature], right.axes[into]])
        if joined is not None and not summable(left.there(feature), right.there(into)):
            labels.freeze(joined, UNKNOWN_TERMS)
    else:
        read = _complete(left.axes[feature], shapes[0][feature])
        width, depth = len(read) // groups, len(produced) // groups
        group = labels.make(groups)
        places = np.zeros(0, np.int64)
        if width > 1:
            places = _complete(right.axes[into], width)
            labels.define(read, [np.repeat(group, width), np.tile(places, groups)])
            if times(left.there(feature), right.there(into)) != 0:
                labels.freeze(places, UNKNOWN_TERMS)
        else:
            labels.union(read, group)
        if depth > 1:
            labels.define(produced, [np.repeat(group, depth), np.tile(labels.make(depth), groups)])
        else:
            labels.union(produced, group)
        # of a group that goes kernel and input are both left out
        if at[numbers.out_spec[1]] != 0 or number(at[numbers.out_spec[1]]) is None:
            vanish = times(left.there(feature), KNOWN)
            at[numbers.out_spec[1]] = vanish if vanish == 0 and width == 1 == depth else None
    axes[numbers.out_spec[1]] = produced if len(produced) > 1 else None
    return Value(tuple(axes), tuple(at), 0 if left.null or right.null else None)


def _complete(axis: Axis, size: int) -> np.ndarray:
    return np.full(size, FROZEN) if axis is None else axis
