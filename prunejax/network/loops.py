"""Coupling rules of loops and branches: what goes around, comes in step by step, or goes through.

A loop's body is labelled as what surrounds it. Channels of what goes around (the carry) are tied to
themselves one step later; so are, index by index, the slices of stacked parameters, whose axis of
steps stays. What removed channels are is followed into a loop where it is a number, and given up
where it would have to be computed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from prunejax.network.program import Body, Op
from prunejax.network.values import KNOWN, LOOSE, Value, number, told

MOST_PASSES = 8
"""After so many passes over a body nothing is supposed of its carry any more."""

STEPS = "takes one of them for each step"


def follow(coupling: Any, op: Op) -> None:
    """Labels what a loop reads and gives.

    Args:
      coupling: the labels so far; the values of the bodies and the outputs are added.
      op: the loop.
    """
    match op.name:
        case "scan":
            _scan(coupling, op)
        case "while":
            _while(coupling, op)
        case _:
            _cond(coupling, op)


def _scan(coupling: Any, op: Op) -> None:
    (body,) = op.loop
    consts, carry = op.params["num_consts"], op.params["num_carry"]
    given = [coupling.value(number) for number in op.inputs]
    fed = [coupling.fed(number) for number in op.inputs]
    for value in given[consts + carry :]:
        if value.axes:
            coupling.labels.freeze(None if value.loose else value.axes[0], STEPS)
    slices = [told(_row(value)) for value in given[consts + carry :]]
    outer = [*map(told, given[:consts]), *[None] * carry, *slices]
    around = _fixpoint(coupling, op, body, outer, consts, given[consts : consts + carry], fed)
    results = list(around)
    for position in range(carry, len(body.outputs)):
        value = coupling.value(body.outputs[position])
        if value.loose:
            results.append(value._replace(axes=(None, *value.axes), at=(KNOWN, *value.at)))
        else:
            results.append(Value((None, *value.axes), (None, *told(value).at), value.fill))
    _give(coupling, op, results, given, outer[:consts] + list(around) + slices)


def _while(coupling: Any, op: Op) -> None:
    condition, body = op.loop
    first, second = op.params["cond_nconsts"], op.params["body_nconsts"]
    given = [coupling.value(number) for number in op.inputs]
    fed = [coupling.fed(number) for number in op.inputs]
    consts, start = [*map(told, given[first : first + second])], given[first + second :]
    outer = [*consts, *[None] * len(start)]
    around = _fixpoint(coupling, op, body, outer, second, start, fed[first:])
    asked = [*map(told, given[:first]), *around]
    for number_, value in zip(condition.inputs, asked, strict=True):
        coupling.put(number_, value, fed=value.loose)
    coupling.follow(condition.ops)
    coupling.labels.op = op
    _give(coupling, op, list(around), given, [*map(told, given[:first]), *consts, *around])


def _fixpoint(
    coupling: Any,
    op: Op,
    body: Body,
    outer: Sequence[Value | None],
    consts: int,
    start: Sequence[Value],
    fed: Sequence[bool],
) -> list[Value]:
    """What is known of a carry before and after each step."""
    carry = [told(value) for value in start]
    shapes = [coupling.program.shapes[n] for n in body.inputs[consts : consts + len(carry)]]
    around = [value if value.loose else _plain(value) for value in carry]
    for trial in range(MOST_PASSES + 1):
        inputs = [*outer[:consts], *around, *outer[consts + len(around) :]]
        for position, (number_, value) in enumerate(zip(body.inputs, inputs, strict=True)):
            assert value is not None
            coupling.put(number_, value, fed=value.loose and (fed[position] or trial > 0))
        coupling.follow(body.ops)
        coupling.labels.op = op
        after = [coupling.value(number_) for number_ in body.outputs[: len(around)]]
        changed = False
        for index, (before, now) in enumerate(zip(around, after, strict=True)):
            if before.loose and now.loose:
                met = _met(before, now)
            elif before.loose:
                met = _plain(coupling.cut(carry[index], shapes[index]))
            elif trial == MOST_PASSES:
                met = before._replace(at=(None,) * len(before.axes))
            else:
                if now.loose:
                    now = _plain(coupling.cut(now, shapes[index]))
                axes = tuple(
                    coupling.labels.join(pair) for pair in zip(before.axes, now.axes, strict=True)
                )
                at = tuple(_same(before.there(axis), now.there(axis)) for axis in range(len(axes)))
                met = Value(axes, at)
            changed |= _differ(before, met)
            around[index] = met
        if not changed:
            break
    coupling.keep_cut((op.index, op.loop.index(body)), _returned(coupling, body, around))
    return around


def _returned(coupling: Any, body: Body, around: Sequence[Value]) -> list[Value]:
    """How a body's results are cut: those of the carry as the carry."""
    results = []
    for index, number_ in enumerate(body.outputs):
        value = coupling.value(number_)
        carried = index < len(around) and not around[index].loose
        if value.loose and carried:
            value = around[index]
        results.append(value)
    return results


