"""Coupling rules of primitives that move entries without changing them."""

import math
from typing import Any

import numpy as np

from prunejax.network.labels import FROZEN, Axis, Labels, Shape
from prunejax.network.program import Op
from prunejax.network.reshaping import Choose, reshape
from prunejax.network.values import Value


def broadcast_in_dim(
    labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape], shape: Shape
) -> Value:
    """New axes may shrink freely."""
    axes = [labels.fresh(size) for size in shape]
    zero = [False] * len(shape)
    for index, axis in enumerate(op.params["broadcast_dimensions"]):
        if shapes[0][index] == shape[axis]:
            axes[axis], zero[axis] = inputs[0].axes[index], inputs[0].zero[index]
    return Value(tuple(axes), tuple(zero), inputs[0].null, inputs[0].fill)


def iota(labels: Labels, op: Op, shape: Shape) -> Value:
    """Counts along one axis, which must keep its length; the others may shrink freely."""
    axes = [labels.fresh(size) for size in shape]
    axes[op.params["dimension"]] = None
    return Value(tuple(axes), (False,) * len(shape))


def squeeze(op: Op, inputs: list[Value]) -> Value:
    """Drops axes of length 1."""
    left = [axis for axis in range(len(inputs[0].axes)) if axis not in op.params["dimensions"]]
    return _pick(inputs[0], left)


def transpose(op: Op, inputs: list[Value]) -> Value:
    """Permutes the axes."""
    return _pick(inputs[0], list(op.params["permutation"]))


def reverse(op: Op, inputs: list[Value]) -> Value:
    """Turns axes around, and their labels with them."""
    value = inputs[0]
    axes = tuple(
        axis[::-1] if axis is not None and index in op.params["dimensions"] else axis
        for index, axis in enumerate(value.axes)
    )
    return value._replace(axes=axes)


def concatenate(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """Puts labels side by side along one axis, and ties the others."""
    along = op.params["dimension"]
    axes: list[Axis] = []
    for index in range(len(shapes[0])):
        parts = [value.axes[index] for value in inputs]
        if index != along:
            axes.append(labels.join(parts))
        elif all(part is None for part in parts):
            axes.append(None)
        else:
            axes.append(
                np.concatenate(
                    [
                        np.full(shape[index], FROZEN) if part is None else part
                        for part, shape in zip(parts, shapes, strict=True)
                    ]
                )
            )
    # where nothing can be removed, nothing needs to be 0
    zero = tuple(
        all(
            value.vanishes(index) or (index == along and value.axes[index] is None)
            for value in inputs
        )
        for index in range(len(axes))
    )
    return Value(tuple(axes), zero, all(value.null for value in inputs))


def stack(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Ties arrays of one shape; the new axis keeps its length."""
    rank = len(inputs[0].axes)
    axes = [labels.join([value.axes[index] for value in inputs]) for index in range(rank)]
    zero = [all(value.vanishes(index) for value in inputs) for index in range(rank)]
    axes.insert(op.params["axis"], None)
    zero.insert(op.params["axis"], False)
    return Value(tuple(axes), tuple(zero), all(value.null for value in inputs))


def unstack(labels: Labels, op: Op, inputs: list[Value], count: int) -> list[Value]:
    """Takes an axis apart, every index of which is then read on its own and must stay."""
    along = op.params["axis"]
    labels.freeze(inputs[0].axes[along])
    left = [index for index in range(len(inputs[0].axes)) if index != along]
    return [_pick(inputs[0], left)] * count


def tile(op: Op, inputs: list[Value]) -> Value:
    """Repeats the labels with the entries."""
    axes = tuple(
        None if axis is None else np.tile(axis, int(count))
        for axis, count in zip(inputs[0].axes, op.params["reps"], strict=True)
    )
    return inputs[0]._replace(axes=axes)


def split(labels: Labels, op: Op, inputs: list[Value]) -> list[Value]:
    """Cuts one axis, and its labels, into pieces."""
    value, along = inputs[0], op.params["axis"]
    outputs, start = [], 0
    for size in map(int, op.params["sizes"]):
        axes = list(value.axes)
        axes[along] = _part(labels, axes[along], start, start + size)
        outputs.append(value._replace(axes=tuple(axes)))
        start += size
    return outputs


def cut(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """A slice of adjacent channels keeps their labels; one with gaps freezes them."""
    strides = op.params["strides"] or (1,) * len(shapes[0])
    axes = []
    for axis, start, end, stride in zip(
        inputs[0].axes,
        op.params["start_indices"],
        op.params["limit_indices"],
        strides,
        strict=True,
    ):
        if stride != 1:
            labels.freeze(axis)
            axis = None
        axes.append(_part(labels, axis, start, end))
    return inputs[0]._replace(axes=tuple(axes))


def pad(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Padded channels may go on their own; padding between channels freezes them."""
    value, filling = inputs
    axes: list[Axis] = []
    for axis, (low, high, between) in zip(value.axes, op.params["padding_config"], strict=True):
        if (low, high, between) == (0, 0, 0) or axis is None:
            axes.append(axis)
        elif between or low < 0 or high < 0:
            labels.freeze(axis)
            axes.append(None)
        else:
            axes.append(np.concatenate([labels.make(int(low)), axis, labels.make(int(high))]))
    return Value(
        tuple(axes),
        tuple(zero and filling.null for zero in value.zero),
        value.null and filling.null,
    )


def gather(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape], shape: Shape) -> Value:
    """Looked-up rows (embeddings): axes that are taken whole keep their labels."""
    numbers, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    for axis in inputs[1].axes:
        labels.freeze(axis)
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    window = [axis for axis in range(len(shapes[0])) if axis not in gone]
    whole = dict(zip(window, numbers.offset_dims, strict=True))
    axes: list[Axis] = [None] * len(shape)
    zero = [False] * len(shape)
    # what is looked up outside of the array is another number; NaN shows in the channels kept too
    filling = op.params.get("fill_value")
    filled = filling is not None and filling == filling and filling != 0
    for axis, size in enumerate(shapes[0]):
        if axis in whole and sizes[axis] == size and axis not in numbers.start_index_map:
            axes[whole[axis]] = inputs[0].axes[axis]
            zero[whole[axis]] = inputs[0].zero[axis] and not filled
        else:
            labels.freeze(inputs[0].axes[axis])
    return Value(tuple(axes), tuple(zero))


def dynamic_slice(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """Axes that are taken whole keep their labels."""
    axes = []
    for axis, size, taken in zip(inputs[0].axes, shapes[0], op.params["slice_sizes"], strict=True):
        if size != taken:
            labels.freeze(axis)
        axes.append(axis if size == taken else None)
    return inputs[0]._replace(axes=tuple(axes))


def reshaped(
    labels: Labels, inputs: list[Value], shapes: list[Shape], shape: Shape, choose: Choose
) -> Value:
    """A new shape of the same entries; arrays without entries are left out of it."""
    if math.prod(shape) == 0:
        return Value((None,) * len(shape), (False,) * len(shape))
    return reshape(labels, inputs[0], shapes[0], shape, choose)


def _pick(value: Value, order: list[int]) -> Value:
    return Value(
        tuple(value.axes[axis] for axis in order),
        tuple(value.zero[axis] for axis in order),
        value.null,
    )


def _part(labels: Labels, axis: Axis, start: Any, end: Any) -> Axis:
    if axis is None:
        return None
    if end - start == 1:  # a single channel that is read on its own must stay
        labels.freeze(axis[start:end])
        return None
    return axis[start:end]
