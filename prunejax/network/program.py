"""A traced function as one tree of operations on numbered values; calls are opened."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core

from prunejax.network.labels import Shape

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
"""The primitives that only call a jaxpr, and which of their parameters holds it."""


@dataclasses.dataclass(frozen=True)
class Op:
    """One equation: numbers of the values it reads and writes; for a call, its body."""

    primitive: core.Primitive
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    body: "tuple[Op, ...] | None" = None

    @property
    def name(self) -> str:
        """The primitive's name."""
        return self.primitive.name


@dataclasses.dataclass(frozen=True)
class Program:
    """Operations in order; a call's body works on the same numbers as its surroundings."""

    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    shapes: tuple[Shape, ...]
    dtypes: tuple[Any, ...]

    def flat(self) -> Iterator[Op]:
        """All operations that are not calls, in order."""
        yield from flatten(self.ops)


def inline(closed: core.ClosedJaxpr) -> Program:
    """Numbers the values of a jaxpr and of all jaxprs it calls.

    Args:
      closed: what ``jax.make_jaxpr`` returns.

    Returns:
      The program.
    """
    builder = _Builder()
    inputs = [builder.number(variable.aval) for variable in closed.jaxpr.invars]
    ops, outputs = builder.body(closed, inputs)
    return Program(
        ops,
        tuple(inputs),
        outputs,
        builder.constants,
        tuple(tuple(aval.shape) for aval in builder.avals),
        tuple(aval.dtype for aval in builder.avals),
    )


def flatten(ops: tuple[Op, ...]) -> Iterator[Op]:
    """All operations that are not calls, those inside calls too, in order."""
    for op in ops:
        if op.body is None:
            yield op
        else:
            yield from flatten(op.body)


class _Builder:
    """Hands out the numbers."""

    def __init__(self) -> None:
        self.avals: list[Any] = []
        self.constants: dict[int, Any] = {}

    def number(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, value: Any, aval: Any) -> int:
        number = self.number(aval)
        self.constants[number] = value
        return number

    def body(self, closed: Any, inputs: list[int]) -> tuple[tuple[Op, ...], tuple[int, ...]]:
        # remat holds an open jaxpr, all other calls a closed one
        jaxpr = closed.jaxpr if hasattr(closed, "consts") else closed
        consts = closed.consts if hasattr(closed, "consts") else []
        known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            known[variable] = self.constant(value, jax.typeof(value))

        def read(atom: Any) -> int:
            if isinstance(atom, core.Literal):
                return self.constant(atom.val, atom.aval)
            return known[atom]

        ops = []
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            reads = [read(atom) for atom in equation.invars]
            inner = None
            if name in CALLS and CALLS[name] in equation.params:
                inner, writes = self.body(equation.params[CALLS[name]], reads)
                known.update(zip(equation.outvars, writes, strict=True))
            else:
                writes = tuple(self.number(variable.aval) for variable in equation.outvars)
                known.update(zip(equation.outvars, writes, strict=True))
            ops.append(Op(equation.primitive, equation.params, tuple(reads), writes, inner))
        return tuple(ops), tuple(read(atom) for atom in jaxpr.outvars)
