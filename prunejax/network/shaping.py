"""Coupling rules of primitives that move entries without changing them."""

from typing import Any

import numpy as np

from prunejax.network.labels import Labels
from prunejax.network.program import Op
from prunejax.network.sets import FROZEN, Axis, Shape
from prunejax.network.values import KNOWN, Value

ALONE = "reads it on its own"


def broadcast_in_dim(
    labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape], shape: Shape
) -> Value:
    """New axes may shrink freely."""
    axes = [labels.fresh(size) for size in shape]
    at: list[Any] = [KNOWN] * len(shape)
    for index, axis in enumerate(op.params["broadcast_dimensions"]):
        if shapes[0][index] == shape[axis]:
            axes[axis], at[axis] = inputs[0].axes[index], inputs[0].there(index)
    return Value(tuple(axes), tuple(at), inputs[0].fill)


def squeeze(op: Op, inputs: list[Value]) -> Value:
    """Drops axes of length 1."""
    left = [axis for axis in range(len(inputs[0].axes)) if axis not in op.params["dimensions"]]
    return pick(inputs[0], left)


def transpose(op: Op, inputs: list[Value]) -> Value:
    """Permutes the axes."""
    return pick(inputs[0], list(op.params["permutation"]))


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
            whole = [
                labels.fresh(shape[index]) if part is None and shape[index] != 1 else part
                for part, shape in zip(parts, shapes, strict=True)
            ]
            for part, given in zip(whole, parts, strict=True):
                if given is None:
                    labels.freeze(part, "puts them beside positions")
            axes.append(
                np.concatenate([np.full(1, FROZEN) if part is None else part for part in whole])
            )
    # where nothing can be removed, nothing needs to be known
    at = [
        alike(
            [
                value.there(index)
                for value in inputs
                if index != along or value.axes[index] is not None
            ]
        )
        for index in range(len(axes))
    ]
    return Value(tuple(axes), tuple(at), _one([value.fill for value in inputs]))


def alike(there: list[Any]) -> Any:
    """What several arrays are at removed indices: their number if it is the same."""
    if any(each is None for each in there) or not there:
        return None
    first = there[0]
    if any((each is KNOWN) != (first is KNOWN) for each in there):
        return KNOWN
    return first if first is KNOWN or all(each == first for each in there) else KNOWN


def _one(fills: list[Any]) -> Any:
    known = all(fill is not None for fill in fills)
    return fills[0] if known and all(fill == fills[0] for fill in fills) else None


def stack(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Ties arrays of one shape; the new axis keeps its length."""
    rank = len(inputs[0].axes)
    axes = [labels.join([value.axes[index] for value in inputs]) for index in range(rank)]
    at = [alike([value.there(index) for value in inputs]) for index in range(rank)]
    axes.insert(op.params["axis"], None)
    at.insert(op.params["axis"], None)
    return Value(tuple(axes), tuple(at), _one([value.fill for value in inputs]))


def unstack(labels: Labels, op: Op, inputs: list[Value], count: int) -> list[Value]:
    """Takes an axis apart, every index of which is then read on its own and must stay."""
    along = op.params["axis"]
    labels.freeze(inputs[0].axes[along], "reads each of them on its own")
    left = [index for index in range(len(inputs[0].axes)) if index != along]
    return [pick(inputs[0], left)] * count


def tile(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """Repeats the labels with the entries; copies of a single entry may shrink freely."""
    value = inputs[0]
    axes, at = list(value.axes), list(value.at)
    for axis, count in enumerate(map(int, op.params["reps"])):
        if shapes[0][axis] == 1 and count > 1:
            axes[axis], at[axis] = labels.fresh(count), KNOWN
        elif (labelled := value.axes[axis]) is not None:
            axes[axis] = np.tile(labelled, count)
    return value._replace(axes=tuple(axes), at=tuple(at))


def split(labels: Labels, op: Op, inputs: list[Value]) -> list[Value]:
    """Cuts one axis, and its labels, into pieces."""
    value, along = inputs[0], op.params["axis"]
    outputs, start = [], 0
    for size in map(int, op.params["sizes"]):
        axes = list(value.axes)
        axes[along] = _part(labels, axes[along], start, start + size, 1)
        outputs.append(value._replace(axes=tuple(axes)))
        start += size
    return outputs


def cut(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """A slice of channels keeps their labels."""
    strides = op.params["strides"] or (1,) * len(shapes[0])
    axes = [
        _part(labels, axis, start, end, stride)
        for axis, start, end, stride in zip(
            inputs[0].axes,
            op.params["start_indices"],
            op.params["limit_indices"],
            strides,
            strict=True,
        )
    ]
    return inputs[0]._replace(axes=tuple(axes))


def pad(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """Padded channels may go on their own; padding between channels freezes them."""
    value, filling = inputs
    axes: list[Axis] = []
    at: list[Any] = []
    for index, (low, high, between) in enumerate(op.params["padding_config"]):
        axis, there = value.axes[index], value.there(index)
        if (low, high, between) == (0, 0, 0) or axis is None:
            pass
        elif between or low < 0 or high < 0:
            labels.freeze(axis, "pads between them, or takes some away at an end")
            axis = None
        else:
            axis = np.concatenate([labels.make(int(low)), axis, labels.make(int(high))])
        padded = filling.fill if filling.fill is not None else KNOWN
        axes.append(axis)
        at.append(alike([there, padded]))
    return Value(tuple(axes), tuple(at), _one([value.fill, filling.fill]))


def pick(value: Value, order: list[int]) -> Value:
    """Some axes of an array in some order, the others being of length 1 or read on their own."""
    return Value(
        tuple(value.axes[axis] for axis in order),
        tuple(value.at[axis] for axis in order),
        value.fill,
    )


def _part(labels: Labels, axis: Axis, start: Any, end: Any, stride: int) -> Axis:
    if axis is None:
        return None
    taken = axis[start:end:stride]
    if len(taken) == 1:  # a single channel that is read on its own must stay
        labels.freeze(taken, ALONE)
        return None
    return taken
