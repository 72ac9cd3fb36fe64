"""What unrolling a program finds: layers of nodes, and the steps between them."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from prunejax.network.program import Program
from prunejax.topology.relations import NOTHING, Relation


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
class Draft:
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


def fresh(draft: Draft, size: int) -> np.ndarray:
    """Numbers of nodes that no node has yet."""
    draft.count += size
    return np.arange(draft.count - size, draft.count, dtype=np.int32)


def make(draft: Draft, name: str, x: Relation, shape: tuple[int, ...]) -> np.ndarray:
    """A new layer of nodes that reads others."""
    draft.read |= x.layers
    depth = 1 + max((draft.layers[layer].depth for layer in x.layers), default=0)
    ids = fresh(draft, math.prod(shape)).reshape(shape)
    draft.layers.append(Nodes(name, ids, "hidden", depth))
    return ids


def add_step(
    draft: Draft,
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


def _repeats(draft: Draft, x: Relation, reads: np.ndarray) -> bool:
    """Whether an output position reads a node through several entries of the kernel."""
    known = x.ids[x.ids != NOTHING]
    if not known.size or int(np.bincount(known, minlength=draft.count).max()) == 1:
        return False
    return distinct(reads) < int((reads != NOTHING).sum())


def distinct(reads: np.ndarray) -> int:
    """How many nodes are read, those that a position reads through several keys once for it.

    Args:
      reads: [keys, positions, nodes].
    """
    each = np.sort(reads.transpose(1, 0, 2).reshape(reads.shape[1], -1), axis=1)
    first = np.ones(each.shape, bool)
    first[:, 1:] = each[:, 1:] != each[:, :-1]
    return int((first & (each != NOTHING)).sum())
