"""From a traced program to the steps of a graph: what a kernel reads, and the nodes it makes."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from prunejax.network import elementwise
from prunejax.network.program import Op, Program
from prunejax.topology.relations import (
    LAYOUTS,
    NOTHING,
    Relation,
    concatenated,
    join,
    lost,
    padded,
    split,
    windows,
)


class Nodes(NamedTuple):
    """The nodes that one layer makes.

    Attributes:
      name: the layer's.
      ids: the numbers of the nodes, [channels, *positions].
      role: "input", "hidden" or "output".
      depth: how many kernels lie between the input and this layer at most.
    """

    name: str
    ids: np.ndarray
    role: str
    depth: int


class Step(NamedTuple):
    """The edges of one kernel: an entry leads from all that it reads to one channel of its output.

    Attributes:
      name: the layer's.
      reads: what an entry of the kernel reads for each output position, [keys, positions, nodes].
      kernel: the numbers of the parameters, [channels, keys per channel].
      keys: where in ``reads`` those keys stand, [channels, keys per channel].
      targets: the nodes that it leads to, [channels, positions].
      taps: how many keys in a row belong to one input channel.
      shared: whether an output position may read one node through several entries of the kernel.
      begins: the places of the layers that it reads.
      ends: the place of the layer that it leads to.
    """

    name: str
    reads: np.ndarray
    kernel: np.ndarray
    keys: np.ndarray
    targets: np.ndarray
    taps: int
    shared: bool
    begins: frozenset[int]
    ends: int


class Shortcut(NamedTuple):
    """Edges of weight 1 from each entry of an earlier layer to the sum that it is added in.

    Attributes:
      name: of the layer that it leads to.
      sources: [places, nodes].
      targets: [places].
      begins: the places of the layers that the sources are of.
      ends: the place of the layer that it leads to.
    """

    name: str
    sources: np.ndarray
    targets: np.ndarray
    begins: frozenset[int]
    ends: int


class Unrolled(NamedTuple):
    """A program as layers of nodes and steps between them.

    Attributes:
      layers: in the order in which they are computed.
      steps: one per kernel and one per identity shortcut, in the order of their targets.
      same: for each node number the number of the node that it became one with, or its own.
      parallel: places of steps between the same layers, two of which may join the same nodes.
    """

    layers: list[Nodes]
    steps: "list[Step | Shortcut]"
    same: np.ndarray
    parallel: list[list[int]]


@dataclasses.dataclass
class _Draft:
    """What a walk over a program has found so far."""

    program: Program
    names: dict[int, str]
    identity_skips: bool
    compat: bool
    values: dict[int, Relation] = dataclasses.field(default_factory=dict)
    layers: list[Nodes] = dataclasses.field(default_factory=list)
    steps: list[Step | Shortcut] = dataclasses.field(default_factory=list)
    read: set[int] = dataclasses.field(default_factory=set)
    merged: dict[int, tuple[int, np.ndarray]] = dataclasses.field(default_factory=dict)
    count: int = 0


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
    draft = _Draft(program, names, identity_skips, compat)
    given = [number for number in program.inputs if number not in parameters]
    for number in program.inputs:
        if number in parameters:
            ids = parameters[number][..., None]
            draft.values[number] = Relation(ids, frozenset(), parameter=True)
        elif np.issubdtype(program.dtypes[number], np.inexact):
            name = "input" if len(given) == 1 else f"input{given.index(number) + 1}"
            draft.values[number] = _given(draft, name, program.shapes[number])
    for op in program.flat():
        if any(number in draft.values for number in op.inputs):
            _walk(draft, op)
    return _finished(draft)


def _given(draft: _Draft, name: str, shape: tuple[int, ...]) -> Relation:
    ids = _fresh(draft, math.prod(shape)).reshape(shape)
    draft.layers.append(Nodes(name, ids.reshape(-1), "input", 0))
    return Relation(ids[..., None], frozenset((len(draft.layers) - 1,)))


def _fresh(draft: _Draft, size: int) -> np.ndarray:
    draft.count += size
    return np.arange(draft.count - size, draft.count, dtype=np.int32)


def _walk(draft: _Draft, op: Op) -> None:
    """Gives the values that an operation writes their relations."""
    shapes = [draft.program.shapes[number] for number in op.outputs]
    read = [draft.values.get(number) for number in op.inputs]
    given = [each for each in read if each is not None]
    if any(each.unknown for each in given) and _kernel_of(op, read) is None:
        results = [lost(given, shape, op.name) for shape in shapes]
    elif _kernel_of(op, read) is not None:
        results = [_multiplied(draft, op, read)]
    elif op.name in elementwise.NAMES:
        results = [_elementwise(draft, op, given, shapes[0])]
    elif op.name in LAYOUTS and len(given) == 1:
        results = [LAYOUTS[op.name](op, given[0])]
    elif op.name == "concatenate":
        operands = [draft.program.shapes[number] for number in op.inputs]
        results = [concatenated(read, operands, op.params["dimension"])]
    elif op.name == "split":
        results = split(op, given[0])
    else:
        results = [lost(given, shape, op.name) for shape in shapes]
    draft.values.update(zip(op.outputs, results, strict=True))


def _kernel_of(op: Op, read: list[Relation | None]) -> int | None:
    """Which operand of a product is a kernel that what the network is given is multiplied by."""
    if op.name not in ("conv_general_dilated", "dot_general"):
        return None
    parameters = [each is not None and each.parameter for each in read]
    fed = [each is not None and not each.parameter for each in read]
    if not any(fed):
        return None
    if any(parameters):
        return parameters.index(True)
    return None


def _multiplied(draft: _Draft, op: Op, read: list[Relation | None]) -> Relation:
    position = _kernel_of(op, read)
    assert position is not None
    kernel, x = read[position], read[1 - position]
    assert kernel is not None
    assert x is not None
    name = draft.names.get(op.outputs[0], op.name)
    for each in (kernel, x):
        if each.unknown:
            raise ValueError(
                f"{name!r} reads what {each.unknown!r} gives, which the graph has no rule for"
            )
    if kernel.ids.shape[-1] != 1:
        raise ValueError(
            f"the kernel of {name!r} is computed from several parameters, which the graph has no "
            "rule for"
        )
    if op.name == "dot_general":
        return _dense(draft, op, name, x, kernel.ids[..., 0], position)
    if position == 0:
        raise ValueError(f"{name!r} convolves a parameter by what the network computes")
    return _convolved(draft, op, name, x, kernel.ids[..., 0])


def _dense(
    draft: _Draft, op: Op, name: str, x: Relation, kernel: np.ndarray, position: int
) -> Relation:
    """A product: nodes [batch and kernel's free axes, free axes of what is multiplied]."""
    contracting, batch = op.params["dimension_numbers"]
    axes = [(contracting[side], batch[side]) for side in (1 - position, position)]
    (over, shared), (k_over, k_shared) = axes
    free = [axis for axis in range(len(x.shape)) if axis not in (*over, *shared)]
    k_free = [axis for axis in range(kernel.ndim) if axis not in (*k_over, *k_shared)]
    groups = math.prod(kernel.shape[axis] for axis in k_shared)
    taps = math.prod(kernel.shape[axis] for axis in k_over)
    places = [x.shape[axis] for axis in free]
    moved = x.ids.transpose(*shared, *over, *free, x.ids.ndim - 1)
    reads = moved.reshape(groups * taps, math.prod(places), x.ids.shape[-1])
    ordered = kernel.transpose(*k_shared, *k_free, *k_over).reshape(groups, -1, taps)
    width = ordered.shape[1]
    keys = np.arange(groups * taps).reshape(groups, 1, taps)
    keys = np.broadcast_to(keys, ordered.shape).reshape(-1, taps)
    positions = tuple(size for size in places if size > 1)
    nodes = _made(draft, name, x, (groups * width, *positions))
    targets = nodes.reshape(groups * width, -1)
    _step(draft, name, x, reads, ordered.reshape(-1, taps), keys, targets, 1)
    # the result's axes: those in common, those left of the first operand, those of the second
    common = [kernel.shape[axis] for axis in k_shared]
    own = [kernel.shape[axis] for axis in k_free]
    result = nodes.reshape(*common, *own, *places)
    ends = len(common), len(common) + len(own)
    first = range(ends[1], result.ndim), range(*ends)
    order = first if position == 1 else first[::-1]
    result = result.transpose(*range(ends[0]), *order[0], *order[1])
    return Relation(result[..., None], frozenset((len(draft.layers) - 1,)))


def _convolved(draft: _Draft, op: Op, name: str, x: Relation, kernel: np.ndarray) -> Relation:
    """A convolution: nodes [channels, *positions]."""
    numbers = op.params["dimension_numbers"]
    if op.params["batch_group_count"] != 1:
        raise ValueError(f"{name!r} has groups of examples, which the graph has no rule for")
    lhs = x.ids.transpose(*numbers.lhs_spec, x.ids.ndim - 1)
    ordered = kernel.transpose(numbers.rhs_spec)
    padding, count = list(op.params["padding"]), ordered.ndim - 2
    whole = _halo(draft, x, lhs, padding)
    if whole is not None:
        lhs, padding = whole, [(0, 0)] * count
    under = windows(
        lhs,
        (1, 1, *ordered.shape[2:]),
        (1, 1, *op.params["window_strides"]),
        ((0, 0), (0, 0), *padding),
        (1, 1, *op.params["rhs_dilation"]),
        (1, 1, *op.params["lhs_dilation"]),
    )
    # [batch, channels, *places, 1, 1, *taps, nodes] -> [channels, taps, batch and places, nodes]
    examples, channels, *places = under.shape[: count + 2]
    moved = under.reshape(examples, channels, math.prod(places), -1, lhs.shape[-1])
    reads = moved.transpose(1, 3, 0, 2, 4)
    taps = reads.shape[1]
    reads = reads.reshape(channels * taps, examples * math.prod(places), lhs.shape[-1])
    width, inputs = ordered.shape[:2]
    group = np.arange(width) // (width // op.params["feature_group_count"])
    first = group[:, None] * inputs + np.arange(inputs)
    keys = (first[..., None] * taps + np.arange(taps)).reshape(width, -1)
    positions = (*((examples,) if examples > 1 else ()), *places)
    nodes = _made(draft, name, x, (width, *positions))
    targets = nodes.reshape(width, -1)
    if draft.compat and whole is None:
        reads, targets = _shifted(draft, op, x, reads, targets)
    _step(draft, name, x, reads, ordered.reshape(width, -1), keys, targets, taps)
    result = np.moveaxis(nodes.reshape(width, examples, *places), 1, 0)
    back = np.argsort(numbers.out_spec)
    return Relation(result.transpose(back)[..., None], frozenset((len(draft.layers) - 1,)))


def _shifted(
    draft: _Draft, op: Op, x: Relation, reads: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a strided convolution as the published code counts them.

    It takes the input, padding included, to be as wide as the windows reach, (places - 1) stride +
    size, and to have the padding on both sides. Where a border of the image is under no window, as
    for a 3 x 3 kernel of stride 2 on an even width, what is left after the padding is narrower than
    the image: nodes are numbered in that narrower grid, and those of the output follow on it.
    """
    numbers = op.params["dimension_numbers"]
    sizes = [x.shape[axis] for axis in numbers.lhs_spec[2:]]
    channels = x.shape[numbers.lhs_spec[1]]
    kernel = [draft.program.shapes[op.inputs[1]][axis] for axis in numbers.rhs_spec[2:]]
    places = [draft.program.shapes[op.outputs[0]][axis] for axis in numbers.out_spec[2:]]
    padding, strides = op.params["padding"], op.params["window_strides"]
    inner = [
        (count - 1) * stride + size - sum(pad)
        for count, stride, size, pad in zip(places, strides, kernel, padding, strict=True)
    ]
    narrower = all(0 < narrow <= size for narrow, size in zip(inner, sizes, strict=True))
    if inner == sizes or not narrower or not _unread_before(draft, x):
        return reads, targets
    (layer,) = x.layers
    before = draft.layers[layer].ids.ravel()
    place = np.full(draft.count, NOTHING, np.int64)
    place[before] = np.arange(before.size)
    there = reads != NOTHING
    rest, at = place[np.where(there, reads, before[0])], []
    for size in reversed(sizes):  # NumPy 2.4's unravel_index fails on arrays of [16384, 1]
        rest, position = np.divmod(rest, size)
        at.insert(0, position)
    for axis, (position, narrow) in enumerate(zip(at, inner, strict=True)):
        there &= position < narrow
        at[axis] = np.minimum(position, narrow - 1)
    number = rest
    for position, narrow in zip(at, inner, strict=True):
        number = number * narrow + position
    moved = before[number]
    follows = np.concatenate((before, targets.ravel()))[channels * math.prod(inner) :]
    return np.where(there, moved, NOTHING), follows[: targets.size].reshape(targets.shape)


def _unread_before(draft: _Draft, x: Relation) -> bool:
    """Whether an array is one hidden layer as it is, the one made last that keeps its nodes."""
    (layer, *more) = x.layers
    own = [place for place in range(len(draft.layers) - 1) if place not in draft.merged]
    return not more and x.ids.shape[-1] == 1 and own[-1] == layer


def _step(
    draft: _Draft,
    name: str,
    x: Relation,
    reads: np.ndarray,
    kernel: np.ndarray,
    keys: np.ndarray,
    targets: np.ndarray,
    taps: int,
) -> None:
    """Adds a kernel's edges, which lead to the layer made last."""
    ends = len(draft.layers) - 1
    shared = _repeats(draft, x, reads)
    draft.steps.append(Step(name, reads, kernel, keys, targets, taps, shared, x.layers, ends))


def _repeats(draft: _Draft, x: Relation, reads: np.ndarray) -> bool:
    """Whether an output position reads a node through several entries of the kernel."""
    known = x.ids[x.ids != NOTHING]
    if not known.size or int(np.bincount(known, minlength=draft.count).max()) == 1:
        return False
    each = np.sort(reads.transpose(1, 0, 2).reshape(reads.shape[1], -1), axis=1)
    return bool(((each[:, 1:] == each[:, :-1]) & (each[:, 1:] != NOTHING)).any())


def _made(draft: _Draft, name: str, x: Relation, shape: tuple[int, ...]) -> np.ndarray:
    """A new layer of nodes that reads others."""
    draft.read |= x.layers
    depth = 1 + max((draft.layers[layer].depth for layer in x.layers), default=0)
    ids = _fresh(draft, math.prod(shape)).reshape(shape)
    draft.layers.append(Nodes(name, ids, "hidden", depth))
    return ids


def _halo(
    draft: _Draft, x: Relation, lhs: np.ndarray, padding: list[tuple[int, int]]
) -> np.ndarray | None:
    """What the network is given, with its padding, which are nodes too; of other layers None."""
    (layer, *more) = x.layers
    nodes = draft.layers[layer]
    size = nodes.ids.size
    if more or nodes.role != "input" or nodes.ids.ndim > 1 or lhs.size != size:
        return None
    if lhs.shape[-1] != 1 or not np.array_equal(np.sort(lhs, axis=None), nodes.ids):
        return None
    if min(min(pair) for pair in padding) < 0:
        return None
    config = [(0, 0, 0), (0, 0, 0), *((int(low), int(high), 0) for low, high in padding)]
    whole = padded(lhs, config)
    empty = whole == NOTHING
    whole[empty] = _fresh(draft, int(empty.sum()))
    examples, channels, *places = whole.shape[:-1]
    shape = (channels, *((examples,) if examples > 1 else ()), *places)
    ids = np.moveaxis(whole[..., 0], 0, 1).reshape(shape)
    draft.layers[layer] = nodes._replace(ids=ids)
    return whole


def _elementwise(draft: _Draft, op: Op, given: list[Relation], shape: tuple[int, ...]) -> Relation:
    active = [each for each in given if not each.parameter]
    if op.name in ("add", "add_any") and len(active) == 2:
        summed = _summed(draft, spread_all(active, shape))
        if summed is not None:
            return summed
    return join(given, shape)


def spread_all(given: list[Relation], shape: tuple[int, ...]) -> list[Relation]:
    """Relations of arrays that are broadcast to one shape."""
    return [
        each._replace(ids=np.broadcast_to(each.ids, (*shape, each.ids.shape[-1]))) for each in given
    ]


def _summed(draft: _Draft, given: list[Relation]) -> Relation | None:
    """A residual sum: two branches make one layer, or one is added to the other's nodes.

    Nodes that nothing has read yet take what is added to them: of two such branches the deeper one
    keeps its nodes, and those of the other become one with them; what is an earlier layer leads to
    them by edges of weight 1. Otherwise what reads the sum reads both.
    """
    if given[0].layers == given[1].layers:
        return None
    ends = [each for each in given if _unread(draft, each)]
    if not ends:
        return None
    end = max(ends, key=lambda each: draft.layers[min(each.layers)].depth)
    other = given[1] if given[0] is end else given[0]
    (layer,) = end.layers
    if any(other is each for each in ends):
        (gone,) = other.layers
        pairs = np.stack((other.ids[..., 0].ravel(), end.ids[..., 0].ravel()))
        draft.merged[gone] = (layer, pairs)
        return end
    if draft.identity_skips:
        sources = other.ids.reshape(-1, other.ids.shape[-1])
        targets = end.ids[..., 0].ravel()
        name = f"{draft.layers[layer].name} (identity)"
        draft.steps.append(Shortcut(name, sources, targets, other.layers, layer))
    draft.read |= other.layers
    return end


def _unread(draft: _Draft, relation: Relation) -> bool:
    """Whether a relation is all of one layer's nodes, each once, and nothing has read them yet."""
    if len(relation.layers) != 1 or relation.ids.shape[-1] != 1:
        return False
    (layer,) = relation.layers
    nodes = draft.layers[layer]
    if layer in draft.read or nodes.role == "input" or relation.ids.size != nodes.ids.size:
        return False
    return np.array_equal(np.sort(relation.ids, axis=None), np.sort(nodes.ids, axis=None))


def _finished(draft: _Draft) -> Unrolled:
    same = np.arange(draft.count, dtype=np.int32)
    for _, (gone, kept) in draft.merged.values():
        same[gone] = kept
    while not np.array_equal(same, same[same]):
        same = same[same]
    outputs = [draft.values[number] for number in draft.program.outputs if number in draft.values]
    last = frozenset[int]().union(*(each.layers for each in outputs if not each.parameter))
    layers = []
    for position, nodes in enumerate(draft.layers):
        if position in draft.merged:
            continue
        role = "output" if position in last and nodes.role != "input" else nodes.role
        layers.append(nodes._replace(role=role))
    return Unrolled(layers, draft.steps, same, _parallel(draft))


def _parallel(draft: _Draft) -> list[list[int]]:
    """Steps between the same layers, once those that became one are counted as one."""
    into: dict[int, list[int]] = {}
    for place, step in enumerate(draft.steps):
        into.setdefault(_kept(draft, step.ends), []).append(place)
    groups = []
    for places in into.values():
        seen: set[int] = set()
        twice = False
        for place in places:
            begins = {_kept(draft, layer) for layer in draft.steps[place].begins}
            twice |= bool(seen & begins)
            seen |= begins
        if twice:
            groups.append(places)
    return groups


def _kept(draft: _Draft, layer: int) -> int:
    while layer in draft.merged:
        layer = draft.merged[layer][0]
    return layer
