"""One pass over a program that finds which channels must be kept or removed together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from prunejax.network import contractions, elementwise, shaping
from prunejax.network.labels import Axis, Labels, Shape
from prunejax.network.layers import ACTIVITY
from prunejax.network.program import Op, Program
from prunejax.network.values import Value, fixed, fresh, frozen

SAME = frozenset(("optimization_barrier", "sharding_constraint", ACTIVITY))
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


SplitKey: TypeAlias = tuple[int, int]


class Split(NamedTuple):
    """A reshape that cuts an axis of channels into several.

    Attributes:
      axis: the labels of the axis.
      candidates: how many of the new axes might carry them.
    """

    axis: np.ndarray
    candidates: int


class Coupling:
    """The labels of every value of a program.

    Args:
      program: the program.
      labels: the labels so far.
      inputs: what is known of its inputs.
      choices: for each reshape with several possible results the one to take, see ``splits``.

    Attributes:
      labels: the union-find.
      axes: for each value the labels of its axes.
      unknown: the names of the primitives that no rule covers, in order of appearance.
      splits: reshapes that cut an axis of channels into several, one of which must be chosen to
        carry them, by the number of the result and of the block of axes.
    """

    def __init__(
        self,
        program: Program,
        labels: Labels,
        inputs: Sequence[Value],
        choices: Mapping[SplitKey, int] | None = None,
    ) -> None:
        self.labels = labels
        self.unknown: list[str] = []
        self.splits: dict[SplitKey, Split] = {}
        self._choices = choices or {}
        self._shapes, self._dtypes = program.shapes, program.dtypes
        self._values: dict[int, Value] = dict(zip(program.inputs, inputs, strict=True))
        for number, value in program.constants.items():
            self._values[number] = fresh(
                self.labels, program.shapes[number], zero=False, fill=fill(value)
            )
        for op in program.flat():
            for number, value in zip(op.outputs, self._apply(op), strict=True):
                self._values[number] = value

    def value(self, number: int) -> Value:
        """What is known of a value."""
        return self._values[number]

    def axes(self, number: int) -> tuple[Axis, ...]:
        """The labels of the axes of a value."""
        return self._values[number].axes

    def join(self, number: int, axes: Sequence[Axis]) -> None:
        """Ties the axes of a value to others."""
        for pair in zip(self.axes(number), axes, strict=True):
            self.labels.join(pair)

    def _apply(self, op: Op) -> list[Value]:
        inputs = [self._values[number] for number in op.inputs]
        given = [self._shapes[number] for number in op.inputs]
        shapes = [self._shapes[number] for number in op.outputs]
        outputs = self._ruled(op, inputs, given, shapes)
        if outputs is not None:
            return outputs
        if op.name not in SOURCES and op.name not in self.unknown:
            self.unknown.append(op.name)
        for value in inputs:
            frozen(self.labels, value)
        return [fixed(shape) for shape in shapes]

    def _ruled(
        self, op: Op, inputs: list[Value], given: list[Shape], shapes: list[Shape]
    ) -> list[Value] | None:
        """The outputs of an operation by its rule; None if there is none."""
        bits = op.name == "bitcast_convert_type" and given == shapes
        if op.name in elementwise.NAMES or bits:
            dtypes = [self._dtypes[number] for number in op.inputs]
            return [elementwise.rule(self.labels, op, inputs, given, dtypes, shapes[0])]
        if op.name == "reshape":
            return [self._reshaped(op, inputs, given, shapes[0])]
        return _outputs(self.labels, op, inputs, given, shapes)

    def _reshaped(self, op: Op, inputs: list[Value], given: list[Shape], shape: Shape) -> Value:
        def choose(block: int, axis: np.ndarray, candidates: int) -> int:
            key = (op.outputs[0], block)
            self.splits[key] = Split(axis, candidates)
            return self._choices.get(key, candidates - 1)

        return shaping.reshaped(self.labels, inputs, given, shape, choose)


def _outputs(
    labels: Labels,
    op: Op,
    inputs: list[Value],
    given: list[Shape],
    shapes: list[Shape],
) -> list[Value] | None:
    """The outputs of an operation by a rule that needs labels and shapes only."""
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


def fill(value: object) -> Any:
    """The one number of a constant; None if it has several entries or is no number."""
    size, dtype = getattr(value, "size", 1), getattr(value, "dtype", None)
    if size != 1 or (dtype is not None and not isinstance(dtype, np.dtype)):
        return None
    try:
        return np.asarray(value).item()
    except Exception:  # a traced value
        return None