def _cond(coupling: Any, op: Op) -> None:
    given = [coupling.value(number) for number in op.inputs]
    for axis in given[0].axes:
        coupling.labels.freeze(None if given[0].loose else axis, "chooses by them")
    handed = [*map(told, given[1:])]
    for branch in op.loop:
        for number_, value in zip(branch.inputs, handed, strict=True):
            coupling.put(number_, value, fed=value.loose)
        coupling.follow(branch.ops)
        coupling.labels.op = op
    results: list[Value] = []
    returned: list[list[Value]] = [[] for _ in op.loop]
    for position, number_ in enumerate(op.outputs):
        shape = coupling.program.shapes[number_]
        values = [coupling.value(branch.outputs[position]) for branch in op.loop]
        aside = all(value.loose for value in values) and given[0].loose
        if aside:
            met = values[0]
            for value in values[1:]:
                met = _met(met, value)
        else:
            cut = [told(coupling.cut(value, shape)) for value in values]
            axes = tuple(
                coupling.labels.join([value.axes[axis] for value in cut])
                for axis in range(len(shape))
            )
            at = [cut[0].there(axis) for axis in range(len(shape))]
            for value in cut[1:]:
                at = [_same(each, value.there(axis)) for axis, each in enumerate(at)]
            met = Value(axes, tuple(at))
            values = cut
        results.append(met)
        for kept, value in zip(returned, values, strict=True):
            kept.append(value)
    for index, kept in enumerate(returned):
        coupling.keep_cut((op.index, index), kept)
    _give(coupling, op, results, given, [given[0], *handed])


def _give(
    coupling: Any,
    op: Op,
    results: Sequence[Value],
    given: Sequence[Value],
    read: Sequence[Value],
) -> None:
    """Records what a loop gives, and how it reads what it is given."""
    cut = []
    for outside, inside in zip(given, read, strict=True):
        # a carry that becomes a variable's begins as one
        cut.append(inside if outside.loose and not inside.loose else outside)
    coupling.keep_cut(op.index, cut)
    for number_, value in zip(op.outputs, results, strict=True):
        coupling.put(number_, value, fed=value.loose)


def _row(value: Value) -> Value:
    return value._replace(axes=value.axes[1:], at=value.at[1:])


def _plain(value: Value) -> Value:
    """What is known of a carry: it need not stay the number that it begins with everywhere.

    Of a buffer that begins as infinite, to be filled, nothing is known.
    """
    at = [number(there) for there in told(value).at]
    finite = tuple(each if each is not None and np.isfinite(each) else None for each in at)
    return value._replace(at=finite, fill=None)


def _met(first: Value, second: Value) -> Value:
    axes = tuple(
        LOOSE if one is not None and other is not None else None
        for one, other in zip(first.axes, second.axes, strict=True)
    )
    same = first.fill is not None and second.fill is not None and first.fill == second.fill
    return Value(axes, (KNOWN,) * len(axes), first.fill if same else None, loose=True)


def _same(first: Any, second: Any) -> Any:
    known = number(first) is not None and number(second) is not None
    return first if known and first == second else None


def _differ(first: Value, second: Value) -> bool:
    if first.loose or second.loose:
        ours = [axis is None for axis in first.axes]
        return (
            first.loose != second.loose
            or ours != [axis is None for axis in second.axes]
            or first.fill != second.fill
        )
    none = [axis is None for axis in first.axes] != [axis is None for axis in second.axes]
    return none or [number(each) for each in first.at] != [number(each) for each in second.at]
