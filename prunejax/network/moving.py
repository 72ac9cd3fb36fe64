"""What operations that move entries, or work entry by entry, give at removed indices."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from prunejax.network import contractions, elementwise, indexing, reshaping
from prunejax.network.program import Op, bind
from prunejax.network.rewriting import Sizes, rewritten, sliced, taken

Box = Mapping[Any, np.ndarray]
"""For some axes of an array removed indices; along the others all that is left is meant. An array
in a box has as many entries along such an axis, or one that stands for all of them."""


class Wanted(NamedTuple):
    """A result of an operation in a box.

    Attributes:
      op: the operation.
      which: which of its results.
      box: removed indices of the result.
      sizes: what is left of the arrays around it.
      read: an operand, by its place, in a box of its own.
      fills: for each operand the one number that all its entries are, or None.
      constant: the entries of a value that depends on constants alone, by its number.
    """

    op: Op
    which: int
    box: Box
    sizes: Sizes
    read: Callable[[int, Box], Any]
    fills: list[Any]
    constant: Callable[[int], np.ndarray | None]

    @property
    def shape(self) -> tuple[Any, ...]:
        """The result's full shape."""
        return tuple(
            size if kept.all() else len(kept)
            for size, kept in zip(
                self.sizes.shapes[self.which], self.sizes.outputs[self.which], strict=True
            )
        )


def moved(wanted: Wanted) -> Any:
    """A result of an operation that mixes no channels, in a box.

    Args:
      wanted: which result.

    Returns:
      The array.
    """
    op, box, read, sizes = wanted.op, wanted.box, wanted.read, wanted.sizes
    params, shapes, shape = dict(op.params), sizes.given, wanted.shape

    def bound(values: list[Any], **changes: Any) -> Any:
        return bind(op, {**params, **changes}, values)[wanted.which]

    if op.name in elementwise.NAMES or op.name == "bitcast_convert_type":
        return _elementwise(wanted)
    if op.name in (*contractions.CUMULATIONS, *contractions.WINDOWS, "fft"):
        return bound([read(0, box)])
    if op.name in indexing.SCATTERS or op.name == "dynamic_update_slice":
        return _put(wanted)
    match op.name:
        case "sort" | "top_k":
            return bound(even([read(place, box) for place in range(len(op.inputs))], box))
        case "broadcast_in_dim":
            places = params["broadcast_dimensions"]
            inner = {
                index: box[axis]
                for index, axis in enumerate(places)
                if axis in box and shapes[0][index] == shape[axis]
            }
            array = read(0, inner)
            lengths = list(sizes.shapes[0])
            for axis in box:
                lengths[axis] = 1
            for index, axis in enumerate(places):
                if index in inner:
                    lengths[axis] = array.shape[index]
            return bound([array], shape=tuple(lengths))
        case "squeeze":
            left = [axis for axis in range(len(shapes[0])) if axis not in params["dimensions"]]
            return bound([read(0, {left[axis]: box[axis] for axis in box})])
        case "transpose":
            order = params["permutation"]
            return bound([read(0, {order[axis]: box[axis] for axis in box})])
        case "rev":
            turned = params["dimensions"]
            inner = {
                axis: shape[axis] - 1 - indices if axis in turned else indices
                for axis, indices in box.items()
            }
            rest = tuple(axis for axis in turned if axis not in box)
            return bound([read(0, inner)], dimensions=rest)
        case "reshape":
            return _reshaped(wanted)
        case "concatenate":
            return _concatenated(wanted)
        case "split":
            along = params["axis"]
            start = int(sum(params["sizes"][: wanted.which]))
            inner = {
                axis: indices + start if axis == along else indices for axis, indices in box.items()
            }
            array = read(0, inner)
            lengths = tuple(each[along] for each in sizes.shapes)
            return array if along in box else bound([array], sizes=lengths)
        case "stack":
            along = params["axis"]
            inner = {axis - (axis > along): indices for axis, indices in box.items()}
            return bound(even([read(place, inner) for place in range(len(op.inputs))], inner))
        case "unstack":
            along = params["axis"]
            return bound([read(0, {axis + (axis >= along): box[axis] for axis in box})])
        case "slice":
            strides = params["strides"] or (1,) * len(shape)
            inner = {
                axis: params["start_indices"][axis] + strides[axis] * indices
                for axis, indices in box.items()
            }
            return sliced(op, read(0, inner), sizes.inputs[0], tuple(box))
        case "pad":
            return _padded(wanted)
        case "tile":
            reps = list(rewritten(op, sizes)["reps"])
            inner = {}
            for axis, indices in box.items():
                reps[axis] = 1
                if shapes[0][axis] > 1:
                    inner[axis] = indices % shapes[0][axis]
            return bound([read(0, inner)], reps=tuple(reps))
        case "gather":
            return _gathered(wanted)
        case "dynamic_slice":
            arrays = [read(0, box), *(read(place, {}) for place in range(1, len(op.inputs)))]
            lengths = list(rewritten(op, sizes)["slice_sizes"])
            for axis in box:
                lengths[axis] = arrays[0].shape[axis]
            return bound(arrays, slice_sizes=tuple(lengths))
    raise AssertionError(f"{op.name} has no rule for removed indices")


