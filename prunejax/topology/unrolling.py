"""From a traced program to the steps of a graph: what a kernel reads, and the nodes it makes."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from prunejax.network import elementwise
from prunejax.network.layers import ACTIVITY
from prunejax.network.program import Op, Program, bind
from prunejax.network.recording import evaluate
from prunejax.topology.products import kernel_of, multiplied
from prunejax.topology.relations import (
    LAYOUTS,
    Relation,
    concatenated,
    join,
    lost,
    split,
    spread,
    stacked,
    unstacked,
)
from prunejax.topology.steps import Draft, Nodes, Shortcut, Step, Unrolled, fresh
from prunejax.topology.sums import summed


def unroll(
    program: Program,
    parameters: dict[int, np.ndarray],
    names: dict[int, str],
    *,
    identity_skips: bool = True,
    compat: bool = False,
) -> Unrolled:
    """Walks over a program and finds what each kernel's entries connect.

    Args:
      program: the traced function, of a single example.
      parameters: the numbers of the parameters, by the number of the input that holds them.
      names: of the layers, by the number of the value that their first operation gives.
      identity_skips: whether what is added without a kernel is an edge too.
      compat: whether strided convolutions are shifted as in the published code.

    Returns:
      The layers of nodes and the steps between them.

    Raises:
      ValueError: a kernel reads what an operation without a rule gives; the layer and the operation
        are named.
    """
    draft = Draft(program, names, identity_skips, compat)
    given = [number for number in program.inputs if number not in parameters]
    for number in program.inputs:
        if number in parameters:
            ids = parameters[number][..., None]
            draft.values[number] = Relation(ids, frozenset(), parameter=True)
        elif np.issubdtype(program.dtypes[number], np.inexact):
            name = "input" if len(given) == 1 else f"input{given.index(number) + 1}"
            draft.values[number] = _given(draft, name, program.shapes[number])
        else:
            draft.values[number] = lost([], program.shapes[number], "an input of integers")
    for op in program.flat():
        if any(number in draft.values for number in op.inputs):
            _walk(draft, op)
    return _finished(draft)


def _given(draft: Draft, name: str, shape: tuple[int, ...]) -> Relation:
    ids = fresh(draft, math.prod(shape)).reshape(shape)
    draft.layers.append(Nodes(name, ids.reshape(-1), "input", 0))
    return Relation(ids[..., None], frozenset((len(draft.layers) - 1,)))


def _walk(draft: Draft, op: Op) -> None:
    """Gives the values that an operation writes their relations."""
    shapes = [draft.program.shapes[number] for number in op.outputs]
    read = [draft.values.get(number) for number in op.inputs]
    given = [each for each in read if each is not None]
    if any(each.unknown for each in given) and kernel_of(op, read) is None:
        results = [lost(given, shape, op.name) for shape in shapes]
    elif kernel_of(op, read) is not None:
        results = [multiplied(draft, op, read)]
    elif op.name in elementwise.NAMES:
        results = [_elementwise(draft, op, given, shapes[0])]
    elif op.name in LAYOUTS and len(given) == 1:
        results = [LAYOUTS[op.name](op, given[0])]
    elif op.name in TAKING and read[0] is not None and len(given) == 1:
        results = [_taken(draft, op, given[0])]
    elif op.name == "concatenate":
        operands = [draft.program.shapes[number] for number in op.inputs]
        results = [concatenated(read, operands, op.params["dimension"])]
    elif op.name == "split":
        results = split(op, given[0])
    elif op.name == "stack":
        operands = [draft.program.shapes[number] for number in op.inputs]
        results = [stacked(read, operands, op.params["axis"])]
    elif op.name == "unstack":
        results = unstacked(given[0], op.params["axis"])
    elif op.name == ACTIVITY:
        if shapes[0][op.params["time"]] > 1:
            raise ValueError(
                f"this network has spiking neurons that take {shapes[0][op.params['time']]} steps; "
                "a graph has an edge per weight and place, not per step: trace the network with "
                "timesteps=1, its masks are the same"
            )
        results = given
    else:
        results = [lost(given, shape, op.name) for shape in shapes]
    draft.values.update(zip(op.outputs, results, strict=True))


TAKING = ("gather", "dynamic_slice")
"""Operations that take entries of their first operand from places that the others say."""


def _taken(draft: Draft, op: Op, x: Relation) -> Relation:
    """Entries from places that are constants: the operation itself, on the numbers of nodes."""
    where = op.inputs[1:]
    nothing = [None] * len(draft.program.inputs)
    places = evaluate(draft.program, nothing, where)
    filled = {"fill_value": 0} if op.name == "gather" else {}  # a NaN is no number of a node
    columns = []
    for column in range(x.ids.shape[-1]):
        numbers = jnp.asarray(x.ids[..., column] + 1)  # 0 and what lies outside: nothing
        (taken,) = bind(op, {**op.params, **filled}, [numbers, *places])
        columns.append(np.maximum(np.asarray(taken, np.int32), 0) - 1)
    return x._replace(ids=np.stack(columns, axis=-1))


def _elementwise(draft: Draft, op: Op, given: list[Relation], shape: tuple[int, ...]) -> Relation:
    active = [each for each in given if not each.parameter]
    if op.name in ("add", "add_any") and len(active) == 2:
        whole = summed(draft, [spread(each, shape) for each in active])
        if whole is not None:
            return whole
    return join(given, shape)


def _finished(draft: Draft) -> Unrolled:
    same = np.arange(draft.count, dtype=np.int32)
    for _, (gone, kept) in draft.merged.values():
        same[gone] = kept
    while not np.array_equal(same, same[same]):
        same = same[same]
    outputs = [draft.values[number] for number in draft.program.outputs if number in draft.values]
    last = frozenset[int]().union(*(each.layers for each in outputs if not each.parameter))
    layers, own = [], []
    for position, nodes in enumerate(draft.layers):
        if position in draft.merged:
            continue
        own.append(position)
        role = "output" if position in last and nodes.role != "input" else nodes.role
        layers.append(nodes._replace(role=role))
    place = {name: number for number, name in enumerate(own)}
    steps = [
        step._replace(
            begins=frozenset(place[_kept(draft, layer)] for layer in step.begins),
            ends=place[_kept(draft, step.ends)],
        )
        for step in draft.steps
    ]
    return Unrolled(layers, steps, same, _parallel(steps))


def _parallel(steps: Sequence[Step | Shortcut]) -> list[list[int]]:
    """Steps between the same layers."""
    into: dict[int, list[int]] = {}
    for place, step in enumerate(steps):
        into.setdefault(step.ends, []).append(place)
    groups = []
    for places in into.values():
        seen: set[int] = set()
        twice = False
        for place in places:
            twice |= bool(seen & steps[place].begins)
            seen |= steps[place].begins
        if twice:
            groups.append(places)
    return groups


def _kept(draft: Draft, layer: int) -> int:
    """The layer that a layer became one with, or it itself."""
    while layer in draft.merged:
        layer = draft.merged[layer][0]
    return layer
