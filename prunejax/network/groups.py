"""Channels that must be kept or removed together, and what to call them."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from prunejax.network.coupling import Coupling
from prunejax.network.flow import Producer
from prunejax.network.labels import Labels, Where
from prunejax.network.sets import Axis


@dataclasses.dataclass(frozen=True)
class Member:
    """Where the channels of a group are found in one leaf.

    Attributes:
      path: the leaf's path.
      axis: one of its axes.
      indices: for each channel of the group its indices along the axis, [width, copies]: one,
        or several where flattening repeats a channel or tied positions share it.
    """

    path: str
    axis: int
    indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class Group:
    """Channels that can be removed one by one; each occurs in all members.

    Attributes:
      name: the name of the first layer that produces them. Where one layer produces several
        groups, the kernel's axis follows in brackets or a number after "#".
      width: how many channels there are.
      members: where they are.
      layers: the names of all layers that produce them.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    layers: tuple[str, ...]


def find_groups(
    leaves: dict[str, tuple[Axis, ...]], coupling: Coupling, producers: Sequence[Producer]
) -> tuple[dict[str, Group], dict[str, np.ndarray]]:
    """Collects equal labels into channels, and channels that occur in the same places into groups.

    Args:
      leaves: for each leaf's path the labels of its axes.
      coupling: the labels.
      producers: the axes of kernels that make output channels, in topological order.

    Returns:
      The groups by name, in the order of the layers that produce them, and the labels of their
      channels, [width] each.
    """
    labels, paths = coupling.labels, list(leaves)
    places = [(path, number) for path in paths for number in range(len(leaves[path]))]
    held, where = _patterns(labels, [leaves[path][number] for path, number in places])
    makes, made = _patterns(
        labels, [coupling.axes(producer.value)[producer.axis] for producer in producers]
    )
    if not where or not made:
        return {}, {}
    shared = any(len(positions) > positions.max(initial=-1) + 1 for positions, _ in where)
    at, index, label = _columns(where)
    maker, _, product = _columns(made)
    # what no layer produces is no channel: the copies of a repeated value, say
    channels, first = np.unique(product, return_index=True)
    present = np.zeros(len(labels), bool)
    present[label] = True
    free = labels.removable(channels) & present[channels]
    # in the order of the layers that produce them
    channels = channels[free][np.argsort(first[free])]
    if not len(channels):
        return {}, {}
    number = np.full(len(labels), -1)
    number[channels] = np.arange(len(channels))
    found, kept = number[label] >= 0, number[product] >= 0
    at, index, label = at[found], index[found], number[label[found]]
    maker, product = maker[kept], number[product[kept]]
    kinds = _alike(len(channels), (label, at, held), (product, maker, makes))
    groups: list[tuple[tuple[str, int], np.ndarray, tuple[str, ...], np.ndarray]] = []
    entries = at * (int(index.max()) + 1) + index
    among = np.zeros(len(channels), bool)
    order = np.argsort(kinds[label], kind="stable")
    bounds = np.searchsorted(kinds[label][order], np.arange(kinds.max() + 2))
    for kind in dict.fromkeys(kinds.tolist()):
        same = np.flatnonzero(kinds == kind)
        rows = order[bounds[kind] : bounds[kind + 1]]
        for together in _apart(same, label[rows], entries[rows]) if shared else [same]:
            among[:] = False
            among[together] = True
            if len(together) < 2:
                continue  # one channel that cannot go without leaving none
            made_by = {each for kind in maker[product == together[0]] for each in makes[kind]}
            makers = [producers[each] for each in sorted(made_by)]
            groups.append(
                (
                    (makers[0].layer, makers[0].axis),
                    together,
                    tuple(dict.fromkeys(each.layer for each in makers)),
                    rows if len(together) == len(same) else rows[among[label[rows]]],
                )
            )
    made_groups, channel = {}, {}
    names = _names([origin for origin, *_ in groups])
    for name, (_, together, layers, rows) in zip(names, groups, strict=True):
        rows = rows[np.lexsort((index[rows], label[rows], at[rows]))]
        there = {
            place: index[rows[at[rows] == pattern]].reshape(len(together), -1)
            for pattern in _distinct(at[rows])
            for place in held[pattern]
        }
        members = tuple(
            Member(path, axis, there[place])
            for place, (path, axis) in enumerate(places)
            if place in there
        )
        made_groups[name] = Group(name, len(together), members, layers)
        channel[name] = channels[together]
    return made_groups, channel


