"""Derivatives that functions bring along (``jax.custom_jvp`` and its kin), on fewer channels.

A rule is a program of its own. It is followed with the labels of what it is given: where it holds
channel by channel it runs on what is left, and elsewhere it is refused by name, as a function
whose value can be sliced and whose derivative cannot.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.dtypes import float0

from prunejax.network.derivable import called
from prunejax.network.labels import Labels
from prunejax.network.program import Op, Program, bind, inline
from prunejax.network.sets import FROZEN, Axis
from prunejax.network.sources import where
from prunejax.network.values import Value, number

Function = Callable[..., list[Any]]


class RuleError(ValueError):
    """A derivative rule that does not work channel by channel."""


@runtime_checkable
class Smaller(Protocol):
    """A program that runs on fewer channels, ``resizing.Resized``."""

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Evaluates it."""
        ...


class Surroundings(NamedTuple):
    """The program that a call stands in.

    Attributes:
      program: the program, at full size.
      coupling: its labels.
      removed: for each label whether it is removed.
      resize: ``(program, coupling, removed) -> Smaller``.
    """

    program: Program
    coupling: Any
    removed: np.ndarray
    resize: Callable[[Program, Any, np.ndarray], Smaller]


def with_rule(op: Op, body: Function, whole: Function, around: Surroundings) -> Function:
    """Evaluates a call on fewer channels and keeps the derivative of its function.

    Args:
      op: the call, one that ``derivable.custom`` says yes to.
      body: what it computes, on fewer channels.
      whole: the call at full size, which JAX differentiates by the function's own rule.
      around: the program it stands in.

    Returns:
      The function. Where its rule cannot be sliced, differentiating it raises ``ValueError``.
    """
    rules = _Rules(op, whole, around)
    if op.name.startswith("custom_vjp_call"):
        reverse = jax.custom_vjp(body)
        reverse.defvjp(rules.forward, rules.backward, symbolic_zeros=True)
        return reverse
    forward = jax.custom_jvp(body)
    forward.defjvp(rules.jvp, symbolic_zeros=True)
    return forward


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Moves:
    """Which inputs of a call are differentiated; no array, so that JAX may keep it.

    Attributes:
      moves: one entry per input.
    """

    moves: tuple[bool, ...]


def tangents(op: Op, coupling: Any, moves: tuple[bool, ...]) -> list[Value] | None:
    """What is known of how the results of a call move, by its function's own rule.

    Args:
      op: the call, one with a forward rule.
      coupling: the labels of the program that it stands in, its own results among them.
      moves: which of its inputs move.

    Returns:
      One entry per result; None if the rule cannot be traced.
    """

    def whole(*arguments: Any) -> list[Any]:
        return bind(op, op.params, list(arguments))

    def resize(*_: Any) -> Smaller:
        raise NotImplementedError("nothing is cut while a network is traced")

    around = Surroundings(coupling.program, coupling, np.zeros(0, bool), resize)
    try:
        return _Rules(op, whole, around).tangents(moves)
    except Exception:  # no rule, or one that needs more than shapes
        return None


