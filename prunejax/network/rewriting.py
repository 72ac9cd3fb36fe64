"""The shapes that equations state, rewritten for arrays from which channels are missing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from prunejax.network.program import Op
from prunejax.network.sets import Shape

Kept = list[np.ndarray]
"""For each axis of an array which of its indices are left."""


class Sizes(NamedTuple):
    """What is left of the arrays around an operation.

    Attributes:
      inputs: for each operand what is left of it.
      outputs: for each result.
      given: the operands' full shapes.
      shapes: the results' shapes, symbolic sizes as they are.
    """

    inputs: list[Kept]
    outputs: list[Kept]
    given: list[Shape]
    shapes: list[Shape]


def rewritten(op: Op, sizes: Sizes) -> dict[str, Any]:
    """The parameters of an operation, for the reduced shapes.

    Args:
      op: the operation.
      sizes: what is left of the arrays around it.

    Returns:
      The parameters.
    """
    params = dict(op.params)
    match op.name:
        case "broadcast_in_dim" | "iota":
            params["shape"] = sizes.shapes[0]
        case "reshape":
            params["new_sizes"] = sizes.shapes[0]
        case "tile":
            params["reps"] = tuple(
                int(kept.sum()) if type(size) is int and size == 1 != count else count
                for size, kept, count in zip(
                    sizes.given[0], sizes.outputs[0], op.params["reps"], strict=True
                )
            )
        case "split":
            params["sizes"] = tuple(shape[params["axis"]] for shape in sizes.shapes)
        case "slice":
            starts, limits = list(params["start_indices"]), list(params["limit_indices"])
            for axis, kept in enumerate(sizes.inputs[0]):
                if not kept.all():
                    starts[axis] = int(kept[: starts[axis]].sum())
                    limits[axis] = int(kept[: limits[axis]].sum())
            params["start_indices"], params["limit_indices"] = tuple(starts), tuple(limits)
        case "pad":
            params["padding_config"] = tuple(
                (int(kept[:low].sum()), int(kept[len(kept) - high :].sum()), between)
                if low >= 0 and high >= 0 and not kept.all()
                else (low, high, between)
                for kept, (low, high, between) in zip(
                    sizes.outputs[0], params["padding_config"], strict=True
                )
            )
        case "gather" | "dynamic_slice":
            params["slice_sizes"] = tuple(
                size if kept.all() else int(kept.sum())
                for size, kept in zip(params["slice_sizes"], sizes.inputs[0], strict=True)
            )
        case "conv_general_dilated":
            groups = params["feature_group_count"]
            if groups > 1:
                features = sizes.inputs[0][params["dimension_numbers"].lhs_spec[1]]
                left = features.reshape(groups, -1).any(1)
                params["feature_group_count"] = int(left.sum())
    return params


def strided(op: Op, kept: Sequence[np.ndarray]) -> bool:
    """Whether a slice with gaps has to be taken entry by entry: along an axis that shrinks."""
    strides = op.params["strides"] or ()
    return any(stride != 1 and not axis.all() for stride, axis in zip(strides, kept, strict=False))


def sliced(op: Op, array: Any, kept: Sequence[np.ndarray], skip: Sequence[int] = ()) -> Any:
    """A slice of an array from which entries are missing.

    Args:
      op: a ``slice``.
      array: what is left of its operand.
      kept: for each axis of the operand which indices are left.
      skip: axes that are not sliced.

    Returns:
      What is left of its result.
    """
    strides = op.params["strides"] or (1,) * array.ndim
    bounds = zip(op.params["start_indices"], op.params["limit_indices"], strides, strict=True)
    for axis, (start, end, stride) in enumerate(bounds):
        if axis in skip:
            continue
        if kept[axis].all():
            array = lax.slice_in_dim(array, start, end, stride, axis)
        else:
            wanted = np.zeros(len(kept[axis]), bool)
            wanted[start:end:stride] = True
            array = taken(array, np.flatnonzero(wanted[kept[axis]]), axis)
    return array


def taken(array: Any, places: np.ndarray, axis: int) -> Any:
    """Entries along an axis, by places that are known to be there."""
    if len(places) == array.shape[axis] and np.array_equal(places, np.arange(len(places))):
        return array
    if isinstance(array, np.ndarray):
        return np.take(array, places, axis)
    return jnp.take(array, places.astype(np.int32), axis=axis, mode="clip")
