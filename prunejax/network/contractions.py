"""Coupling rules of sums over channels: products of matrices, convolutions, reductions."""

import numpy as np

from prunejax.network.labels import FROZEN, Axis, Labels, Shape
from prunejax.network.program import Op
from prunejax.network.values import Value

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


def reduction(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """A sum may lose terms that are 0; any other reduction keeps all its terms."""
    value, axes = inputs[0], op.params["axes"]
    for axis in axes:
        if op.name != "reduce_sum" or not value.vanishes(axis):
            labels.freeze(value.axes[axis])
    left = [axis for axis in range(len(value.axes)) if axis not in axes]
    same = op.name in ("reduce_sum", "reduce_max", "reduce_min")
    return Value(
        tuple(value.axes[axis] for axis in left),
        tuple(same and value.zero[axis] for axis in left),
        same and value.null,
    )


def cumulation(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Running sums: the axis keeps all its positions; the other axes do not mix."""
    value, axis = inputs[0], op.params["axis"]
    labels.freeze(value.axes[axis])
    same = op.name in ("cumsum", "cummax", "cummin")
    axes = tuple(None if index == axis else labels_ for index, labels_ in enumerate(value.axes))
    return Value(axes, tuple(same and zero for zero in value.zero))


def window(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Pooling: the axes of the window keep their positions; the other axes do not mix."""
    value = inputs[0]
    axes = []
    for index, axis in enumerate(value.axes):
        moves = (
            op.params["window_dimensions"][index],
            op.params["window_strides"][index],
            op.params["base_dilation"][index],
        )
        if moves != (1, 1, 1) or tuple(op.params["padding"][index]) != (0, 0):
            labels.freeze(axis)
            axis = None
        axes.append(axis)
    return Value(tuple(axes), value.zero)


def dot_general(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Ties what is multiplied; a contracted channel may go if it is 0 on either side."""
    (left_sum, right_sum), (left_batch, right_batch) = op.params["dimension_numbers"]
    left, right = inputs
    for a, b in zip(left_sum, right_sum, strict=True):
        joined = labels.join([left.axes[a], right.axes[b]])
        if not (left.vanishes(a) or right.vanishes(b)):
            labels.freeze(joined)
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
        tuple(left.vanishes(a) or right.vanishes(b) for a, b in batches)
        + tuple(value.vanishes(axis) for value, axis in free),
        left.null or right.null,
    )


def convolution(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value | None:
    """Ties the channels of the input to the kernel's; None if batches are grouped."""
    if op.params["batch_group_count"] != 1:
        return None
    numbers, groups = op.params["dimension_numbers"], op.params["feature_group_count"]
    left, right = inputs
    for axis in numbers.lhs_spec[2:]:
        labels.freeze(left.axes[axis])
    for axis in numbers.rhs_spec[2:]:
        labels.freeze(right.axes[axis])
    batch, feature = numbers.lhs_spec[:2]
    out, into = numbers.rhs_spec[:2]
    axes: list[Axis] = [None] * len(left.axes)
    zero = [False] * len(left.axes)
    axes[numbers.out_spec[0]] = left.axes[batch]
    zero[numbers.out_spec[0]] = left.vanishes(batch)
    produced = _complete(right.axes[out], shapes[1][out])
    read = _complete(left.axes[feature], shapes[0][feature])
    zero[numbers.out_spec[1]] = right.vanishes(out)
    if is_depthwise(op, shapes):
        labels.union(np.repeat(read, len(produced) // groups), produced)
        zero[numbers.out_spec[1]] |= left.vanishes(feature)
    else:
        # all groups lose the same positions, so that they stay equally wide
        weights = _complete(right.axes[into], shapes[1][into])
        labels.union(read.reshape(groups, -1), weights)
        by_group = produced.reshape(groups, -1)
        labels.union(by_group, by_group[0])
        if not (left.vanishes(feature) or right.vanishes(into)):
            labels.freeze(weights)
    axes[numbers.out_spec[1]] = produced if len(produced) > 1 else None
    return Value(tuple(axes), tuple(zero), left.null or right.null)


def is_depthwise(op: Op, shapes: list[Shape]) -> bool:
    """Whether a convolution reads one channel for each of its outputs, and has several of them."""
    numbers, groups = op.params["dimension_numbers"], op.params["feature_group_count"]
    return groups > 1 and shapes[0][numbers.lhs_spec[1]] == groups


def _complete(axis: Axis, size: int) -> np.ndarray:
    return np.full(size, FROZEN) if axis is None else axis
