"""How many nodes lie within two hops, from masks alone: places that look alike are counted once.

In a convolution all places of a channel are read alike but near the border, and as strides fall. So
one place of each kind is followed for two hops, by the kernels' masks, and counted as often as
there are places like it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from prunejax.topology.graph import NodeLayer
from prunejax.topology.relations import NOTHING
from prunejax.topology.steps import Shortcut, Step

IDENTITY = -1
"""The key of what reads without a kernel."""


class Readers(NamedTuple):
    """By what the places of a layer are read.

    Attributes:
      apart: whether all channels are read alike, at keys that are ``taps`` apart: then a place is a
        position, otherwise a node of its own.
      begins: where the list of each place begins, [places + 1].
      steps: which step reads, one after the other.
      keys: which key of the first channel it is, or ``IDENTITY``.
      places: the position that it leads to, as the step counts them.
      taps: by step, how far keys of neighbouring channels are apart.
    """

    apart: bool
    begins: np.ndarray
    steps: np.ndarray
    keys: np.ndarray
    places: np.ndarray
    taps: np.ndarray


class Hops(NamedTuple):
    """What counting two hops needs of a network, whatever its masks; flat, as kernels read it.

    Attributes:
      kinds: of each layer, one place of each kind.
      counts: of each layer, how many places there are of each kind.
      layer: the layer of each node, [nodes].
      layout: what ``kernels.two_hops`` is given of the network, from ``offsets`` to ``taps``.
      targets: the nodes of the first channel that steps lead to, of an identity all nodes.
      target_begins: where those of each step begin in ``targets``.
      keys: of each step the keys of its kernel's entries, [channels, entries]; None: an identity.
      entries: of each step the places of its entries in the flattened leaf, likewise.
      paths: of each step its leaf's path, "" for an identity.
    """

    kinds: list[np.ndarray]
    counts: list[np.ndarray]
    layer: np.ndarray
    layout: tuple[np.ndarray, ...]
    targets: np.ndarray
    target_begins: np.ndarray
    keys: list[np.ndarray | None]
    entries: list[np.ndarray | None]
    paths: list[str]


def hops(
    layers: Sequence[NodeLayer],
    steps: Sequence[Step | Shortcut],
    number: np.ndarray,
    paths: Sequence[tuple[str, int]],
) -> Hops:
    """Finds how places are read, and which are read alike.

    Args:
      layers: of the graph.
      steps: of the unrolled network.
      number: the place of each node in the graph.
      paths: of each step the path of its kernel's leaf, and the number of that leaf's first entry.

    Returns:
      What ``within_two`` needs.
    """
    layer_of = np.repeat(np.arange(len(layers)), [layer.size for layer in layers])
    reads = [_reads(step, number) for step in steps]
    targets = [np.atleast_2d(number[step.targets])[0].astype(np.int64) for step in steps]
    readers = [
        _readers(layer, place, layer_of, reads, len(steps)) for place, layer in enumerate(layers)
    ]
    kinds, counts = [], []
    for layer in readers:
        signs = [
            _sign(layer, place, readers, targets, layers, layer_of)
            for place in range(len(layer.begins) - 1)
        ]
        known = dict[Any, int]()
        of_kind = np.array([known.setdefault(sign, len(known)) for sign in signs], np.int64)
        _, first, count = np.unique(of_kind, return_index=True, return_counts=True)
        kinds.append(first)
        counts.append(count)
    kernels = [step if isinstance(step, Step) else None for step in steps]
    layout = (
        np.array([*(layer.offset for layer in layers), len(layer_of)], np.int64),
        np.array([layer.size // layer.shape[0] for layer in layers], np.int64),
        np.array([each.apart for each in readers]),
        _begins([len(each.begins) for each in readers]),
        _begins([len(each.steps) for each in readers]),
        *(
            np.concatenate([getattr(each, name) for each in readers]).astype(np.int64)
            for name in ("begins", "steps", "keys", "places")
        ),
        np.stack([each.taps for each in readers]),
    )
    return Hops(
        kinds,
        counts,
        layer_of,
        layout,
        np.concatenate(targets),
        _begins([len(each) for each in targets]),
        [None if step is None else step.keys for step in kernels],
        [
            None if step is None else step.kernel - first
            for step, (_, first) in zip(kernels, paths, strict=True)
        ],
        [path for path, _ in paths],
    )


def _begins(sizes: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where parts of such sizes begin, one after the other, and where the last one ends."""
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


