"""Coupling rules of primitives that look entries up, put them in places, or sort them."""

from typing import Any

import numpy as np

from prunejax.network.contractions import UNKNOWN_TERMS, times
from prunejax.network.labels import Labels
from prunejax.network.program import Op
from prunejax.network.sets import Axis, Shape
from prunejax.network.shaping import alike
from prunejax.network.values import KNOWN, Value, number

SCATTERS = frozenset(
    (
        "scatter",
        "scatter-add",
        "scatter_add",
        "scatter_sub",
        "scatter-sub",
        "scatter_mul",
        "scatter-mul",
        "scatter_min",
        "scatter_max",
        "scatter-min",
        "scatter-max",
    )
)

LOOKED_UP = "looks some of them up by numbers that are computed"


def windows(op: Op, rank: int) -> dict[int, int]:
    """The axes of an array that a gather or a scatter moves in windows.

    Args:
      op: the operation.
      rank: of the array.

    Returns:
      For each such axis that of the gather's result, or of the scatter's updates.
    """
    numbers = op.params["dimension_numbers"]
    if op.name == "gather":
        dropped, moved = numbers.collapsed_slice_dims, numbers.offset_dims
    else:
        dropped, moved = numbers.inserted_window_dims, numbers.update_window_dims
    gone = {*dropped, *numbers.operand_batching_dims}
    return dict(zip((axis for axis in range(rank) if axis not in gone), moved, strict=True))


def gather(
    labels: Labels,
    op: Op,
    inputs: list[Value],
    shapes: list[Shape],
    shape: Shape,
    places: np.ndarray | None,
) -> Value:
    """Looked-up entries: axes that are taken whole keep their labels.

    Args:
      labels: the labels so far.
      op: the operation.
      inputs: the array and the numbers of what is looked up.
      shapes: their shapes.
      shape: the result's.
      places: the numbers, where they are constants, [..., axes].

    Returns:
      The result.
    """
    numbers, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    value = inputs[0]
    moved = taken_along(op, shapes, places)
    for axis in inputs[1].axes[:-1] if moved is not None else inputs[1].axes:
        labels.freeze(axis, "looks up by them")
    whole = windows(op, len(shapes[0]))
    axes: list[Axis] = [None] * len(shape)
    at: list[Any] = [None] * len(shape)
    # what is looked up outside of the array is another number; NaN shows in the channels kept too
    filling = op.params.get("fill_value")
    filled = filling is not None and filling == filling and filling != 0
    for axis, size in enumerate(shapes[0]):
        if moved is not None and axis == moved[0]:
            labelled = value.axes[axis]
            if labelled is not None:
                taken = labelled[moved[2]]
                axes[moved[1]] = taken if len(taken) > 1 else None
                at[moved[1]] = value.there(axis)
                if len(taken) == 1:
                    labels.freeze(taken, "reads it on its own")
        elif axis in whole and sizes[axis] == size and axis not in numbers.start_index_map:
            there = value.there(axis)
            axes[whole[axis]] = value.axes[axis]
            at[whole[axis]] = None if filled else there if number(there) == 0 else _moved(there)
        else:
            labels.freeze(value.axes[axis], LOOKED_UP)
    return Value(tuple(axes), tuple(at))


def _moved(there: Any) -> Any:
    return None if there is None else KNOWN


def taken_along(
    op: Op, shapes: list[Shape], places: np.ndarray | None
) -> tuple[int, int, np.ndarray] | None:
    """Of a gather that takes constant indices along one axis: that axis, its axis in the result,
    and the indices, [n]; None of any other."""
    numbers, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    if places is None or len(numbers.start_index_map) != 1 or numbers.operand_batching_dims:
        return None
    (axis,) = numbers.start_index_map
    indices = places.reshape(-1)
    if (
        tuple(numbers.collapsed_slice_dims) != (axis,)
        or places.ndim != 2
        or any(size != sizes[index] for index, size in enumerate(shapes[0]) if index != axis)
        or indices.size == 0
        or indices.min() < 0
        or indices.max() >= shapes[0][axis]
    ):
        return None
    rank = len(shapes[0])
    (result,) = set(range(rank)) - set(numbers.offset_dims)
    return axis, result, indices


