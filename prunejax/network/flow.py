"""The layers of a program while they are found: where each value comes from, and what was seen."""

import dataclasses
from collections import Counter
from typing import Any, NamedTuple

from prunejax.network.layers import POOLS, Layer
from prunejax.network.program import Op, Program

INPUT = "input"


class Flow(NamedTuple):
    """Where a value comes from.

    Attributes:
      origin: the last layers before it.
      parameters: the leaves that it is computed from, if it depends on nothing else.
      root: whether a square root was taken, as a normalisation does.
      pool: the reduction that it comes from, if that is not a layer yet.
    """

    origin: frozenset[str] = frozenset()
    parameters: tuple[str, ...] = ()
    root: bool = False
    pool: Op | None = None


class Producer(NamedTuple):
    """An axis of a kernel that makes the output channels of a layer.

    Attributes:
      layer: the layer's name.
      value: the number of the kernel.
      axis: its axis.
    """

    layer: str
    value: int
    axis: int


class Flows(NamedTuple):
    """The layers of a program, in topological order.

    Attributes:
      layers: by name.
      producers: the axes of kernels that make channels, in the same order.
      values: for each layer the number of the value that it puts out; none for average pools.
      made: the layers' names by the number of the value that their first operation gives.
      looped: the names of layers in loops and branches, whose values are not at hand outside.
    """

    layers: dict[str, Layer]
    producers: list[Producer]
    values: dict[str, int]
    made: dict[int, str]
    looped: set[str]


@dataclasses.dataclass
class Draft:
    """What one pass over a program has found so far.

    Attributes:
      program: the program.
      collections: names of collections, which are no part of a module's path.
      wanted: the numbers of the values that the results need.
      flows: where each value comes from.
      record: the layers.
      pools: the names of the layers that reductions have become, by the number of their output.
      counts: how often each name was wanted.
      times: how often the operations run that are being looked at.
      note: what that number leaves out, as in ``Layer``.
      inside: whether they stand in a loop or a branch, whose values are not at hand outside.
    """

    program: Program
    collections: frozenset[str]
    wanted: set[int]
    flows: dict[int, Flow]
    record: Flows = dataclasses.field(default_factory=lambda: Flows({}, [], {}, {}, set()))
    pools: dict[int, str] = dataclasses.field(default_factory=dict)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    times: int = 1
    note: str = ""
    inside: bool = False


def add(
    draft: Draft, op: Op, kind: str, fed: list[Flow], parameters: tuple[str, ...], **details: Any
) -> Flow:
    """Adds a layer.

    Args:
      draft: what was found so far; the layer is added to it.
      op: the layer's first operation.
      kind: as in ``Layer``.
      fed: where the operands that depend on the input come from.
      parameters: the paths of the leaves that it reads.
      **details: other fields of the ``Layer``.

    Returns:
      Where the layer's output comes from: the layer.
    """
    inputs = tuple(dict.fromkeys(name for flow in fed for name in sorted(resolve(draft, flow))))
    name = unique_name(draft, details.get("function", kind), parameters)
    details.setdefault("input_shape", draft.program.shapes[op.inputs[0]])
    if details.get("multiply_adds"):
        details["multiply_adds"] *= draft.times
        details["note"] = details.get("note") or draft.note
    draft.record.layers[name] = Layer(
        name,
        kind,
        parameters=parameters,
        inputs=inputs,
        output_shape=draft.program.shapes[op.outputs[0]],
        **details,
    )
    if draft.inside:
        draft.record.looped.add(name)
    else:
        draft.record.made[op.outputs[0]] = name
    if kind != "avg_pool":
        put_out(draft, name, op)
    return Flow(frozenset((name,)))


def resolve(draft: Draft, flow: Flow) -> frozenset[str]:
    """The layers that a value comes from, after its pool has become one of them."""
    if flow.pool is None:
        return flow.origin
    after = flow.pool.outputs[0]
    if after not in draft.pools:
        kind, shape = POOLS[flow.pool.name], draft.program.shapes[flow.pool.inputs[0]]
        axes = flow.pool.params["axes"]
        name = unique_name(draft, kind, ())
        draft.record.layers[name] = Layer(
            name,
            kind,
            inputs=tuple(sorted(flow.origin)),
            input_shape=shape,
            output_shape=draft.program.shapes[after],
            window=tuple(size if axis in axes else 1 for axis, size in enumerate(shape)),
        )
        draft.pools[after] = name
    return frozenset((draft.pools[after],))


def put_out(draft: Draft, name: str, op: Op) -> None:
    """Records the result of an operation as a layer's output, if it has that output's shape."""
    if (
        not draft.inside
        and draft.program.shapes[op.outputs[0]] == draft.record.layers[name].output_shape
    ):
        draft.record.values[name] = op.outputs[0]


def change(draft: Draft, name: str, **changes: Any) -> None:
    """Gives some fields of a layer other values."""
    draft.record.layers[name] = dataclasses.replace(draft.record.layers[name], **changes)


def feeding(draft: Draft, name: str) -> list[Layer]:
    """The layers that feed a layer."""
    layers = draft.record.layers
    return [layers[other] for other in layers[name].inputs if other in layers]


def module(draft: Draft, path: str) -> str:
    """The path of the module that a parameter belongs to, "" if it stands at the top."""
    parts = path.split("/")
    if parts[0] in draft.collections:
        parts = parts[1:]
    return "/".join(parts[:-1])


def unique_name(draft: Draft, kind: str, parameters: tuple[str, ...]) -> str:
    """A layer's name: its module's path, or its kind and a number."""
    wanted = kind
    if parameters:
        wanted = module(draft, parameters[0]) or parameters[0].split("/")[-1]
    draft.counts[wanted] += 1
    count = draft.counts[wanted]
    if parameters:
        return wanted if count == 1 else f"{wanted}#{count}"
    return f"{wanted}_{count}"
