"""From the steps of an unrolled network and its masks to the edges of a graph."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prunejax.topology.graph import EdgeBlock, Graph, NodeLayer
from prunejax.topology.relations import NOTHING
from prunejax.topology.steps import Shortcut, Step, Unrolled, distinct

AT_ONCE = 2**22
"""About how many edges are made at once; bounds the memory beside the edges themselves."""

BYTES = 12
"""Of one edge: two ends and a weight."""


class Weights(NamedTuple):
    """The parameters of a network, one after the other, as the numbers of kernels count them.

    Attributes:
      kept: whether each is still there.
      size: its absolute value, or 1.
    """

    kept: np.ndarray
    size: np.ndarray


def count(unrolled: Unrolled, weights: Weights) -> list[tuple[int, int]]:
    """How many edges each step has, and how many it would have without masks.

    Edges that several entries share, under overlapping pools, are counted for each of them,
    possible ones once.

    Args:
      unrolled: the network.
      weights: its parameters.

    Returns:
      (edges, possible edges) for each step.
    """
    counts = []
    for step in unrolled.steps:
        if isinstance(step, Shortcut):
            edges = int((step.sources != NOTHING).sum())
            counts.append((edges, edges))
            continue
        per_key = (step.reads != NOTHING).sum(axis=(1, 2))
        kept = weights.kept[step.kernel]
        possible = _pairs(step) if step.shared else int(per_key[step.keys].sum())
        counts.append((int(per_key[step.keys][kept].sum()), possible))
    return counts


def _pairs(step: Step) -> int:
    """How many pairs of nodes a kernel joins whose entries share nodes."""
    rows, channels = np.unique(step.keys, axis=0, return_counts=True)
    return sum(
        distinct(step.reads[keys]) * int(count) for keys, count in zip(rows, channels, strict=True)
    )


def build(
    unrolled: Unrolled,
    weights: Weights,
    counts: Sequence[tuple[int, int]],
    *,
    encoding: str,
    compat: bool,
) -> Graph:
    """Makes the graph.

    Args:
      unrolled: the network.
      weights: its parameters.
      counts: from ``count``.
      encoding: goes into the graph.
      compat: goes into the graph.

    Returns:
      The graph.
    """
    layers, number = numbered(unrolled)
    total = sum(edges for edges, _ in counts)
    sources, targets = np.empty(total, np.int32), np.empty(total, np.int32)
    sizes = np.empty(total, np.float32)
    blocks, at = [], 0
    for step, (edges, possible) in zip(unrolled.steps, counts, strict=True):
        part = slice(at, at + edges)
        into = (sources[part], targets[part], sizes[part])
        if isinstance(step, Shortcut):
            _shortcut(step, number, into)
        else:
            _edges(step, weights, number, into)
            edges = _distinct(step, into)
        begins = tuple(sorted(step.begins))
        blocks.append(EdgeBlock(step.name, at, at + edges, possible, begins, step.ends))
        at += edges
    edges = (sources[:at], targets[:at], sizes[:at])
    for places in unrolled.parallel:
        blocks, edges = _once(blocks, places, edges)
    return Graph(layers, tuple(blocks), edges[0], edges[1], edges[2], encoding, compat)


def _once(
    blocks: list[EdgeBlock], places: Sequence[int], edges: tuple[np.ndarray, ...]
) -> tuple[list[EdgeBlock], tuple[np.ndarray, ...]]:
    """Joins edges of several steps between the same nodes; the first has the sum of weights."""
    at = np.concatenate([np.arange(blocks[place].start, blocks[place].stop) for place in places])
    sources, targets, sizes = edges
    pairs = sources[at].astype(np.int64) << 32 | targets[at]
    unique, first, place = np.unique(pairs, return_index=True, return_inverse=True)
    if len(unique) == len(at):
        return blocks, edges
    sizes[at[first]] = np.bincount(place, sizes[at], len(unique))
    stays = np.ones(len(sources), bool)
    stays[at] = False
    stays[at[first]] = True
    before = np.concatenate(([0], np.cumsum(stays)))
    moved = [
        block._replace(start=int(before[block.start]), stop=int(before[block.stop]))
        for block in blocks
    ]
    return moved, tuple(each[stays] for each in edges)


def numbered(unrolled: Unrolled) -> tuple[tuple[NodeLayer, ...], np.ndarray]:
    """The layers, and the place of each node in the order of layers, channels and positions.

    Args:
      unrolled: the network.

    Returns:
      (layers, the place by the number that the node has in ``unrolled``).
    """
    number = np.full(len(unrolled.same), NOTHING, np.int32)
    layers, offset = [], 0
    for nodes in unrolled.layers:
        number[nodes.ids.ravel()] = np.arange(offset, offset + nodes.ids.size, dtype=np.int32)
        layers.append(NodeLayer(nodes.name, offset, nodes.ids.shape, nodes.role))
        offset += nodes.ids.size
    return tuple(layers), number[unrolled.same]


def _shortcut(step: Shortcut, number: np.ndarray, into: Sequence[np.ndarray]) -> None:
    there = step.sources != NOTHING
    targets = np.broadcast_to(step.targets[:, None], step.sources.shape)
    into[0][:] = number[step.sources[there]]
    into[1][:] = number[targets[there]]
    into[2][:] = 1.0


def _edges(step: Step, weights: Weights, number: np.ndarray, into: Sequence[np.ndarray]) -> None:
    """An outer product of the entries that are there and the positions of the output."""
    keys, positions, most = step.reads.shape
    reads = np.where(step.reads == NOTHING, NOTHING, number[step.reads]).reshape(keys, -1)
    targets = number[np.repeat(step.targets, most, axis=1)]
    full = bool((reads != NOTHING).all())
    channels, places = np.nonzero(weights.kept[step.kernel])
    key, size = step.keys[channels, places], weights.size[step.kernel[channels, places]]
    at = 0
    chunk = max(1, AT_ONCE // max(1, positions * most))
    for start in range(0, len(channels), chunk):
        part = slice(start, start + chunk)
        ends = reads[key[part]]
        there = slice(None) if full else ends != NOTHING
        found = ends[there].ravel()
        stop = at + len(found)
        into[0][at:stop] = found
        into[1][at:stop] = targets[channels[part]][there].ravel()
        wide = np.broadcast_to(size[part, None], ends.shape)
        into[2][at:stop] = wide[there].ravel()
        at = stop


def _distinct(step: Step, into: Sequence[np.ndarray]) -> int:
    """Joins edges between the same nodes, which overlapping pools make; their weights add up."""
    edges = len(into[0])
    if not step.shared or not edges:
        return edges
    pairs = into[0].astype(np.int64) << 32 | into[1]
    unique, place = np.unique(pairs, return_inverse=True)
    sums = np.bincount(place, into[2], len(unique))
    into[0][: len(unique)] = unique >> 32
    into[1][: len(unique)] = unique & 0xFFFFFFFF
    into[2][: len(unique)] = sums
    return len(unique)