def _reads(step: Step | Shortcut, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(nodes that are read, by which key, for which position), in the order of nodes and keys."""
    if isinstance(step, Shortcut):
        there = step.sources != NOTHING
        places = np.broadcast_to(np.arange(len(step.sources))[:, None], there.shape)[there]
        nodes, keys = number[step.sources[there]], np.full(int(there.sum()), IDENTITY)
    else:
        there = step.reads != NOTHING
        key, position, _ = np.nonzero(there)
        nodes, keys, places = number[step.reads[there]], key, position
    order = np.lexsort((places, keys, nodes))
    return nodes[order], keys[order], places[order]


def _readers(
    layer: NodeLayer,
    place: int,
    layer_of: np.ndarray,
    reads: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    count: int,
) -> Readers:
    parts = []
    for number, (nodes, keys, places) in enumerate(reads):
        own = layer_of[nodes] == place
        if own.any():
            parts.append((number, nodes[own] - layer.offset, keys[own], places[own]))
    channels, taps = layer.shape[0], np.zeros(count, np.int64)
    positions = layer.size // channels
    apart = True
    for number, nodes, keys, _ in parts:
        taps[number] = _taps(nodes, keys, channels, positions)
        apart = apart and int(taps[number]) >= 0
    for number, nodes, keys, places in parts:
        apart = apart and _alike(nodes, keys, places, channels, positions, int(taps[number]))
    if not apart:
        taps[:] = 0
    size = positions if apart else layer.size
    first = [
        (np.full(int((nodes < size).sum()), number), nodes[nodes < size], keys[nodes < size],
         places[nodes < size])
        for number, nodes, keys, places in parts
    ]  # fmt: skip
    if not first:
        empty = np.zeros(0, np.int64)
        return Readers(apart, np.zeros(size + 1, np.int64), empty, empty, empty, taps)
    steps, nodes, keys, places = (np.concatenate(column) for column in zip(*first, strict=True))
    order = np.argsort(nodes, kind="stable")
    begins = _begins(np.bincount(nodes, minlength=size))
    return Readers(apart, begins, steps[order], keys[order], places[order], taps)


def _taps(nodes: np.ndarray, keys: np.ndarray, channels: int, positions: int) -> int:
    """How far the keys of two channels are apart; -1 where they are not by one number."""
    if channels == 1 or (keys == IDENTITY).all():
        return 0
    lowest = np.full(channels, np.iinfo(np.int64).max)
    np.minimum.at(lowest, nodes // positions, keys)
    distances = np.unique(np.diff(lowest))
    return int(distances[0]) if len(distances) == 1 and distances[0] > 0 else -1


def _alike(
    nodes: np.ndarray,
    keys: np.ndarray,
    places: np.ndarray,
    channels: int,
    positions: int,
    taps: int,
) -> bool:
    """Whether each channel is read as the first one is."""
    if (keys == IDENTITY).all():
        return channels == 1
    if len(nodes) % channels:
        return False
    channel = np.arange(channels)[:, None]
    table = [each.reshape(channels, -1) for each in (nodes, keys, places)]
    return bool(
        (table[0] - channel * positions == table[0][0]).all()
        and (table[1] - channel * taps == table[1][0]).all()
        and (table[2] == table[2][0]).all()
    )


def _sign(
    layer: Readers,
    place: int,
    readers: Sequence[Readers],
    targets: Sequence[np.ndarray],
    layers: Sequence[NodeLayer],
    layer_of: np.ndarray,
) -> Any:
    """What two hops from a place look like, up to the names of the places that they lead to."""
    if not layer.apart:
        return place
    names: dict[Any, int] = {}
    found = []
    part = slice(layer.begins[place], layer.begins[place + 1])
    entries = zip(
        layer.steps[part].tolist(), layer.keys[part].tolist(), layer.places[part].tolist(),
        strict=True,
    )  # fmt: skip
    for step, key, position in entries:
        node = int(targets[step][position])
        behind = int(layer_of[node])
        following = readers[behind]
        if not following.apart:
            return place
        own = node - layers[behind].offset
        further = slice(following.begins[own], following.begins[own + 1])
        second = tuple(
            (s, k, names.setdefault((s, p), len(names)))
            for s, k, p in zip(
                following.steps[further].tolist(),
                following.keys[further].tolist(),
                following.places[further].tolist(),
                strict=True,
            )
        )
        found.append((step, key, names.setdefault((step, position), len(names)), second))
    return tuple(found)


def within_two(made: Hops, kept: Mapping[str, Any]) -> float:
    """The mean number of nodes within two hops along edges, the node itself not counted.

    Args:
      made: of the network.
      kept: the masks, by path; a leaf that is not there is whole.

    Returns:
      The mean.
    """
    from prunejax.topology import kernels

    bits, key_begins = _bits(made, kept)
    seen = np.zeros((len(made.layer), bits.shape[1]), np.uint64)
    total = 0
    for place, (kinds, counts) in enumerate(zip(made.kinds, made.counts, strict=True)):
        total += kernels.two_hops(
            place, kinds, counts, made.layer, *made.layout, bits, key_begins, made.targets,
            made.target_begins, seen,
        )  # fmt: skip
    return total / max(len(made.layer), 1)


def _bits(made: Hops, kept: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """By step and key, the output channels whose entry is there, as bits of words."""
    most = max(len(keys) for keys in made.keys if keys is not None)
    rows, key_begins = [], [0]
    for path, keys, entries in zip(made.paths, made.keys, made.entries, strict=True):
        if keys is None or entries is None:
            key_begins.append(key_begins[-1])
            continue
        there = np.ones(entries.shape, bool)
        if path in kept:
            there = np.asarray(kept[path], bool).ravel()[entries]
        table = np.zeros((int(keys.max()) + 1, -(-most // 64) * 64), np.uint8)
        channel = np.broadcast_to(np.arange(len(keys))[:, None], keys.shape)
        table[keys[there], channel[there]] = 1
        rows.append(np.packbits(table, axis=1, bitorder="little").view(np.uint64))
        key_begins.append(key_begins[-1] + len(table))
    return np.concatenate(rows), np.array(key_begins, np.int64)