class _Rules:
    """The rules of one call; the programs behind them are made when they are first used."""

    def __init__(self, op: Op, whole: Function, around: Surroundings) -> None:
        self._op, self._whole, self._around = op, whole, around
        # whole numbers have no derivative: JAX gives and takes float0 for them
        self._slopes = [self._inexact(number) for number in op.outputs]
        self._programs: dict[Hashable, Smaller] = {}

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The rule of ``jax.custom_jvp``."""
        moves = tuple(not isinstance(tangent, SymbolicZero) for tangent in tangents)

        def both(values: list[Any], moved: list[Any]) -> list[Any]:
            function = self._moving(values, moves)
            outputs, slopes = jax.jvp(function, _where(moves, values), moved)
            return [*outputs, *_where(self._slopes, slopes)]

        values = self._values(self._op.inputs)
        results = self._run(
            ("jvp", moves),
            both,
            (self._op.inputs, _where(moves, self._op.inputs)),
            [*values, *map(_tangent, _where(moves, values))],
            [*self._op.outputs, *_where(self._slopes, self._op.outputs)],
            [*primals, *_where(moves, tangents)],
        )
        outputs = results[: len(self._op.outputs)]
        return outputs, self._spread(results[len(outputs) :], self._slopes, outputs)

    def forward(self, *inputs: Any) -> tuple[list[Any], tuple[Any, ...]]:
        """The first rule of ``jax.custom_vjp``: what it saves is its inputs, and which move."""
        moves = tuple(given.perturbed for given in inputs)
        given = tuple(each.value for each in inputs)

        def outputs(values: list[Any]) -> list[Any]:
            return jax.vjp(self._moving(values, moves), *_where(moves, values))[0]

        values, written = self._values(self._op.inputs), list(self._op.outputs)
        results = self._run(("forward", moves), outputs, (self._op.inputs,), values, written, given)
        return results, (given, Moves(moves))

    def backward(self, saved: tuple[Any, "Moves"], pulled: list[Any]) -> tuple[Any, ...]:
        """The second rule of ``jax.custom_vjp``."""
        inputs, moves = saved[0], saved[1].moves

        def back(values: list[Any], pulled: list[Any]) -> list[Any]:
            outputs, pull = jax.vjp(self._moving(values, moves), *_where(moves, values))
            return list(pull(self._spread(pulled, self._slopes, outputs)))

        given = _where(self._slopes, self._op.outputs)
        values = [
            *self._values(self._op.inputs),
            # a gradient need not be 0 where the value is
            *(
                value if value.loose else Value(value.axes, (None,) * len(value.axes))
                for value in self._values(given)
            ),
        ]
        results = self._run(
            ("backward", moves),
            back,
            (self._op.inputs, given),
            values,
            _where(moves, self._op.inputs),
            [*inputs, *map(_instantiated, _where(self._slopes, pulled))],
        )
        slopes = iter(results)
        return tuple(next(slopes) if move else None for move in moves)

    def _moving(self, values: list[Any], moves: tuple[bool, ...]) -> Function:
        """The call at full size as a function of those inputs that move: as JAX asks its rule."""

        def function(*given: Any) -> list[Any]:
            left = iter(given)
            filled = [
                next(left) if move else value for move, value in zip(moves, values, strict=True)
            ]
            return self._whole(*filled)

        return function

    def _run(
        self,
        which: Hashable,
        function: Callable[..., list[Any]],
        arguments: tuple[Sequence[int], ...],
        values: list[Value],
        written: list[int],
        inputs: Sequence[Any],
    ) -> list[Any]:
        """Runs a rule on fewer channels.

        Args:
          which: the rule.
          function: the rule at full size.
          arguments: the numbers of values like those it takes, one list per argument.
          values: what is known of its inputs.
          written: the numbers of values like those it returns.
          inputs: its inputs, with fewer channels.

        Returns:
          What it returns, with fewer channels.
        """
        if which not in self._programs:
            described = [[self._described(number) for number in each] for each in arguments]
            try:
                program = inline(jax.make_jaxpr(function)(*described))
            except Exception as error:
                raise RuleError(
                    f"{self._name()} cannot be traced on its own ({type(error).__name__}: "
                    f"{str(error).strip()[:200]}): its function can be sliced, but not "
                    "differentiated. Keep the channels that go through it"
                ) from error
            self._programs[which] = self._followed(program, values, written)
        return self._programs[which].run(inputs)

    def tangents(self, moves: tuple[bool, ...]) -> list[Value]:
        """What is known of how results move at removed indices if these inputs move."""

        def slopes(values: list[Any], moved: list[Any]) -> list[Any]:
            return jax.jvp(self._moving(values, moves), _where(moves, values), moved)[1]

        values = self._values(self._op.inputs)
        described = [self._described(number) for number in self._op.inputs]
        program = inline(jax.make_jaxpr(slopes)(described, _where(moves, described)))
        known = [*values, *map(_tangent, _where(moves, values))]
        coupling = self._labelled(program, known, self._roots())
        return [coupling.value(number) for number in program.outputs]

    def _labelled(self, program: Program, values: list[Value], roots: np.ndarray) -> Any:
        """The labels of a rule's program, apart from those of the surroundings."""
        labels = Labels()
        labels.make(len(roots) - 1)
        inputs = [value if value.loose else self._local(value, roots) for value in values]
        return type(self._around.coupling)(program, labels, inputs, rule=True)

    def _followed(self, program: Program, values: list[Value], written: list[int]) -> Smaller:
        roots = self._roots()
        coupling = self._labelled(program, values, roots)
        labels = coupling.labels
        for output, like in zip(program.outputs, written, strict=True):
            axes = self._around.coupling.axes(like)
            coupling.join(output, [self._own(axis, roots) for axis in axes])
        if coupling.unknown:
            raise RuleError(
                f"{self._name()} uses {', '.join(coupling.unknown)}, which has no rule: its "
                "function can be sliced, but not differentiated. Keep the channels that go through "
                "it"
            )
        labels.settle()
        gone = self._around.removed[roots]
        everywhere = np.zeros(len(labels), bool)
        everywhere[labels.find(np.flatnonzero(gone))] = True
        removed = labels.allowed(everywhere[labels.find(np.arange(len(labels)))])
        stuck = ~labels.removable(np.arange(len(roots))) & gone
        if stuck.any() or not np.array_equal(labels.spread(removed)[: len(roots)], gone):
            raise RuleError(
                f"{self._name()} depends on the channels together or on where they stand: its "
                "function can be sliced, but not differentiated. Keep the channels that go through "
                "it, or give it a rule that works channel by channel"
            )
        return self._around.resize(program, coupling, removed)

    def _name(self) -> str:
        op = self._op
        kind = "its primitive's" if op.foreign else op.name.removesuffix("_call")
        at = where(op.source)
        return f"the derivative of {called(op)!r} ({kind}{f', {at}' if at else ''})"

    def _roots(self) -> np.ndarray:
        """The labels of the call's operands and results; FROZEN first."""
        labels = self._around.coupling.labels
        axes = [
            labels.find(axis)
            for number in (*self._op.inputs, *self._op.outputs)
            for axis in self._around.coupling.axes(number)
            if axis is not None
        ]
        return np.unique(np.concatenate([np.array([FROZEN]), *axes]))

    def _own(self, axis: Axis, roots: np.ndarray) -> Axis:
        """An axis of the surroundings in the labels of the rule."""
        if axis is None:
            return None
        return np.searchsorted(roots, self._around.coupling.labels.find(axis))

    def _local(self, value: Value, roots: np.ndarray) -> Value:
        """What is known of an array inside the rule: numbers, not what would be computed."""
        return value._replace(
            axes=tuple(self._own(axis, roots) for axis in value.axes),
            at=tuple(number(value.there(axis)) for axis in range(len(value.axes))),
        )

    def _values(self, numbers: Sequence[int]) -> list[Value]:
        return [self._around.coupling.value(number) for number in numbers]

    def _described(self, number: int) -> jax.ShapeDtypeStruct:
        program = self._around.program
        return jax.ShapeDtypeStruct(program.shapes[number], program.dtypes[number])

    def _inexact(self, number: int) -> bool:
        return jnp.issubdtype(self._around.program.dtypes[number], jnp.inexact)

    def _spread(self, given: Sequence[Any], places: list[bool], like: Sequence[Any]) -> list[Any]:
        """The given derivatives at their places, and JAX's symbol for none at the others."""
        left = iter(given)
        return [
            next(left) if place else np.zeros(np.shape(value), float0)
            for place, value in zip(places, like, strict=True)
        ]


def _tangent(value: Value) -> Value:
    """What is known of a tangent: where the value is a number, whatever is changed, it is 0."""
    if value.loose:
        return value._replace(fill=None)
    there = [value.there(axis) for axis in range(len(value.axes))]
    at = tuple(None if number(each) is None else 0 for each in there)
    return Value(value.axes, at)


def _instantiated(slope: Any) -> Any:
    """A derivative as an array, also where JAX knows that it is 0."""
    if isinstance(slope, SymbolicZero):
        zero: Any = slope
        return jnp.zeros(zero.shape, zero.dtype)
    return slope


def _where(places: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    return [value for place, value in zip(places, values, strict=True) if place]
