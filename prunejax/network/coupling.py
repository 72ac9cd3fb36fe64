"""One pass over a program that finds which channels must be kept or removed together."""

from collections.abc import Sequence

import numpy as np

from prunejax.network import contractions, elementwise, shaping
from prunejax.network.labels import Axis, Labels, Shape
from prunejax.network.program import Op, Program
from prunejax.network.values import Value, fixed, fresh, frozen

SAME = frozenset(("optimization_barrier", "sharding_constraint"))
SOURCES = frozenset(
    (
        "random_bits",
        "random_seed",
        "random_wrap",
        "random_unwrap",
        "random_fold_in",
        "random_split",
        "threefry2x32",
        "random_clone",
    )
)
"""Random numbers depend on the shape they are drawn in, which therefore stays."""


class Coupling:
    """The labels of every value of a program.

    Args:
        program: the program.
        masked: for each of its inputs whether removed entries of it are 0 in the masked network;
            None for an input of which nothing can be removed.
        ties: pairs (output, input) of positions: state that comes back updated.

    Attributes:
        labels: the union-find.
        axes: for each value the labels of its axes.
        unknown: the names of the primitives that no rule covers, in order of appearance.
    """

    def __init__(
        self,
        program: Program,
        masked: Sequence[bool | None],
        ties: Sequence[tuple[int, int]],
    ) -> None:
        self.labels = Labels()
        self.unknown: list[str] = []
        self._shapes = program.shapes
        self._values: dict[int, Value] = {}
        read = {number for op in program.flat() for number in op.inputs}
        for number, zero in zip(program.inputs, masked, strict=True):
            shape = program.shapes[number]
            # a parameter that no operation reads couples to nothing: it stays
            self._values[number] = (
                fresh(self.labels, shape, zero=zero)
                if zero is not None and number in read
                else fixed(shape)
            )
        self.labels.born = len(self.labels)
        for number, value in program.constants.items():
            null = is_null(value)
            shape = program.shapes[number]
            self._values[number] = fresh(self.labels, shape, zero=null, null=null)
        for op in program.flat():
            for number, value in zip(op.outputs, self._apply(op), strict=True):
                self._values[number] = value
        tied = dict(ties)
        for position, number in enumerate(program.outputs):
            if position in tied:
                self._join(number, program.inputs[tied[position]])
            else:
                frozen(self.labels, self._values[number])

    def axes(self, number: int) -> tuple[Axis, ...]:
        """The labels of the axes of a value."""
        return self._values[number].axes

    def _join(self, first: int, second: int) -> None:
        for pair in zip(self.axes(first), self.axes(second), strict=True):
            self.labels.join(pair)

    def _apply(self, op: Op) -> list[Value]:
        inputs = [self._values[number] for number in op.inputs]
        given = [self._shapes[number] for number in op.inputs]
        shapes = [self._shapes[number] for number in op.outputs]
        outputs = _outputs(self.labels, op, inputs, given, shapes)
        if outputs is not None:
            return outputs
        if op.name not in SOURCES and op.name not in self.unknown:
            self.unknown.append(op.name)
        for value in inputs:
            frozen(self.labels, value)
        return [fixed(shape) for shape in shapes]


def _outputs(
    labels: Labels,
    op: Op,
    inputs: list[Value],
    given: list[Shape],
    shapes: list[Shape],
) -> list[Value] | None:
    """The outputs of an operation by its rule; None if there is none."""
    bits = op.name == "bitcast_convert_type" and given == shapes
    if op.name in elementwise.NAMES or bits:
        return [elementwise.rule(labels, op, inputs, given, shapes[0])]
    if op.name in contractions.REDUCTIONS:
        return [contractions.reduction(labels, op, inputs)]
    if op.name in contractions.CUMULATIONS:
        return [contractions.cumulation(labels, op, inputs)]
    if op.name in contractions.WINDOWS:
        return [contractions.window(labels, op, inputs)]
    if op.name in SAME:
        return inputs
    match op.name:
        case "dot_general":
            return [contractions.dot_general(labels, op, inputs)]
        case "conv_general_dilated":
            value = contractions.convolution(labels, op, inputs, given)
            return None if value is None else [value]
        case "broadcast_in_dim":
            return [shaping.broadcast_in_dim(labels, op, inputs, given, shapes[0])]
        case "iota":
            return [shaping.iota(labels, op, shapes[0])]
        case "squeeze":
            return [shaping.squeeze(op, inputs)]
        case "transpose":
            return [shaping.transpose(op, inputs)]
        case "rev":
            return [shaping.reverse(op, inputs)]
        case "reshape":
            return [shaping.reshaped(labels, inputs, given, shapes[0])]
        case "concatenate":
            return [shaping.concatenate(labels, op, inputs, given)]
        case "split":
            return shaping.split(labels, op, inputs)
        case "stack":
            return [shaping.stack(labels, op, inputs)]
        case "unstack":
            return shaping.unstack(labels, op, inputs, len(shapes))
        case "tile":
            return [shaping.tile(op, inputs)]
        case "slice":
            return [shaping.cut(labels, op, inputs, given)]
        case "pad":
            return [shaping.pad(labels, op, inputs)]
        case "gather":
            return [shaping.gather(labels, op, inputs, given, shapes[0])]
        case "dynamic_slice":
            return [shaping.dynamic_slice(labels, op, inputs, given)]
    return None


def is_null(value: object) -> bool:
    """Whether a constant is 0 throughout; only small ones are looked at."""
    size, dtype = getattr(value, "size", 1), getattr(value, "dtype", None)
    if size > 1 or (dtype is not None and not isinstance(dtype, np.dtype)):
        return False
    try:
        return not np.any(np.asarray(value))
    except Exception:  # a traced value
        return False