def even(arrays: list[Any], axes: Collection[int]) -> list[Any]:
    """Gives arrays the same length along some axes, where some have one entry for all."""
    for axis in axes:
        size = max(array.shape[axis] for array in arrays)
        arrays = [stretched(array, axis, size) for array in arrays]
    return arrays


def level(left: Any, a: Any, right: Any, b: Any) -> tuple[Any, Any]:
    """Gives two axes the same length, where one of them has a single entry for all."""
    size = max(left.shape[a], right.shape[b])
    return stretched(left, a, size), stretched(right, b, size)


def stretched(array: Any, axis: Any, size: Any) -> Any:
    """Repeats the one entry that an array has along an axis."""
    if array.shape[axis] == size:
        return array
    shape = list(array.shape)
    shape[axis] = size
    return jnp.broadcast_to(array, tuple(shape))


def _elementwise(wanted: Wanted) -> Any:
    op, box, shapes, shape = wanted.op, wanted.box, wanted.sizes.given, wanted.shape
    rank = len(shape)
    arrays = []
    for place, given in enumerate(shapes):
        inner = (
            {axis: box[axis] for axis in box if given[axis] == shape[axis]}
            if len(given) == rank
            else {}
        )
        arrays.append(wanted.read(place, inner))
    for axis in box:
        size = max((array.shape[axis] for array in arrays if array.ndim == rank), default=1)
        arrays = [stretched(array, axis, size) if array.ndim == rank else array for array in arrays]
    return bind(op, op.params, arrays)[0]


def _ordered(arrays: list[Any], places: list[np.ndarray], axis: int) -> Any:
    """Puts pieces together along an axis, each entry at its place."""
    whole = [
        stretched(array, axis, len(where)) for array, where in zip(arrays, places, strict=True)
    ]
    joined = whole[0] if len(whole) == 1 else lax.concatenate(whole, axis)
    return taken(joined, np.argsort(np.concatenate(places)), axis)


def _concatenated(wanted: Wanted) -> Any:
    op, box, shapes = wanted.op, wanted.box, wanted.sizes.given
    along = op.params["dimension"]
    rest = {axis: indices for axis, indices in box.items() if axis != along}
    pieces, places, start = [], [], 0
    for place, given in enumerate(shapes):
        size, inner = given[along], dict(rest)
        if along in box:
            here = np.flatnonzero((box[along] >= start) & (box[along] < start + size))
            inner[along] = box[along][here] - start
            places.append(here)
        start += size
        if along not in box or len(inner[along]):
            pieces.append(wanted.read(place, inner))
    pieces = even(pieces, rest)
    if along in box:
        return _ordered(pieces, [where for where in places if len(where)], along)
    return bind(op, op.params, pieces)[0]


def _padded(wanted: Wanted) -> Any:
    op, box, shape = wanted.op, wanted.box, wanted.sizes.given[0]
    inner, config = {}, list(rewritten(op, wanted.sizes)["padding_config"])
    places: dict[Any, np.ndarray] = {}
    for axis, indices in box.items():
        low = op.params["padding_config"][axis][0]
        places[axis] = np.flatnonzero((indices >= low) & (indices < low + shape[axis]))
        inner[axis] = indices[places[axis]] - low
        config[axis] = (0, 0, 0)
    filling = wanted.read(1, {})
    if any(len(indices) == 0 for indices in inner.values()):
        sizes = list(wanted.sizes.shapes[0])
        for axis in box:
            sizes[axis] = 1
        return jnp.full(tuple(sizes), filling)
    params = {**op.params, "padding_config": tuple(config)}
    inside = wanted.read(0, inner)
    if wanted.fills[1] is not None:
        (array,) = bind(op, params, [inside, filling])
    else:  # JAX has no derivative of a pad of constants by a number that is none
        nothing, whole = jnp.zeros((), inside.dtype), jnp.ones(inside.shape, bool)
        (array,) = bind(op, params, [inside, nothing])
        (there,) = bind(op, params, [whole, jnp.zeros((), bool)])
        array = jnp.where(there, array, filling)
    for axis, indices in box.items():
        if len(places[axis]) < len(indices):
            outside = np.setdiff1d(np.arange(len(indices)), places[axis])
            sizes = list(array.shape)
            sizes[axis] = 1
            array = _ordered(
                [array, jnp.full(tuple(sizes), filling)], [places[axis], outside], axis
            )
    return array


