"""Running a program on smaller arrays: the shapes that its equations state are rewritten."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jax.export import is_symbolic_dim

from prunejax.network.contractions import is_depthwise
from prunejax.network.coupling import Coupling
from prunejax.network.derivatives import CUSTOM, Surroundings, with_rule
from prunejax.network.labels import Shape
from prunejax.network.program import Op, Program

CHECKPOINTS = ("remat", "remat2", "checkpoint")


class Resized:
    """A program on arrays from which channels are missing.

    Args:
      program: the program at full size.
      coupling: its labels.
      removed: for each label that stands for a set whether it is removed, [labels].
    """

    def __init__(self, program: Program, coupling: Coupling, removed: np.ndarray) -> None:
        self._program = program
        self._coupling = coupling
        self._removed = removed[coupling.labels.find(np.arange(len(coupling.labels)))]

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Evaluates the program.

        Args:
          inputs: arrays of the reduced shapes, one for each input of the program.

        Returns:
          Its outputs.
        """
        known = {
            number: self._shrink(number, value) for number, value in self._program.constants.items()
        }
        known.update(zip(self._program.inputs, inputs, strict=True))
        self._run(self._program.ops, known)
        return [known[number] for number in self._program.outputs]

    def described(self) -> Program:
        """The program with the shapes of what is left: to look at, not to run."""
        return dataclasses.replace(
            self._program,
            ops=tuple(self._reshaped(op) for op in self._program.ops),
            shapes=tuple(self._shape(number) for number in range(len(self._program.shapes))),
        )

    def _reshaped(self, op: Op) -> Op:
        if op.body is not None:
            return dataclasses.replace(op, body=tuple(self._reshaped(inner) for inner in op.body))
        return dataclasses.replace(op, params=self._rewritten(op))

    def _run(self, ops: tuple[Op, ...], known: dict[int, Any]) -> None:
        for op in ops:
            values = [known[number] for number in op.inputs]
            if not any(self._shrinks(number) for number in (*op.inputs, *op.outputs)):
                results = bind(op, op.params, values)
            elif op.body is None:
                results = bind(op, self._rewritten(op), values)
            else:
                results = self._call(op, values, known)
            known.update(zip(op.outputs, results, strict=True))

    def _call(self, op: Op, values: list[Any], known: dict[int, Any]) -> list[Any]:
        """A call whose body changes: its derivative or its rematerialisation comes along."""

        def body(*arguments: Any) -> list[Any]:
            inner = {**known, **dict(zip(op.inputs, arguments, strict=True))}
            self._run(op.body or (), inner)
            return [inner[number] for number in op.outputs]

        if op.name in CHECKPOINTS:
            return jax.checkpoint(
                body, policy=op.params["policy"], prevent_cse=op.params["prevent_cse"]
            )(*values)
        if op.name in CUSTOM:
            around = Surroundings(self._program, self._coupling, self._removed, Resized)

            def whole(*arguments: Any) -> list[Any]:
                return bind(op, op.params, list(arguments))

            return with_rule(op, body, whole, around)(*values)
        return body(*values)

    def _kept(self, number: int) -> list[np.ndarray]:
        """For each axis of a value which of its indices are left."""
        return [
            _whole(size) if axis is None else ~self._removed[axis]
            for size, axis in zip(
                self._program.shapes[number], self._coupling.axes(number), strict=True
            )
        ]

    def _shrinks(self, number: int) -> bool:
        return any(
            axis is not None and bool(self._removed[axis].any())
            for axis in self._coupling.axes(number)
        )

    def _shape(self, number: int) -> Shape:
        return tuple(
            size if kept.all() else int(kept.sum())
            for size, kept in zip(self._program.shapes[number], self._kept(number), strict=True)
        )

    def _shrink(self, number: int, value: Any) -> Any:
        return shrink(value, self._kept(number)) if self._shrinks(number) else value

    def _rewritten(self, op: Op) -> dict[str, Any]:
        """The parameters of an operation, for the reduced shapes."""
        params, shape = dict(op.params), self._shape(op.outputs[0])
        match op.name:
            case "broadcast_in_dim" | "iota":
                params["shape"] = shape
            case "reshape":
                params["new_sizes"] = shape
            case "split":
                params["sizes"] = tuple(
                    self._shape(number)[params["axis"]] for number in op.outputs
                )
            case "slice":
                starts, limits = list(params["start_indices"]), list(params["limit_indices"])
                for axis, kept in enumerate(self._kept(op.inputs[0])):
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
                        self._kept(op.outputs[0]), params["padding_config"], strict=True
                    )
                )
            case "gather" | "dynamic_slice":
                params["slice_sizes"] = tuple(
                    size if kept.all() else int(kept.sum())
                    for size, kept in zip(
                        params["slice_sizes"], self._kept(op.inputs[0]), strict=True
                    )
                )
            case "conv_general_dilated":
                shapes = [self._program.shapes[number] for number in op.inputs]
                if is_depthwise(op, shapes):
                    feature = params["dimension_numbers"].lhs_spec[1]
                    params["feature_group_count"] = self._shape(op.inputs[0])[feature]
        return params


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
    return jnp.asarray(result) if concrete else result


def _whole(size: Any) -> np.ndarray:
    """An axis that is kept whole; one index stands for an axis of symbolic size."""
    return np.ones(1 if is_symbolic_dim(size) else size, bool)


def bind(op: Op, params: dict[str, Any], values: list[Any]) -> list[Any]:
    """Applies an operation's primitive.

    Args:
      op: the operation.
      params: the primitive's parameters, the operation's own or changed ones.
      values: its operands.

    Returns:
      Its results.
    """
    stated = op.primitive.get_bind_params(dict(params))
    functions, stated = stated if isinstance(stated, tuple) else ((), stated)  # a pair before 0.8
    results = op.primitive.bind(*functions, *values, **stated)
    return list(results) if op.primitive.multiple_results else [results]
