"""What the masked network computes at the indices that a smaller network does not have.

A sum over channels goes on with what is left, and adds what the masked network adds there. In most
networks that is 0; in a variance of two passes it is the square of the mean for each channel that
is gone, and beside a table of positions it is what the table holds. It is computed on demand, from
what is left: operations are followed back to where entries are a number, do not depend on the
channel, or are constants. What is the same for all removed indices is computed once.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import lax

from prunejax.network import contractions, elementwise, indexing, reshaping
from prunejax.network.coupling import SAME, Coupling
from prunejax.network.program import Op, Program, bind
from prunejax.network.rewriting import Sizes, rewritten, sliced, taken
from prunejax.network.values import Value, number

Box = Mapping[int, np.ndarray]
"""For some axes of an array removed indices; along the others all that is left is meant. An array
in a box has as many entries along such an axis, or one that stands for all of them."""


@runtime_checkable
class Around(Protocol):
    """A program that is being evaluated on what is left, ``resizing.Resized``."""

    program: Program
    coupling: Coupling

    def kept(self, value: Value, shape: Any) -> list[np.ndarray]:
        """For each axis which indices are left."""
        ...

    def operand(self, scope: Any, op: Op, place: int) -> Any:
        """What is left of an operand."""
        ...

    def value(self, scope: Any, number: int) -> Any:
        """A value, at full size if it is loose."""
        ...

    def sizes(self, op: Op) -> Sizes:
        """What is left around an operation."""
        ...


def reduction(around: Around, scope: Any, op: Op, box: Box, place: int = 0) -> Any:
    """A reduction over what is left and over what is gone.

    Args:
      around: the program.
      scope: the values so far.
      op: the reduction.
      box: removed indices of its result.
      place: which of several operands it is of.

    Returns:
      The result.
    """
    value = around.coupling.operands(op)[place]
    shape = around.program.shapes[op.inputs[place]]
    axes = op.params["axes"]
    left = [axis for axis in range(len(shape)) if axis not in axes]
    given = {left[axis]: indices for axis, indices in box.items()}
    kept = around.kept(value, shape)
    adds = contractions.MERGED.get(op.name) == "add"
    lost = {
        axis: np.flatnonzero(~kept[axis])
        for axis in axes
        if not kept[axis].all() and not (adds and value.vanishes(axis))
    }
    result = None
    for gone in _subsets(lost):
        array = operand(around, scope, op, place, {**given, **gone})
        for axis, indices in gone.items():
            if array.shape[axis] == 1 and len(indices) > 1:
                array = _repeated(op.name, array, len(indices))
        (one,) = bind(op, op.params, [array])
        result = one if result is None else _MERGE[contractions.MERGED[op.name]](result, one)
    return result


_MERGE: dict[str, Callable[..., Any]] = {
    "add": lax.add,
    "max": lax.max,
    "min": lax.min,
    "mul": lax.mul,
    "and": lax.bitwise_and,
    "or": lax.bitwise_or,
}


def _repeated(name: str, array: Any, count: int) -> Any:
    merge = contractions.MERGED[name]
    if merge == "add":
        return array * np.asarray(count).astype(array.dtype)
    return lax.integer_pow(array, count) if merge == "mul" else array


def product(around: Around, scope: Any, op: Op, box: Box) -> Any:
    """A product of matrices, summed over what is left and over what is gone."""
    sums, batches = op.params["dimension_numbers"]
    shapes = [around.program.shapes[each] for each in op.inputs]
    free = [
        [axis for axis in range(len(shape)) if axis not in (*sums[side], *batches[side])]
        for side, shape in enumerate(shapes)
    ]
    count = len(batches[0])
    given: list[dict[int, np.ndarray]] = [{}, {}]
    for axis, indices in box.items():
        if axis < count:
            for side in (0, 1):
                given[side][batches[side][axis]] = indices
        elif axis < count + len(free[0]):
            given[0][free[0][axis - count]] = indices
        else:
            given[1][free[1][axis - count - len(free[0])]] = indices
    pairs = [*zip(*batches, strict=True)]
    return _summed(around, scope, op, given, [*zip(*sums, strict=True)], pairs)


def convolution(around: Around, scope: Any, op: Op, box: Box) -> Any:
    """A convolution, summed over the channels that are left and those that are gone."""
    numbers = op.params["dimension_numbers"]
    given: list[dict[int, np.ndarray]] = [{}, {}]
    for axis, indices in box.items():
        if axis == numbers.out_spec[0]:
            given[0][numbers.lhs_spec[0]] = indices
        else:
            given[1][numbers.rhs_spec[0]] = indices
    pairs = [(numbers.lhs_spec[1], numbers.rhs_spec[1])]
    grouped = op.params["feature_group_count"] > 1
    return _summed(around, scope, op, given, [] if grouped else pairs, [])


def _summed(
    around: Around,
    scope: Any,
    op: Op,
    given: list[dict[int, np.ndarray]],
    sums: Sequence[tuple[int, int]],
    batches: Sequence[tuple[int, int]],
) -> Any:
    """A sum of products over pairs of axes."""
    values = around.coupling.operands(op)
    kept = around.kept(values[0], around.program.shapes[op.inputs[0]])
    lost = {
        a: np.flatnonzero(~kept[a])
        for a, b in sums
        if not kept[a].all() and contractions.times(values[0].there(a), values[1].there(b)) != 0
    }
    other = dict(sums)
    params = rewritten(op, around.sizes(op))
    result = None
    for gone in _subsets(lost):
        left = operand(around, scope, op, 0, {**given[0], **gone})
        right = operand(
            around, scope, op, 1, {**given[1], **{other[a]: i for a, i in gone.items()}}
        )
        scale = 1
        for a, indices in gone.items():
            if left.shape[a] == right.shape[other[a]] == 1:
                scale *= len(indices)
            left, right = _level(left, a, right, other[a])
        for a, b in batches:
            left, right = _level(left, a, right, b)
        (one,) = bind(op, params, [left, right])
        whether = one.dtype == np.bool_  # whether any product is true
        if scale != 1 and not whether:
            one = one * np.asarray(scale).astype(one.dtype)
        merge = lax.bitwise_or if whether else lax.add
        result = one if result is None else merge(result, one)
    return result


def _level(left: Any, a: Any, right: Any, b: Any) -> tuple[Any, Any]:
    """Gives two axes the same length, where one of them has a single entry for all."""
    size = max(left.shape[a], right.shape[b])
    return _stretched(left, a, size), _stretched(right, b, size)


def _stretched(array: Any, axis: Any, size: Any) -> Any:
    if array.shape[axis] == size:
        return array
    shape = list(array.shape)
    shape[axis] = size
    return jnp.broadcast_to(array, tuple(shape))


def _subsets(lost: dict[int, np.ndarray]) -> Iterator[dict[int, np.ndarray]]:
    for count in range(len(lost) + 1):
        for chosen in itertools.combinations(lost, count):
            yield {axis: lost[axis] for axis in chosen}


def operand(around: Around, scope: Any, op: Op, place: int, box: Box) -> Any:
    """What an operation reads in a box.

    Args:
      around: the program.
      scope: the values so far.
      op: the operation.
      place: which of its operands.
      box: removed indices.

    Returns:
      The array.
    """
    if not box:
        return around.operand(scope, op, place)
    value, read = around.coupling.operands(op)[place], op.inputs[place]
    shape = around.program.shapes[read]
    kept = around.kept(value, shape)
    for axis in box:
        if (entry := number(value.there(axis))) is not None:
            lengths = [
                1 if axis in box else size if left.all() else int(left.sum())
                for axis, (size, left) in enumerate(zip(shape, kept, strict=True))
            ]
            return jnp.full(tuple(lengths), entry, around.program.dtypes[read])
    if around.coupling.value(read).loose:
        array = around.value(scope, read)
        for axis, left in enumerate(kept):
            places = box[axis] if axis in box else np.flatnonzero(left)
            if axis in box or not left.all():
                array = taken(array, places, axis)
        return array
    return _inside(around, scope, read, box)


def _inside(around: Around, scope: Any, read: int, box: Box) -> Any:
    key = (read, *((axis, indices.tobytes()) for axis, indices in sorted(box.items())))
    if key not in scope.parts:
        op = around.coupling.maker(read)
        assert op is not None, "what is known at removed indices is made by an operation"
        scope.parts[key] = _made(around, scope, op, op.outputs.index(read), box)
    return scope.parts[key]


def _made(around: Around, scope: Any, op: Op, which: int, box: Box) -> Any:
    """A result of an operation in a box."""
    shapes = [around.program.shapes[each] for each in op.inputs]
    shape = around.program.shapes[op.outputs[which]]
    params = dict(op.params)

    def read(place: int, inner: Box) -> Any:
        return operand(around, scope, op, place, inner)

    def bound(values: list[Any], **changes: Any) -> Any:
        return bind(op, {**params, **changes}, values)[which]

    if op.name in elementwise.NAMES or op.name == "bitcast_convert_type":
        return _elementwise(around, scope, op, box, shapes, shape)
    if op.name in SAME:
        return read(which, box)
    if op.name in contractions.MERGED:
        return reduction(around, scope, op, box, which)
    if op.name in (*contractions.CUMULATIONS, *contractions.WINDOWS, "fft"):
        return bound([read(0, box)])
    if op.name in indexing.SCATTERS or op.name == "dynamic_update_slice":
        return _put(around, scope, op, box, shapes)
    match op.name:
        case "dot_general":
            return product(around, scope, op, box)
        case "conv_general_dilated":
            return convolution(around, scope, op, box)
        case "sort" | "top_k":
            arrays = [read(place, box) for place in range(len(op.inputs))]
            for axis in box:
                size = max(array.shape[axis] for array in arrays)
                arrays = [_stretched(array, axis, size) for array in arrays]
            return bound(arrays)
        case "broadcast_in_dim":
            places = params["broadcast_dimensions"]
            inner = {
                index: box[axis]
                for index, axis in enumerate(places)
                if axis in box and shapes[0][index] == shape[axis]
            }
            array = read(0, inner)
            sizes = list(around.sizes(op).shapes[0])
            for axis in box:
                sizes[axis] = 1
            for index, axis in enumerate(places):
                if index in inner:
                    sizes[axis] = array.shape[index]
            return bound([array], shape=tuple(sizes))
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
            return _reshaped(around, scope, op, box, shapes[0], shape)
        case "concatenate":
            return _concatenated(around, scope, op, box, shapes)
        case "split":
            along = params["axis"]
            start = int(sum(params["sizes"][:which]))
            inner = {
                axis: indices + start if axis == along else indices for axis, indices in box.items()
            }
            array = read(0, inner)
            sizes = tuple(each[along] for each in around.sizes(op).shapes)
            return array if along in box else bound([array], sizes=sizes)
        case "stack":
            along = params["axis"]
            inner = {axis - (axis > along): indices for axis, indices in box.items()}
            arrays = [read(place, inner) for place in range(len(op.inputs))]
            for axis in inner:
                size = max(array.shape[axis] for array in arrays)
                arrays = [_stretched(array, axis, size) for array in arrays]
            return bound(arrays)
        case "unstack":
            along = params["axis"]
            return bound([read(0, {axis + (axis >= along): box[axis] for axis in box})])
        case "slice":
            strides = params["strides"] or (1,) * len(shape)
            inner = {
                axis: params["start_indices"][axis] + strides[axis] * indices
                for axis, indices in box.items()
            }
            return sliced(op, read(0, inner), around.sizes(op).inputs[0], tuple(box))
        case "pad":
            return _padded(around, scope, op, box, shapes[0])
        case "tile":
            reps = list(rewritten(op, around.sizes(op))["reps"])
            inner = {}
            for axis, indices in box.items():
                reps[axis] = 1
                if shapes[0][axis] > 1:
                    inner[axis] = indices % shapes[0][axis]
            return bound([read(0, inner)], reps=tuple(reps))
        case "gather":
            return _gathered(around, scope, op, box, shapes)
        case "dynamic_slice":
            arrays = [read(0, box), *(read(place, {}) for place in range(1, len(op.inputs)))]
            sizes = list(rewritten(op, around.sizes(op))["slice_sizes"])
            for axis in box:
                sizes[axis] = arrays[0].shape[axis]
            return bound(arrays, slice_sizes=tuple(sizes))
    raise AssertionError(f"{op.name} has no rule for removed indices")


def _elementwise(
    around: Around, scope: Any, op: Op, box: Box, shapes: list[Any], shape: Any
) -> Any:
    rank = len(shape)
    arrays = []
    for place, given in enumerate(shapes):
        inner = (
            {axis: box[axis] for axis in box if given[axis] == shape[axis]}
            if len(given) == rank
            else {}
        )
        arrays.append(operand(around, scope, op, place, inner))
    for axis in box:
        size = max((array.shape[axis] for array in arrays if array.ndim == rank), default=1)
        arrays = [
            _stretched(array, axis, size) if array.ndim == rank else array for array in arrays
        ]
    return bind(op, op.params, arrays)[0]


def _ordered(arrays: list[Any], places: list[np.ndarray], axis: int) -> Any:
    """Puts pieces together along an axis, each entry at its place."""
    whole = [
        _stretched(array, axis, len(where)) for array, where in zip(arrays, places, strict=True)
    ]
    joined = whole[0] if len(whole) == 1 else lax.concatenate(whole, axis)
    return taken(joined, np.argsort(np.concatenate(places)), axis)


def _concatenated(around: Around, scope: Any, op: Op, box: Box, shapes: list[Any]) -> Any:
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
            pieces.append(operand(around, scope, op, place, inner))
    for axis in rest:
        size = max(piece.shape[axis] for piece in pieces)
        pieces = [_stretched(piece, axis, size) for piece in pieces]
    if along in box:
        return _ordered(pieces, [where for where in places if len(where)], along)
    return bind(op, op.params, pieces)[0]


def _padded(around: Around, scope: Any, op: Op, box: Box, shape: Any) -> Any:
    inner, config = {}, list(rewritten(op, around.sizes(op))["padding_config"])
    places: dict[int, np.ndarray] = {}
    for axis, indices in box.items():
        low = op.params["padding_config"][axis][0]
        places[axis] = np.flatnonzero((indices >= low) & (indices < low + shape[axis]))
        inner[axis] = indices[places[axis]] - low
        config[axis] = (0, 0, 0)
    filling = around.operand(scope, op, 1)
    if any(len(indices) == 0 for indices in inner.values()):
        sizes = list(around.sizes(op).shapes[0])
        for axis in box:
            sizes[axis] = 1
        return jnp.full(tuple(sizes), filling)
    params = {**op.params, "padding_config": tuple(config)}
    inside = operand(around, scope, op, 0, inner)
    if around.coupling.operands(op)[1].fill is not None:
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


def _gathered(around: Around, scope: Any, op: Op, box: Box, shapes: list[Any]) -> Any:
    numbers, sizes = op.params["dimension_numbers"], list(op.params["slice_sizes"])
    moved = indexing.taken_along(op, shapes, around.coupling.constant(op.inputs[1]))
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    window = [axis for axis in range(len(shapes[0])) if axis not in gone]
    whole = {result: axis for axis, result in zip(window, numbers.offset_dims, strict=True)}
    if moved is not None:
        axis, result, places = moved
        inner = {whole[each]: indices for each, indices in box.items() if each != result}
        if result in box:
            array = operand(around, scope, op, 0, {**inner, axis: places[box[result]]})
            return jnp.moveaxis(array, axis, result)
        array = operand(around, scope, op, 0, inner)
        return looked_up(array, around.sizes(op), moved)
    inner = {whole[each]: indices for each, indices in box.items()}
    arrays = [operand(around, scope, op, 0, inner), around.operand(scope, op, 1)]
    sizes = list(rewritten(op, around.sizes(op))["slice_sizes"])
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


def _put(around: Around, scope: Any, op: Op, box: Box, shapes: list[Any]) -> Any:
    """Entries that are put in places, of which the box has no part."""
    if op.name == "dynamic_update_slice":
        update, covered = 1, {axis: axis for axis in box}
    else:
        numbers, update = op.params["dimension_numbers"], 2
        gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
        window = [axis for axis in range(len(shapes[0])) if axis not in gone]
        covered = dict(zip(window, numbers.update_window_dims, strict=True))
    into = operand(around, scope, op, 0, box)
    new = operand(around, scope, op, update, {covered[axis]: box[axis] for axis in box})
    for axis in box:
        into, new = _level(into, axis, new, covered[axis])
    arrays = [around.operand(scope, op, place) for place in range(len(op.inputs))]
    arrays[0], arrays[update] = into, new
    return bind(op, op.params, arrays)[0]


def _reshaped(around: Around, scope: Any, op: Op, box: Box, old: Any, new: Any) -> Any:
    """A reshape: of the axes that it cuts or puts together all entries that are asked for."""
    value = around.coupling.operands(op)[0]
    kept, left = around.kept(value, old), around.sizes(op)
    inner: dict[int, np.ndarray] = {}
    changed = []
    for block in reshaping.blocks(old, new):
        if block.same:
            for before, after in zip(block.before, block.after, strict=True):
                if after in box:
                    inner[before] = box[after]
        elif any(axis in box for axis in block.after):
            changed.append(block)
    mixed = [axis for block in changed for axis in block.before]
    array = _whole(around, scope, op, inner, [a for a in mixed if not kept[a].all()], kept)
    order = {
        axis: np.argsort(np.concatenate([np.flatnonzero(kept[axis]), np.flatnonzero(~kept[axis])]))
        for axis in mixed
    }
    # all entries of these axes are there now, those that are left first
    for axis in mixed:
        array = taken(array, order[axis], axis)
    for block in reversed(changed):
        first = block.before[0]
        wanted = [
            box[axis] if axis in box else np.flatnonzero(left.outputs[0][axis])
            for axis in block.after
        ]
        flat = np.ravel_multi_index(np.meshgrid(*wanted, indexing="ij"), block.new).ravel()
        span = block.before[-1] - first + 1
        shape = array.shape
        array = array.reshape(*shape[:first], -1, *shape[first + span :])
        array = taken(array, flat, first)
        array = array.reshape(*shape[:first], *map(len, wanted), *shape[first + span :])
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


def _whole(
    around: Around, scope: Any, op: Op, inner: Box, axes: list[int], kept: list[np.ndarray]
) -> Any:
    """An operand with all indices of some axes, those that are left first."""
    if not axes:
        return operand(around, scope, op, 0, inner)
    first, rest = axes[0], axes[1:]
    gone = np.flatnonzero(~kept[first])
    pieces = [_whole(around, scope, op, box, rest, kept) for box in (inner, {**inner, first: gone})]
    pieces[1] = _stretched(pieces[1], first, len(gone))
    for axis in inner:
        pieces[0], pieces[1] = _level(pieces[0], axis, pieces[1], axis)
    return lax.concatenate(pieces, first)
