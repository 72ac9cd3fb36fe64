"""One pass over a program that finds which channels must be kept or removed together."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

from prunejax.network import elementwise, indexing, loops, rules
from prunejax.network.derivable import keeps_derivative
from prunejax.network.derivatives import tangents
from prunejax.network.labels import Labels
from prunejax.network.program import Op, Program, bind
from prunejax.network.sets import Axis, Shape
from prunejax.network.values import KNOWN, LOOSE, Value, fixed, fresh, frozen, given, loose, told

SOURCES = frozenset(
    (
        "iota",
        "random_bits",
        "random_seed",
        "random_wrap",
        "random_unwrap",
        "random_fold_in",
        "random_split",
        "random_gamma",
        "threefry2x32",
        "random_clone",
        "rng_bit_generator",
    )
)
"""What these give depends on the shape they are asked for, which is therefore the full one."""

LARGEST_CONSTANT = 2**16
"""Of larger constants it is not asked whether all entries are the same."""

MOST_INDICES = 2**20
"""Larger constants are not asked for their entries."""

RETURNED = "are what the network returns"


class Coupling:
    """The labels of every value of a program.

    Args:
      program: the program.
      labels: the labels so far.
      inputs: what is known of its inputs.
      rule: whether the program is itself a derivative, which may hold its own function again.

    Attributes:
      labels: the union-find.
      program: the program.
      unknown: the names of the primitives that no rule covers, in order of appearance.
      found: how often each label that is a channel's is found in the variables, see ``count``.
    """

    def __init__(
        self, program: Program, labels: Labels, inputs: Sequence[Value], *, rule: bool = False
    ) -> None:
        self.labels = labels
        self._rule = rule
        self.program = program
        self.unknown: list[str] = []
        self._values: dict[int, Value] = dict(zip(program.inputs, inputs, strict=True))
        self._cuts: dict[Any, tuple[Value, ...]] = {}
        self._constants: dict[int, np.ndarray | None] = {}
        self._makers: dict[int, Op] = {}
        self.found = np.zeros(0, np.int64)
        for number, value in program.constants.items():
            self._values[number] = loose(program.shapes[number], fill(value))
        self._fed = {
            number for number, value in zip(program.inputs, inputs, strict=True) if value.loose
        }
        self.follow(program.ops)

    def value(self, number: int) -> Value:
        """What is known of a value."""
        return self._values[number]

    def put(self, number: int, value: Value, *, fed: bool = False) -> None:
        """Says what is known of a value; ``fed``: it is loose and depends on the input."""
        self._values[number] = value
        if fed:
            self._fed.add(number)

    def axes(self, number: int) -> tuple[Axis, ...]:
        """The labels of the axes of a value; None where nothing of the value itself is removed."""
        value = self._values[number]
        return (None,) * len(value.axes) if value.loose else value.axes

    def operands(self, op: Op) -> tuple[Value, ...]:
        """What is known of what an operation reads, loose values cut as it needs them."""
        found = self._cuts.get(op.index)
        return found or tuple(self._values[number] for number in op.inputs)

    def join(self, number: int, axes: Sequence[Axis]) -> None:
        """Ties the axes of a value to others."""
        for pair in zip(self.axes(number), axes, strict=True):
            self.labels.join(pair)

    def cut(self, value: Value, shape: Shape) -> Value:
        """A loose value as an operation reads it: what it needs of it is cut out."""
        if not value.loose or not value.axes:
            return value
        axes = tuple(
            None if axis is None else self.labels.fresh(size)
            for axis, size in zip(value.axes, shape, strict=True)
        )
        return Value(axes, value.at, value.fill)

    def keep_cut(self, key: Any, values: Sequence[Value]) -> None:
        """Records how an operation reads its operands, or how a loop's body returns its results.

        Args:
          key: the operation's index; of a body's results also its place in ``loop``.
          values: how each of them is cut.
        """
        self._cuts[key] = tuple(values)

    def returned(self, op: Op, place: int) -> tuple[Value, ...]:
        """How one of the programs of a loop returns its results."""
        return self._cuts[op.index, place]

    def fed(self, number: int) -> bool:
        """Whether a loose value depends on the network's input."""
        return number in self._fed

    def count(self, variables: Sequence[int]) -> None:
        """Counts where labels are found in variables; ties those that are in the same places.

        Args:
          variables: the numbers of the values that are variables.
        """
        labels = self.labels
        axes = [axis for number in variables for axis in self.axes(number) if axis is not None]
        if not axes:
            self.found = np.zeros(len(labels), np.int64)
            return
        where, roots = labels.bases(np.concatenate(axes))
        start = sum(map(len, axes))
        self.found = np.bincount(roots, minlength=len(labels))
        if len(roots) == start:
            return  # one label for each index: no two are in the same places
        # two labels are in the same places if random numbers of the places have the same sum
        drawn = np.random.default_rng(0).integers(1, 2**62, start, dtype=np.uint64)
        sums = np.zeros(len(labels), np.uint64)
        np.add.at(sums, roots, drawn[where])
        present = np.flatnonzero(self.found)
        _, first, inverse = np.unique(sums[present], return_index=True, return_inverse=True)
        twins = present[first][inverse.ravel()]
        if (present == twins).all():
            return
        labels.union(present, twins)
        labels.settle()
        self.found = np.where(
            labels.find(np.arange(len(labels))) == np.arange(len(labels)), self.found, 0
        )

    def labelled(self, number: int) -> bool:
        """Whether anything is known of a value: not of those in loops that no variable enters."""
        return number in self._values

    def maker(self, number: int) -> Op | None:
        """The operation that gives a value; None of inputs, constants and what loops give."""
        return self._makers.get(number)

    def follow(self, ops: Sequence[Op]) -> None:
        """Labels what some operations give."""
        for op in ops:
            if op.body is not None:
                self.follow(op.body)
                if not keeps_derivative(op):
                    self._own_derivative(op)
            elif op.loop and not all(self._values[number].loose for number in op.inputs):
                self.labels.op = op
                loops.follow(self, op)
            else:
                self.labels.op = op
                for number, value in zip(op.outputs, self._step(op), strict=True):
                    self._values[number] = value
                    self._makers[number] = op

    def _own_derivative(self, op: Op) -> None:
        """What is known of what a call with a derivative of its own gives: numbers alone.

        A result may be a number at removed indices, and move all the same, as the rule wants it:
        with a threshold that all channels share, say. Then nothing is known there. What a rule in
        reverse adds up is looked at when it is used.
        """
        for number in op.outputs:
            self._values[number] = told(self._values[number])
        if self._rule or op.name.startswith("custom_vjp_call"):
            return
        results = [self._values[number] for number in op.outputs]
        moves = tuple(self._moves(number) for number in op.inputs)
        numbers = (there for value in results if not value.loose for there in value.at)
        if not any(moves) or all(there is None for there in numbers):
            return
        slopes = tangents(op, self, moves) or [None] * len(results)
        for number, value, slope in zip(op.outputs, results, slopes, strict=True):
            if value.loose or not self._inexact(number):
                continue
            at = tuple(
                there if slope is not None and slope.vanishes(axis) else None
                for axis, there in enumerate(value.at)
            )
            self._values[number] = value._replace(at=at, fill=None)

    def _inexact(self, number: int) -> bool:
        return jnp.issubdtype(self.program.dtypes[number], jnp.inexact)

    def _moves(self, number: int) -> bool:
        """Whether a value may have a derivative: constants have none."""
        fed = not self._values[number].loose or number in self._fed
        return fed and self._inexact(number)

    def _step(self, op: Op) -> list[Value]:
        inputs = [self._values[number] for number in op.inputs]
        shapes = [self.program.shapes[number] for number in op.outputs]
        before = [self.program.shapes[number] for number in op.inputs]
        fed = [number for number in op.inputs if number in self._fed]
        aside = all(value.loose for value in inputs)
        if aside and not fed:
            return [
                loose(shape, self._fill(op, inputs) if len(shapes) == 1 else None)
                for shape in shapes
            ]
        read = [
            self.cut(value, shape) if value.loose else value
            for value, shape in zip(inputs, before, strict=True)
        ]
        outputs = None
        if op.name in SOURCES:  # with a seed among the variables too
            for value in read:
                frozen(self.labels, value, "draws random numbers by them")
            self._fed.update(op.outputs)
            return [loose(shape) for shape in shapes]
        if not op.loop:
            outputs = self._ruled(op, read, before, shapes)
        if outputs is None and _whole(inputs, before):
            self._fed.update(op.outputs)
            return [loose(shape) for shape in shapes]
        if aside:
            self._fed.update(op.outputs)
            if outputs is None:
                return [given(shape) for shape in shapes]
            return [self._aside(value) for value in outputs]
        self._cuts.pop(op.index, None)  # of an earlier pass over a loop
        if any(value.loose for value in inputs):
            self._cuts[op.index] = tuple(read)
        if outputs is not None:
            return outputs
        if op.name not in self.unknown:
            self.unknown.append(op.name)
        for value in read:
            frozen(self.labels, value, "has no rule")
        return [fixed(shape) for shape in shapes]

    def _aside(self, value: Value) -> Value:
        """A result of which no variable has a part: what may be cut is cut where it is read."""
        axes = tuple(LOOSE if axis is not None else None for axis in value.axes)
        return Value(axes, (KNOWN,) * len(axes), value.fill, loose=True)

    def _fill(self, op: Op, inputs: list[Value]) -> Any:
        if op.name in elementwise.NAMES:
            fills = [value.fill for value in inputs]
            if any(each is None for each in fills):
                return None
            dtypes = [self.program.dtypes[number] for number in op.inputs]
            return elementwise.fill(op, dtypes, fills)
        moves = ("broadcast_in_dim", "reshape", "squeeze", "transpose", "slice", "rev", "tile")
        return inputs[0].fill if op.name in moves else None

    def constant(self, number: int) -> np.ndarray | None:
        """The entries of a value that depends on constants alone; None if they are not at hand."""
        if number not in self._constants:
            self._constants[number] = self._evaluated(number)
        return self._constants[number]

    def _evaluated(self, number: int) -> np.ndarray | None:
        value = self._values.get(number)
        if value is None or not value.loose or number in self._fed:
            return None
        found = self.program.constants.get(number)
        if found is None:
            op = self._makers.get(number)
            if op is None or op.loop:
                return None
            operands = [self.constant(each) for each in op.inputs]
            if any(operand is None for operand in operands):
                return None
            try:
                with jax.ensure_compile_time_eval():
                    found = bind(op, op.params, operands)[op.outputs.index(number)]
            except Exception:  # what cannot be computed now is not a constant
                return None
        if isinstance(found, core.Tracer) or np.size(found) > MOST_INDICES:
            return None
        return np.asarray(found)

    def _ruled(
        self, op: Op, inputs: list[Value], given: list[Shape], shapes: list[Shape]
    ) -> list[Value] | None:
        """The outputs of an operation by its rule; None if there is none."""
        bits = op.name == "bitcast_convert_type" and given == shapes
        if op.name in elementwise.NAMES or bits:
            dtypes = [self.program.dtypes[number] for number in op.inputs]
            return [elementwise.rule(self.labels, op, inputs, given, dtypes, shapes[0])]
        if op.name == "gather":
            places = self.constant(op.inputs[1])
            return [indexing.gather(self.labels, op, inputs, given, shapes[0], places)]
        return rules.outputs(self.labels, op, inputs, given, shapes)


