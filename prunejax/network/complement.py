"""What the masked network computes at the indices that a smaller network does not have.

A sum over channels goes on with what is left, and adds what the masked network adds there. In most
networks that is 0; in a variance of two passes it is the square of the mean for each channel that
is gone, and beside a table of positions it is what the table holds. It is computed on demand, from
what is left: operations are followed back to where entries are a number, do not depend on the
channel, or are constants. What is the same for all removed indices is computed once.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import lax

from prunejax.network import contractions
from prunejax.network.coupling import Coupling
from prunejax.network.moving import Box, Wanted, level, moved
from prunejax.network.program import Op, Program, bind
from prunejax.network.rewriting import Sizes, rewritten, taken
from prunejax.network.rules import SAME
from prunejax.network.values import Value, number


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
    given: list[dict[Any, np.ndarray]] = [{}, {}]
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
    given: list[dict[Any, np.ndarray]] = [{}, {}]
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
    given: list[dict[Any, np.ndarray]],
    sums: Sequence[tuple[Any, Any]],
    batches: Sequence[tuple[Any, Any]],
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
            left, right = level(left, a, right, other[a])
        for a, b in batches:
            left, right = level(left, a, right, b)
        (one,) = bind(op, params, [left, right])
        whether = one.dtype == np.bool_  # whether any product is true
        if scale != 1 and not whether:
            one = one * np.asarray(scale).astype(one.dtype)
        merge = lax.bitwise_or if whether else lax.add
        result = one if result is None else merge(result, one)
    return result


def _subsets(lost: dict[Any, np.ndarray]) -> Iterator[dict[Any, np.ndarray]]:
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
    match op.name:
        case name if name in contractions.MERGED:
            return reduction(around, scope, op, box, which)
        case "dot_general":
            return product(around, scope, op, box)
        case "conv_general_dilated":
            return convolution(around, scope, op, box)
        case name if name in SAME:
            return operand(around, scope, op, which, box)
    return moved(
        Wanted(
            op,
            which,
            box,
            around.sizes(op),
            lambda place, inner: operand(around, scope, op, place, inner),
            [value.fill for value in around.coupling.operands(op)],
            around.coupling.constant,
        )
    )
