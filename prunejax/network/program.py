"""A traced function as one tree of operations on numbered values; calls are opened."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

from prunejax.network.sets import Shape

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
    "composite": "jaxpr",
    "remat_opt": "fwd_jaxpr",
}
"""The primitives that only call a jaxpr, and which of their parameters holds it."""

KNOWN_PACKAGES = ("jax", "jaxlib", "prunejax")
"""Who makes the primitives that have rules; those of other packages are opened as calls are."""

LOOPS = ("scan", "while", "cond")
"""The primitives that run programs of their own, which are opened too."""


@dataclasses.dataclass(frozen=True)
class Body:
    """A program inside a loop or a branch; its values have numbers of their own.

    Attributes:
      ops: its operations.
      inputs: the numbers of what it is given.
      outputs: the numbers of what it returns.
    """

    ops: "tuple[Op, ...]"
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Op:
    """One equation: numbers of the values it reads and writes.

    Attributes:
      primitive: what it applies.
      params: the primitive's parameters.
      inputs: the numbers of the values it reads.
      outputs: the numbers of the values it writes.
      body: of a call, the operations that it calls, on the same numbers.
      loop: of one of ``LOOPS``, what it runs: of ``while`` the condition and the body, of ``cond``
        the branches.
      package: of a primitive that neither JAX nor prunejax made, the package that made it.
      index: a number that no other operation of the program has.
      source: where the equation was written, as JAX keeps it.
    """

    primitive: core.Primitive
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    body: "tuple[Op, ...] | None" = None
    loop: tuple[Body, ...] = ()
    package: str = ""
    index: int = 0
    source: Any = None

    @property
    def name(self) -> str:
        """The primitive's name, behind that of the package if it is not one of JAX's."""
        return f"{self.package}.{self.primitive.name}" if self.package else self.primitive.name

    @property
    def foreign(self) -> bool:
        """Whether it is a primitive of another package, which was opened."""
        return self.body is not None and bool(self.package)


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
        """All operations that are not calls, in order; a loop is one operation."""
        yield from flatten(self.ops)

    @functools.cached_property
    def makers(self) -> "dict[int, Op]":
        """The operation that gives each value, those inside of loops left out."""
        return {number: op for op in self.flat() for number in op.outputs}

    def everything(self) -> Iterator[Op]:
        """All operations that are neither calls nor loops, those inside them too."""
        yield from _opened(self.ops)


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


def _opened(ops: tuple[Op, ...]) -> Iterator[Op]:
    for op in ops:
        if op.body is not None:
            yield from _opened(op.body)
        for body in op.loop:
            yield from _opened(body.ops)
        if op.body is None and not op.loop:
            yield op


class _Builder:
    """Hands out the numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.avals: list[Any] = []
        self.constants: dict[int, Any] = {}

    def number(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, value: Any, aval: Any) -> int:
        number = self.number(aval)
        self.constants[number] = value
        return number

    def permuted(self, equation: Any, read: int, source: Any) -> Op:
        """The transposition that a reshape begins with."""
        order = plain(equation.params["dimensions"])
        aval = equation.invars[0].aval
        number = self.number(aval.update(shape=tuple(aval.shape[axis] for axis in order)))
        params = {"permutation": order}
        return Op(lax.transpose_p, params, (read,), (number,), index=self.count, source=source)

    def apart(self, closed: Any) -> Body:
        """A program that has its own inputs."""
        inputs = [self.number(variable.aval) for variable in closed.jaxpr.invars]
        ops, outputs = self.body(closed, inputs)
        return Body(ops, tuple(inputs), outputs)

    def body(
        self, closed: Any, inputs: list[int], within: Any = None
    ) -> tuple[tuple[Op, ...], tuple[int, ...]]:
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
            package = maker(equation.primitive)
            name = "" if package else equation.primitive.name
            reads = [read(atom) for atom in equation.invars]
            inner, loop = None, ()
            called = opened(equation) if package else equation.params.get(CALLS.get(name, ""))
            if called is not None:
                # what JAX traced for an earlier call shows that call's line
                of_others = package or of_jax(called)
                inner, writes = self.body(
                    called, reads, within or (equation.source_info if of_others else None)
                )
                known.update(zip(equation.outvars, writes, strict=True))
            else:
                loop = tuple(self.apart(held) for held in _held(name, equation.params))
                writes = tuple(self.number(variable.aval) for variable in equation.outvars)
                known.update(zip(equation.outvars, writes, strict=True))
            self.count += 1
            source = within or equation.source_info
            params = plain(equation.params)
            if name == "reshape" and params.get("dimensions") is not None:
                # one that permutes first becomes two operations
                ops.append(self.permuted(equation, reads[0], source))
                reads[0], params = ops[-1].outputs[0], {**params, "dimensions": None}
                self.count += 1
            ops.append(
                Op(
                    equation.primitive,
                    params,
                    tuple(reads),
                    writes,
                    inner,
                    loop,
                    package,
                    self.count,
                    source,
                )
            )
        return tuple(ops), tuple(read(atom) for atom in jaxpr.outvars)


def plain(held: Any) -> Any:
    """Axes and sizes as Python's integers; callers may write them as NumPy's.

    Args:
      held: the parameters of a primitive, or a part of them.

    Returns:
      The same, where NumPy's integers stood, Python's.
    """
    if isinstance(held, np.integer):
        return int(held)
    if isinstance(held, dict):
        return {key: plain(value) for key, value in held.items()}
    if not isinstance(held, tuple):
        return held
    parts = [plain(part) for part in held]
    if all(part is old for part, old in zip(parts, held, strict=True)):
        return held
    return type(held)(*parts) if hasattr(held, "_fields") else tuple(parts)


def maker(primitive: core.Primitive) -> str:
    """The package that made a primitive, told by its implementation; "" for JAX and prunejax."""
    function: Any = primitive.impl
    while isinstance(function, functools.partial):
        function = function.func
    package = str(getattr(function, "__module__", "jax")).split(".")[0]
    return "" if package in KNOWN_PACKAGES else package


def opened(equation: Any) -> Any:
    """What a primitive of another package computes, such as those of Equinox.

    Args:
      equation: an equation with such a primitive.

    Returns:
      Its implementation as a jaxpr; None if JAX cannot trace it.
    """
    multiple = equation.primitive.multiple_results

    def implemented(*values: Any) -> list[Any]:
        results = equation.primitive.impl(*values, **equation.params)
        return list(results) if multiple else [results]

    given = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in equation.invars]
    try:
        closed = jax.make_jaxpr(implemented)(*given)
    except Exception:  # an implementation in another language
        return None
    told = [(variable.aval.shape, variable.aval.dtype) for variable in equation.outvars]
    return closed if told == [(aval.shape, aval.dtype) for aval in closed.out_avals] else None


def of_jax(called: Any) -> bool:
    """Whether a call's function is one of JAX's own, such as ``jnp.sort``.

    Args:
      called: the jaxpr that it calls.

    Returns:
      Whether the file of the function belongs to JAX.
    """
    info = getattr(getattr(called, "jaxpr", called), "debug_info", None)
    return "/jax/" in str(getattr(info, "func_src_info", "")).replace("\\", "/")


def _held(name: str, params: dict[str, Any]) -> list[Any]:
    """The programs that a loop runs."""
    match name:
        case "scan":
            return [params["jaxpr"]]
        case "while":
            return [params["cond_jaxpr"], params["body_jaxpr"]]
        case "cond":
            return list(params["branches"])
    return []


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