def _gathered(wanted: Wanted) -> Any:
    op, box, shapes = wanted.op, wanted.box, wanted.sizes.given
    moved = indexing.taken_along(op, shapes, wanted.constant(op.inputs[1]))
    whole = {result: axis for axis, result in indexing.windows(op, len(shapes[0])).items()}
    if moved is not None:
        axis, result, places = moved
        inner = {whole[each]: indices for each, indices in box.items() if each != result}
        if result in box:
            array = wanted.read(0, {**inner, axis: places[box[result]]})
            return jnp.moveaxis(array, axis, result)
        array = wanted.read(0, inner)
        return looked_up(array, wanted.sizes, moved)
    inner = {whole[each]: indices for each, indices in box.items()}
    arrays = [wanted.read(0, inner), wanted.read(1, {})]
    sizes = list(rewritten(op, wanted.sizes)["slice_sizes"])
    for axis in inner:
        sizes[axis] = arrays[0].shape[axis]
    return bind(op, {**op.params, "slice_sizes": tuple(sizes)}, arrays)[0]


def looked_up(array: Any, sizes: Any, moved: tuple[int, int, np.ndarray]) -> Any:
    """Takes constant indices along one axis, of which some are gone.

    Args:
      array: what is left of the operand.
      sizes: what is left around the operation.
      moved: what ``indexing.taken_along`` gives.

    Returns:
      What is left of the result.
    """
    axis, result, places = moved
    left, wanted = sizes.inputs[0][axis], places[sizes.outputs[0][result]]
    return jnp.moveaxis(taken(array, (np.cumsum(left) - 1)[wanted], axis), axis, result)


def _put(wanted: Wanted) -> Any:
    """Entries that are put in places, of which the box has no part."""
    op, box, shapes = wanted.op, wanted.box, wanted.sizes.given
    if op.name == "dynamic_update_slice":
        update, covered = 1, {axis: axis for axis in box}
    else:
        update, covered = 2, indexing.windows(op, len(shapes[0]))
    into = wanted.read(0, box)
    new = wanted.read(update, {covered[axis]: box[axis] for axis in box})
    for axis in box:
        into, new = level(into, axis, new, covered[axis])
    arrays = [wanted.read(place, {}) for place in range(len(op.inputs))]
    arrays[0], arrays[update] = into, new
    return bind(op, op.params, arrays)[0]


def _reshaped(wanted: Wanted) -> Any:
    """A reshape: of the axes that it cuts or puts together all entries that are asked for."""
    box, old, new = wanted.box, wanted.sizes.given[0], wanted.shape
    left = wanted.sizes
    kept = left.inputs[0]
    inner: dict[Any, np.ndarray] = {}
    changed = []
    for block in reshaping.blocks(old, new):
        if block.same:
            for before, after in zip(block.before, block.after, strict=True):
                if after in box:
                    inner[before] = box[after]
        elif any(axis in box for axis in block.after):
            changed.append(block)
    mixed = [axis for block in changed for axis in block.before]
    array = _whole(wanted, inner, [a for a in mixed if not kept[a].all()])
    order = {
        axis: np.argsort(np.concatenate([np.flatnonzero(kept[axis]), np.flatnonzero(~kept[axis])]))
        for axis in mixed
    }
    # all entries of these axes are there now, those that are left first
    for axis in mixed:
        array = taken(array, order[axis], axis)
    for block in reversed(changed):
        first = block.before[0]
        asked = [
            box[axis] if axis in box else np.flatnonzero(left.outputs[0][axis])
            for axis in block.after
        ]
        flat = np.ravel_multi_index(np.meshgrid(*asked, indexing="ij"), block.new).ravel()
        span = block.before[-1] - first + 1
        shape = array.shape
        array = array.reshape(*shape[:first], -1, *shape[first + span :])
        array = taken(array, flat, first)
        array = array.reshape(*shape[:first], *map(len, asked), *shape[first + span :])
    sizes = list(left.shapes[0])
    for block in reshaping.blocks(old, new):
        if block.same:
            for before, after in zip(block.before, block.after, strict=True):
                if after in box:
                    sizes[after] = _length(array, before, changed)
    for axis in box:
        if any(axis in block.after for block in changed):
            sizes[axis] = len(box[axis])
    return array.reshape(tuple(sizes))


def _length(array: Any, axis: int, changed: Sequence[Any]) -> int:
    """The length of an axis of a reshape's operand after the blocks before it were changed."""
    shift = sum(
        len(block.after) - (block.before[-1] - block.before[0] + 1)
        for block in changed
        if block.before[-1] < axis
    )
    return array.shape[axis + shift]


def _whole(wanted: Wanted, inner: Box, axes: list[int]) -> Any:
    """An operand with all indices of some axes, those that are left first."""
    if not axes:
        return wanted.read(0, inner)
    first, rest = axes[0], axes[1:]
    gone = np.flatnonzero(~wanted.sizes.inputs[0][first])
    pieces = [_whole(wanted, box, rest) for box in (inner, {**inner, first: gone})]
    pieces[1] = stretched(pieces[1], first, len(gone))
    for axis in inner:
        pieces[0], pieces[1] = level(pieces[0], axis, pieces[1], axis)
    return lax.concatenate(pieces, first)
