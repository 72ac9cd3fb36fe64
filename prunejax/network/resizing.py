"""Running a program on smaller arrays: the shapes that its equations state are rewritten."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core, lax
from jax.export import is_symbolic_dim

from prunejax.network import complement, contractions, indexing, moving
from prunejax.network.coupling import Coupling
from prunejax.network.derivable import custom
from prunejax.network.derivatives import Surroundings, with_rule
from prunejax.network.program import Body, Op, Program, bind
from prunejax.network.rewriting import Kept, Sizes, rewritten, sliced, strided
from prunejax.network.sets import Shape
from prunejax.network.values import Value

CHECKPOINTS = ("remat", "remat2", "checkpoint")


class Scope:
    """The values of a program that is being evaluated.

    Args:
      values: by their numbers.

    Attributes:
      values: the same.
      parts: what was computed at removed indices, by number and box.
    """

    def __init__(self, values: dict[int, Any]) -> None:
        self.values = values
        self.parts: dict[Any, Any] = {}


class Resized:
    """A program on arrays from which channels are missing.

    Args:
      program: the program at full size.
      coupling: its labels.
      removed: for each label that stands for a set whether it is removed, [labels].

    Attributes:
      program: the program.
      coupling: its labels.
    """

    def __init__(self, program: Program, coupling: Coupling, removed: np.ndarray) -> None:
        self.program = program
        self.coupling = coupling
        self._removed = coupling.labels.spread(removed)
        self._sizes: dict[int, Sizes] = {}

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Evaluates the program.

        Args:
          inputs: arrays of the reduced shapes, one for each input of the program.

        Returns:
          Its outputs.
        """
        scope = Scope(dict(self.program.constants))
        scope.values.update(zip(self.program.inputs, inputs, strict=True))
        self._run(self.program.ops, scope)
        return [scope.values[number] for number in self.program.outputs]

    def described(self) -> Program:
        """The program with the shapes of what is left: to look at, not to run."""
        return dataclasses.replace(
            self.program,
            ops=tuple(self._reshaped(op) for op in self.program.ops),
            shapes=tuple(
                self._shape(self.coupling.value(number), shape)
                if self.coupling.labelled(number)
                else shape
                for number, shape in enumerate(self.program.shapes)
            ),
        )

    def _reshaped(self, op: Op) -> Op:
        if op.body is not None:
            return dataclasses.replace(op, body=tuple(self._reshaped(inner) for inner in op.body))
        if op.loop:
            bodies = tuple(
                dataclasses.replace(body, ops=tuple(self._reshaped(inner) for inner in body.ops))
                for body in op.loop
            )
            return dataclasses.replace(op, loop=bodies)
        if not all(self.coupling.labelled(number) for number in op.outputs):
            return op
        return dataclasses.replace(op, params=rewritten(op, self.sizes(op)))

    def _run(self, ops: tuple[Op, ...], scope: Scope) -> None:
        for op in ops:
            scope.values.update(zip(op.outputs, self._results(op, scope), strict=True))

    def _results(self, op: Op, scope: Scope) -> list[Any]:
        if not self._touched(op):
            return bind(op, op.params, [self.value(scope, number) for number in op.inputs])
        if op.body is not None:
            return self._call(op, scope)
        if op.loop:
            return self._loop(op, scope)
        sizes = self.sizes(op)
        match op.name:
            case name if name in contractions.MERGED:
                return [
                    complement.reduction(self, scope, op, {}, place)
                    for place in range(len(op.outputs))
                ]
            case "dot_general":
                return [complement.product(self, scope, op, {})]
            case "conv_general_dilated":
                return [complement.convolution(self, scope, op, {})]
        values = [self.operand(scope, op, place) for place in range(len(op.inputs))]
        if op.name == "slice" and strided(op, sizes.inputs[0]):
            return [sliced(op, values[0], sizes.inputs[0])]
        if op.name == "gather":
            shapes = [self.program.shapes[number] for number in op.inputs]
            moved = indexing.taken_along(op, shapes, self.coupling.constant(op.inputs[1]))
            if moved is not None:
                return [moving.looked_up(values[0], sizes, moved)]
        return bind(op, rewritten(op, sizes), values)

    def operand(self, scope: Scope, op: Op, place: int) -> Any:
        """What is left of what an operation reads."""
        number = op.inputs[place]
        value = self.coupling.operands(op)[place]
        return self._cut(self.value(scope, number), number, value)

    def value(self, scope: Scope, number: int) -> Any:
        """A value; one that a call has kept to itself is computed again."""
        if number not in scope.values:
            op = self.coupling.maker(number)
            assert op is not None, "a value is given, or an operation makes it"
            scope.values.update(zip(op.outputs, self._results(op, scope), strict=True))
        return scope.values[number]

    def _cut(self, array: Any, number: int, value: Value) -> Any:
        """Cuts out of a loose array what is needed of it."""
        if not self.coupling.value(number).loose or value.loose or not self._shrinks(value):
            return array
        return shrink(array, self.kept(value, self.program.shapes[number]))

    def _touched(self, op: Op) -> bool:
        reads = self.coupling.operands(op)
        writes = (self.coupling.value(number) for number in op.outputs)
        return any(map(self._shrinks, reads)) or any(map(self._shrinks, writes))

    def _call(self, op: Op, scope: Scope) -> list[Any]:
        """A call whose body changes: its derivative or its rematerialisation comes along."""

        def body(*arguments: Any) -> list[Any]:
            inner = Scope({**scope.values, **dict(zip(op.inputs, arguments, strict=True))})
            self._run(op.body or (), inner)
            return [inner.values[number] for number in op.outputs]

        values = [scope.values[number] for number in op.inputs]
        if op.name in CHECKPOINTS:
            return jax.checkpoint(
                body, policy=op.params["policy"], prevent_cse=op.params["prevent_cse"]
            )(*values)
        if custom(op):
            around = Surroundings(self.program, self.coupling, self._removed, Resized)

            def whole(*arguments: Any) -> list[Any]:
                return bind(op, op.params, list(arguments))

            return with_rule(op, body, whole, around)(*values)
        self._run(op.body or (), scope)  # in the same scope, whose values may be looked up later
        return [scope.values[number] for number in op.outputs]

    def _loop(self, op: Op, scope: Scope) -> list[Any]:
        """A loop or a choice of branches whose bodies change."""
        values = [self.operand(scope, op, place) for place in range(len(op.inputs))]
        params = op.params
        bodies = [self._function(op, place, body) for place, body in enumerate(op.loop)]
        if op.name == "cond":
            return list(lax.switch(values[0], bodies, *values[1:]))
        if op.name == "while":
            first, second = params["cond_nconsts"], params["body_nconsts"]
            asked, consts = values[:first], values[first : first + second]
            return list(
                lax.while_loop(
                    lambda carry: bodies[0](*asked, *carry)[0],
                    lambda carry: tuple(bodies[1](*consts, *carry)),
                    tuple(values[first + second :]),
                )
            )
        count, around = params["num_consts"], params["num_carry"]
        consts = values[:count]

        def step(carry: tuple[Any, ...], slices: tuple[Any, ...]) -> Any:
            results = bodies[0](*consts, *carry, *slices)
            return tuple(results[:around]), tuple(results[around:])

        carry, stacked = lax.scan(
            step,
            tuple(values[count : count + around]),
            tuple(values[count + around :]),
            length=None if len(values) > count + around else params["length"],
            reverse=params["reverse"],
            unroll=params["unroll"],
        )
        return [*carry, *stacked]

    def _function(self, op: Op, place: int, body: Body) -> Callable[..., list[Any]]:
        """One of the programs that a loop runs."""

        def function(*arguments: Any) -> list[Any]:
            scope = Scope(dict(self.program.constants))
            scope.values.update(zip(body.inputs, arguments, strict=True))
            self._run(body.ops, scope)
            results = [scope.values[number] for number in body.outputs]
            if op.name == "while" and place == 0:
                return results
            cuts = self.coupling.returned(op, place)
            return [
                self._cut(result, number, value)
                for result, number, value in zip(results, body.outputs, cuts, strict=True)
            ]

        return function

    def kept(self, value: Value, shape: Shape) -> Kept:
        """For each axis of a value which of its indices are left."""
        if value.loose:
            return [_whole(size) for size in shape]
        return [
            _whole(size) if axis is None else ~self._removed[axis]
            for size, axis in zip(shape, value.axes, strict=True)
        ]

    def sizes(self, op: Op) -> Sizes:
        """What is left of what an operation reads and gives."""
        if op.index not in self._sizes:
            reads, writes = self.coupling.operands(op), []
            outputs = [self.coupling.value(number) for number in op.outputs]
            for number, value in zip(op.outputs, outputs, strict=True):
                writes.append(self.kept(value, self.program.shapes[number]))
            self._sizes[op.index] = Sizes(
                [
                    self.kept(value, self.program.shapes[number])
                    for number, value in zip(op.inputs, reads, strict=True)
                ],
                writes,
                [self.program.shapes[number] for number in op.inputs],
                [
                    self._shape(value, self.program.shapes[number])
                    for number, value in zip(op.outputs, outputs, strict=True)
                ],
            )
        return self._sizes[op.index]

    def _shrinks(self, value: Value) -> bool:
        return not value.loose and any(
            axis is not None and bool(self._removed[axis].any()) for axis in value.axes
        )

    def _shape(self, value: Value, shape: Shape) -> Shape:
        return tuple(
            size if kept.all() else int(kept.sum())
            for size, kept in zip(shape, self.kept(value, shape), strict=True)
        )


def shrink(value: Any, kept: Sequence[np.ndarray]) -> Any:
    """Leaves out entries of an array.

    Args:
      value: an array, or a ``jax.ShapeDtypeStruct``.
      kept: for each axis which of its indices stay.

    Returns:
      The smaller array, of the same kind.
    """
    if isinstance(value, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(tuple(int(axis.sum()) for axis in kept), value.dtype)
    concrete = isinstance(value, jax.Array) and not isinstance(value, core.Tracer)
    # through NumPy, which has nothing to compile for each new shape
    result = np.asarray(value) if concrete and value.is_fully_addressable else value
    for index, axis in enumerate(kept):
        if not axis.all():
            places = np.flatnonzero(axis).astype(np.int32)
            if isinstance(result, np.ndarray):
                result = np.take(result, places, index)
            else:
                result = jnp.take(result, places, axis=index, unique_indices=True, mode="clip")
    return jax.device_put(result) if concrete else result  # `asarray` compiles for each shape


def _whole(size: Any) -> np.ndarray:
    """An axis that is kept whole; one index stands for an axis of symbolic size."""
    return np.ones(1 if is_symbolic_dim(size) else size, bool)