def dynamic_slice(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """Axes that are taken whole keep their labels."""
    axes = []
    for axis, size, taken in zip(inputs[0].axes, shapes[0], op.params["slice_sizes"], strict=True):
        if size != taken:
            labels.freeze(axis, LOOKED_UP)
        axes.append(axis if size == taken else None)
    return inputs[0]._replace(axes=tuple(axes))


def dynamic_update_slice(labels: Labels, inputs: list[Value], shapes: list[Shape]) -> Value:
    """Axes that are replaced whole keep their labels, and share them with what comes in."""
    into, update = inputs[:2]
    axes: list[Axis] = []
    for index, (size, part) in enumerate(zip(*shapes[:2], strict=True)):
        if size == part:
            axes.append(labels.join([into.axes[index], update.axes[index]]))
        else:
            labels.freeze(into.axes[index], "replaces some of them")
            labels.freeze(update.axes[index], "puts them in places")
            axes.append(None)
    at = [alike([into.there(axis), update.there(axis)]) for axis in range(len(axes))]
    return Value(tuple(axes), tuple(at))


def scatter(labels: Labels, op: Op, inputs: list[Value], shapes: list[Shape]) -> Value:
    """Entries put in places: axes that the updates cover whole do not mix."""
    into, places, updates = inputs
    numbers = op.params["dimension_numbers"]
    for axis in places.axes:
        labels.freeze(axis, "puts entries in places by them")
    covered = windows(op, len(shapes[0]))
    axes: list[Axis] = []
    at: list[Any] = []
    for axis, size in enumerate(shapes[0]):
        source = covered.get(axis)
        if (
            source is not None
            and shapes[2][source] == size
            and axis not in numbers.scatter_dims_to_operand_dims
        ):
            axes.append(labels.join([into.axes[axis], updates.axes[source]]))
            at.append(_scattered(op, into.there(axis), updates.there(source)))
        else:
            labels.freeze(into.axes[axis], "puts entries in some of them")
            axes.append(None)
            at.append(None)
    for source, axis in enumerate(updates.axes):
        target = next((a for a, s in covered.items() if s == source), None)
        if target is None or axes[target] is None:
            labels.freeze(axis, "puts them in places")
    return Value(tuple(axes), tuple(at))


def _scattered(op: Op, into: Any, updates: Any) -> Any:
    name, update = op.name, getattr(op.params.get("update_jaxpr"), "jaxpr", None)
    update = update or op.params.get("update_jaxpr")
    if name == "scatter" and update is not None and update.outvars[0] is not update.invars[1]:
        # a function of what is there, as `.at[].apply` puts it in
        return None if into is None or updates is None else KNOWN
    if name.endswith(("mul",)):
        return 0 if number(into) is not None and into == 0 else alike([into, updates]) and KNOWN
    both = alike([into, updates])
    if both is None or both is KNOWN:
        return both
    return both if both == 0 or not name.endswith(("add", "sub")) else KNOWN


def sort(labels: Labels, op: Op, inputs: list[Value]) -> list[Value]:
    """Arrays sorted together along one axis, which keeps its length."""
    along = op.params["dimension"]
    for value in inputs:
        labels.freeze(value.axes[along], "sorts them")
    axes = tuple(
        None if axis == along else labels.join([value.axes[axis] for value in inputs])
        for axis in range(len(inputs[0].axes))
    )
    known = [all(value.there(axis) is not None for value in inputs) for axis in range(len(axes))]
    outputs = []
    for value in inputs:
        at = [
            value.there(axis)
            if number(value.there(axis)) is not None
            else KNOWN
            if known[axis]
            else None
            for axis in range(len(axes))
        ]
        outputs.append(Value(axes, tuple(at)))
    return outputs


def top_k(labels: Labels, op: Op, inputs: list[Value], count: int) -> list[Value]:
    """The largest along one axis, which keeps its length, and where they are."""
    value = inputs[0]
    along = op.params.get("axis", -1) % len(value.axes)
    labels.freeze(value.axes[along], "takes the largest of them")
    axes = tuple(None if index == along else axis for index, axis in enumerate(value.axes))
    largest = Value(axes, tuple(value.there(axis) for axis in range(len(axes))))
    where = tuple(None if value.there(axis) is None else KNOWN for axis in range(len(axes)))
    return [largest, Value(axes, where)][:count]


def fft(labels: Labels, op: Op, inputs: list[Value]) -> Value:
    """A Fourier transform along the last axes, which keep their lengths."""
    value, rank = inputs[0], len(inputs[0].axes)
    mixed = range(rank - len(op.params["fft_lengths"]), rank)
    for axis in mixed:
        labels.freeze(value.axes[axis], "is a Fourier transform over them")
    axes = tuple(None if index in mixed else axis for index, axis in enumerate(value.axes))
    at = tuple(times(value.there(axis), KNOWN) for axis in range(rank))
    return Value(axes, at)


def ragged_dot(labels: Labels, op: Op, inputs: list[Value]) -> Value | None:
    """Rows in groups times a matrix for each group: [m, k], [g, k, n] to [m, n]."""
    numbers = op.params.get("ragged_dot_dimension_numbers")
    left, right, sizes = inputs[:3]
    ordinary = numbers is None or (
        numbers.dot_dimension_numbers == (((1,), (1,)), ((), ()))
        and tuple(numbers.lhs_ragged_dimensions) == (0,)
        and tuple(numbers.rhs_group_dimensions) == (0,)
    )
    if not ordinary or len(left.axes) != 2 or len(right.axes) != 3:
        return None
    labels.freeze(left.axes[0], "sorts them into groups")
    labels.freeze(right.axes[0], "chooses one for each row")
    for axis in sizes.axes:
        labels.freeze(axis, "counts rows by them")
    joined = labels.join([left.axes[1], right.axes[1]])
    if joined is not None and times(left.there(1), right.there(1)) != 0:
        labels.freeze(joined, UNKNOWN_TERMS)
    vanish = times(right.there(2), KNOWN)
    return Value((None, right.axes[2]), (None, vanish if vanish == 0 else None))
