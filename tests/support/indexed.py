"""Gathers, scatters and convolutions in NumPy, for `tests.support.evaluating`."""

import itertools
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

SCATTERS: dict[str, Any] = {
    "scatter": None,
    "scatter-add": np.add,
    "scatter_add": np.add,
    "scatter_max": np.maximum,
    "scatter_min": np.minimum,
    "scatter_mul": np.multiply,
}


def gather(params: Any, shape: tuple[int, ...], operand: Any, starts: Any) -> Any:
    """The primitive of that name; None for a mode that is not covered."""
    numbers, mode = params["dimension_numbers"], params["mode"]
    sizes = params["slice_sizes"]
    windows = [
        axis
        for axis in range(operand.ndim)
        if axis not in (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    ]
    places, inside = _places(
        shape,
        numbers.offset_dims,
        dict(zip(windows, numbers.offset_dims, strict=True)),
        numbers.start_index_map,
        dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)),
        starts,
        operand.shape,
        sizes,
        clip=mode in (GatherScatterMode.CLIP, GatherScatterMode.PROMISE_IN_BOUNDS),
    )
    taken = operand[places]
    if inside is None:
        return taken
    if mode != GatherScatterMode.FILL_OR_DROP:
        return None
    filling = params["fill_value"]
    if filling is None:
        if np.issubdtype(operand.dtype, np.inexact):
            filling = np.nan
        elif operand.dtype == bool:
            filling = True
        else:
            limits = np.iinfo(operand.dtype)
            filling = limits.min if np.issubdtype(operand.dtype, np.signedinteger) else limits.max
    return np.where(inside, taken, np.asarray(filling, operand.dtype))


def scatter(name: str, params: Any, operand: Any, starts: Any, updates: Any) -> Any:
    """The primitives of ``SCATTERS``; None for a mode that is not covered."""
    numbers, mode = params["dimension_numbers"], params["mode"]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    windows = [axis for axis in range(operand.ndim) if axis not in gone]
    along = dict(zip(windows, numbers.update_window_dims, strict=True))
    places, inside = _places(
        updates.shape,
        numbers.update_window_dims,
        along,
        numbers.scatter_dims_to_operand_dims,
        dict(
            zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True)
        ),
        starts,
        operand.shape,
        [updates.shape[along[axis]] if axis in along else 1 for axis in range(operand.ndim)],
        clip=mode in (GatherScatterMode.CLIP, GatherScatterMode.PROMISE_IN_BOUNDS),
    )
    if inside is not None:
        if mode != GatherScatterMode.FILL_OR_DROP:
            return None
        inside = np.broadcast_to(inside, updates.shape)
        places = tuple(np.broadcast_to(place, updates.shape)[inside] for place in places)
        updates = updates[inside]
    made = np.array(operand)
    if SCATTERS[name] is None:
        made[places] = updates
    else:
        SCATTERS[name].at(made, places, updates)
    return made


def _places(
    shape: Any,
    offsets: Any,
    along: dict[int, int],
    moved: Any,
    batching: dict[int, int],
    starts: Any,
    whole: Any,
    sizes: Any,
    *,
    clip: bool,
) -> tuple[tuple[Any, ...], Any]:
    """For each entry of the smaller array its index in the operand, and where all is inside."""
    grid = np.indices(shape, sparse=True)
    batch = [axis for axis in range(len(shape)) if axis not in offsets]
    rows = np.moveaxis(starts, -1, 0)
    shown = [1] * len(shape)
    for axis, size in zip(batch, rows.shape[1:], strict=True):
        shown[axis] = size
    inside: Any = True
    places = []
    for axis, size in enumerate(whole):
        place: Any = np.zeros([1] * len(shape), np.int64)
        if axis in moved:
            start = rows[list(moved).index(axis)].astype(np.int64).reshape(shown)
            if clip:
                start = np.clip(start, 0, size - sizes[axis])
            else:
                inside = inside & (start >= 0) & (start <= size - sizes[axis])
                start = np.clip(start, 0, size - sizes[axis])
            place = place + start
        if axis in batching:
            place = place + grid[batch[batching[axis]]]
        if axis in along:
            place = place + grid[along[axis]]
        places.append(place)
    return tuple(np.broadcast_arrays(*places, np.zeros(shape, bool))[:-1]), (
        None if clip else inside
    )


def convolution(params: Any, left: Any, right: Any) -> Any:
    """``conv_general_dilated``; None for what is not covered."""
    if params["batch_group_count"] != 1:
        return None
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    left, right = left.transpose(numbers.lhs_spec), right.transpose(numbers.rhs_spec)
    left = _spread(left, params["lhs_dilation"])
    padding = [(0, 0), (0, 0), *params["padding"]]
    left = np.pad(left, [(max(low, 0), max(high, 0)) for low, high in padding])
    left = left[
        tuple(
            slice(max(-low, 0), size - max(-high, 0))
            for (low, high), size in zip(padding, left.shape, strict=True)
        )
    ]
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    sizes = [
        (size - (window - 1) * apart - 1) // stride + 1
        for size, window, apart, stride in zip(
            left.shape[2:], right.shape[2:], dilation, strides, strict=True
        )
    ]
    out, into = right.shape[:2]
    made = np.zeros((len(left), groups, out // groups, *sizes), left.dtype)
    for window in itertools.product(*map(range, right.shape[2:])):
        where = tuple(
            slice(at * apart, at * apart + (size - 1) * stride + 1, stride)
            for at, apart, size, stride in zip(window, dilation, sizes, strides, strict=True)
        )
        part = left[(slice(None), slice(None), *where)].reshape(len(left), groups, into, *sizes)
        kernel = right[(slice(None), slice(None), *window)].reshape(groups, out // groups, into)
        made += np.einsum("ngi...,goi->ngo...", part, kernel)
    made = made.reshape(len(left), out, *sizes)
    return made.transpose(np.argsort(numbers.out_spec))


def _spread(value: Any, dilation: Any) -> Any:
    """Zeros between the positions."""
    shape = [
        (size - 1) * apart + 1 for size, apart in zip(value.shape, (1, 1, *dilation), strict=True)
    ]
    made = np.zeros(shape, value.dtype)
    made[tuple(slice(None, None, apart) for apart in (1, 1, *dilation))] = value
    return made