def _whole(values: Sequence[Value], shapes: Sequence[Shape]) -> bool:
    """Whether operands are numbers, and tables that may be cut: the same whatever is removed.

    Axes of length 1 say nothing: an input of one entry, in a batch of one, has no others.
    """
    axes = [
        axis
        for value, shape in zip(values, shapes, strict=True)
        for axis, size in zip(value.axes, shape, strict=True)
        if size != 1
    ]
    whole = all(value.loose or not value.axes for value in values)
    told = bool(axes) or not all(value.axes for value in values)
    return whole and told and all(axis is not None for axis in axes)


def label(
    program: Program, masked: Sequence[bool | None], ties: Sequence[tuple[int, int]]
) -> Coupling:
    """Labels the channels of a network.

    Args:
      program: the program.
      masked: for each of its inputs whether removed entries of it are 0 in the masked network;
        None for an input of which nothing can be removed.
      ties: pairs (output, input) of positions: state that comes back updated.

    Returns:
      The labels.
    """
    labels, inputs = Labels(), []
    read = {number for op in program.flat() for number in op.inputs}
    read |= {program.inputs[place] for _, place in ties}  # written, if not read
    for number, zero in zip(program.inputs, masked, strict=True):
        shape = program.shapes[number]
        if zero is None:
            inputs.append(given(shape))
        elif number in read:
            inputs.append(fresh(labels, shape, 0 if zero else None))
        else:  # a parameter that no operation reads couples to nothing: it stays
            inputs.append(fixed(shape))
    made = Coupling(program, labels, inputs)
    tied = dict(ties)
    labels.op = None
    for position, number in enumerate(program.outputs):
        if position in tied:
            made.join(number, made.axes(program.inputs[tied[position]]))
        else:
            frozen(labels, made.value(number), RETURNED)
    labels.settle()
    made.count(
        [number for number, zero in zip(program.inputs, masked, strict=True) if zero is not None]
    )
    return made


def fill(value: object) -> Any:
    """The one number that all entries of a constant are; None if there is none."""
    size, dtype = getattr(value, "size", 1), getattr(value, "dtype", None)
    if dtype is not None and not isinstance(dtype, np.dtype):
        return None
    if not isinstance(size, int) or not 0 < size <= LARGEST_CONSTANT:
        return None
    if isinstance(value, core.Tracer):
        return None
    try:
        entries = np.asarray(value).reshape(-1)
        same = size == 1 or bool((entries == entries[0]).all())
        return entries[0].item() if same else None
    except Exception:  # an array that is not at hand
        return None