def _apart(channels: np.ndarray, label: np.ndarray, entries: np.ndarray) -> list[np.ndarray]:
    """Divides channels so that no two of a part share an entry, as a head and a place in it do.

    Args:
      channels: what is to be divided.
      label: the channel of each row.
      entries: the entry of each row.

    Returns:
      The parts.
    """
    if len(_distinct(entries)) == len(entries):
        return [channels]
    order = np.argsort(label, kind="stable")
    label, entries = label[order], entries[order]
    starts = np.searchsorted(label, channels)
    ends = np.searchsorted(label, channels, side="right")
    parts: list[tuple[list[int], set[int]]] = []
    for channel, start, end in zip(channels.tolist(), starts, ends, strict=True):
        mine = {*entries[start:end].tolist()}
        for held, taken in parts:
            if taken.isdisjoint(mine):
                held.append(channel)
                taken |= mine
                break
        else:
            parts.append(([channel], mine))
    return [np.asarray(held) for held, _ in parts]


def _patterns(labels: Labels, axes: Sequence[Axis]) -> tuple[list[list[int]], list[Where]]:
    """What stands along axes; most are like many others, whatever their leaves.

    Args:
      labels: the labels.
      axes: the axes; those that are None are left out.

    Returns:
      For each pattern the axes that have it, and where the channels are in it.
    """
    present = [(number, axis) for number, axis in enumerate(axes) if axis is not None]
    found: dict[tuple[bytes, bytes], list[int]] = {}
    patterns = []
    every = labels.all_bases([axis for _, axis in present])
    for (number, _), where in zip(present, every, strict=True):
        positions, bases = where
        key = positions.tobytes(), bases.tobytes()
        if key not in found:
            patterns.append(where)
        found.setdefault(key, []).append(number)
    return list(found.values()), patterns


def _columns(patterns: list[Where]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of patterns, positions and labels in them, one below the other."""
    positions, labels = zip(*patterns, strict=True)
    numbers = np.repeat(np.arange(len(patterns)), [len(each) for each in positions])
    return numbers, np.concatenate(positions), np.concatenate(labels)


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """The different ones of some numbers, sorted; by sorting, which is faster than hashing."""
    ordered = np.sort(numbers)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])]


def _alike(
    channels: int,
    found: tuple[np.ndarray, np.ndarray, list[list[int]]],
    made: tuple[np.ndarray, np.ndarray, list[list[int]]],
) -> np.ndarray:
    """A number for each channel that those share that occur equally often in the same places.

    The places of a channel are told by a sum of random numbers, one per place.
    """
    sums = np.zeros(channels, np.uint64)
    random = np.random.default_rng(0)
    for position, (channel, pattern, held) in enumerate((found, made)):
        places = 1 + max(place for each in held for place in each)
        drawn = random.integers(1, 2**62, places, dtype=np.uint64)
        if position:  # once for each layer that makes it
            pairs = _distinct(channel * len(held) + pattern)
            channel, pattern = pairs // len(held), pairs % len(held)
        together = np.array([drawn[each].sum() for each in held])
        np.add.at(sums, channel, together[pattern])
    return np.unique(sums, return_inverse=True)[1]


def channel_labels(coupling: Coupling, numbers: Mapping[str, int], group: Group) -> np.ndarray:
    """The label of each channel of a group: the one that all its entries have.

    Args:
      coupling: the labels.
      numbers: the numbers of the leaves' values by path.
      group: the group.

    Returns:
      The labels that stand for the channels' sets, [width].

    Raises:
      ValueError: the labels are those of a program in which the channels are not one by one.
    """
    labels, shared = coupling.labels, None
    for member in group.members:
        axis = coupling.axes(numbers[member.path])[member.axis]
        if axis is None:
            raise ValueError(f"the channels of {group.name!r} cannot be removed")
        positions, bases = labels.bases(axis)
        width, copies = member.indices.shape
        if copies == 1 and len(bases) == len(axis):
            return bases[member.indices[:, 0]]
        owner = np.full(len(axis), -1)
        owner[member.indices] = np.arange(width)[:, None]
        rows = np.stack([owner[positions], bases], 1)
        pairs, counts = np.unique(rows[rows[:, 0] >= 0], axis=0, return_counts=True)
        pairs = pairs[counts == copies]
        shared = pairs if shared is None else _both(shared, pairs)
        if len(shared) == group.width and copies == 1:
            break
    assert shared is not None
    total = sum(member.indices.shape[1] for member in group.members)
    if len(shared) > group.width:  # of those that come down to several the one of these places
        shared = shared[coupling.found[shared[:, 1]] == total]
    if not np.array_equal(shared[:, 0], np.arange(group.width)):
        raise ValueError(f"the channels of {group.name!r} cannot be told apart")
    return shared[:, 1]


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The rows that two arrays have in common."""
    rows, counts = np.unique(np.concatenate([first, second]), axis=0, return_counts=True)
    return rows[counts == 2]


def _names(origins: list[tuple[str, int]]) -> list[str]:
    axes = defaultdict(set)
    for layer, axis in origins:
        axes[layer].add(axis)
    wanted = [f"{layer}[{axis}]" if len(axes[layer]) > 1 else layer for layer, axis in origins]
    seen: Counter[str] = Counter()
    names = []
    for name in wanted:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names
