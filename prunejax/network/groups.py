"""Channels that must be kept or removed together, and what to call them."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from prunejax.network.coupling import Coupling
from prunejax.network.flow import Producer
from prunejax.network.labels import Axis


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
) -> dict[str, Group]:
    """Collects equal labels into channels, and channels that occur in the same places into groups.

    Args:
      leaves: for each leaf's path the labels of its axes.
      coupling: the labels.
      producers: the axes of kernels that make output channels, in topological order.

    Returns:
      The groups by name, in the order of the layers that produce them.
    """
    labels, paths = coupling.labels, list(leaves)
    places = [(path, number) for path in paths for number in range(len(leaves[path]))]
    # where each channel is found: the number of a place, an index there, and the channel's label
    where = [
        (place, *labels.bases(axis))
        for place, (path, number) in enumerate(places)
        if (axis := leaves[path][number]) is not None
    ]
    made = [
        (position, *labels.bases(axis))
        for position, producer in enumerate(producers)
        if (axis := coupling.axes(producer.value)[producer.axis]) is not None
    ]
    if not where or not made:
        return {}
    at, index, label = _columns(where)
    maker, _, product = _columns(made)
    # what no layer produces is no channel: the copies of a repeated value, say
    channels, first = np.unique(product, return_index=True)
    free = labels.removable(channels) & np.isin(channels, label)
    # in the order of the layers that produce them
    channels = channels[free][np.argsort(first[free])]
    number = np.full(len(labels), -1)
    number[channels] = np.arange(len(channels))
    found, kept = number[label] >= 0, number[product] >= 0
    at, index, label = at[found], index[found], number[label[found]]
    maker, product = maker[kept], number[product[kept]]
    kinds = _alike(len(channels), (label, at), (product, maker))
    groups: list[tuple[tuple[str, int], np.ndarray, tuple[str, ...], np.ndarray]] = []
    for kind in dict.fromkeys(kinds.tolist()):
        for together in _apart(np.flatnonzero(kinds == kind), label, at, index):
            if len(together) < 2:
                continue  # one channel that cannot go without leaving none
            makers = [producers[each] for each in np.unique(maker[product == together[0]])]
            groups.append(
                (
                    (makers[0].layer, makers[0].axis),
                    together,
                    tuple(dict.fromkeys(each.layer for each in makers)),
                    np.flatnonzero(np.isin(label, together)),
                )
            )
    made_groups = {}
    names = _names([origin for origin, *_ in groups])
    for name, (_, together, layers, rows) in zip(names, groups, strict=True):
        rows = rows[np.lexsort((index[rows], label[rows], at[rows]))]
        members = []
        for place in np.unique(at[rows]):
            there = index[rows[at[rows] == place]].reshape(len(together), -1)
            path, axis = places[place]
            members.append(Member(path, axis, there))
        made_groups[name] = Group(name, len(together), tuple(members), layers)
    return made_groups


def _apart(
    channels: np.ndarray, label: np.ndarray, at: np.ndarray, index: np.ndarray
) -> list[np.ndarray]:
    """Divides channels so that no two of a part share an entry, as a head and a place in it do."""
    rows = np.flatnonzero(np.isin(label, channels))
    entries = np.unique(np.stack([at[rows], index[rows]], 1), axis=0, return_inverse=True)[1]
    if len(np.unique(entries)) == len(rows):
        return [channels]
    parts: list[tuple[list[int], set[int]]] = []
    for channel in channels.tolist():
        mine = {*entries[label[rows] == channel].tolist()}
        for held, taken in parts:
            if not mine & taken:
                held.append(channel)
                taken |= mine
                break
        else:
            parts.append(([channel], mine))
    return [np.asarray(held) for held, _ in parts]


def _columns(
    rows: list[tuple[int, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, positions and labels of all rows, one below the other."""
    numbers = np.concatenate([np.full(len(positions), n) for n, positions, _ in rows])
    return (
        numbers,
        np.concatenate([positions for _, positions, _ in rows]),
        np.concatenate([labels for *_, labels in rows]),
    )


def _alike(count: int, *pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """For each channel a number that those have in common that occur equally often in the same
    places; ``pairs`` are channels and places, the second ones counted once."""
    codes = np.zeros(count, np.int64)
    for position, (channel, place) in enumerate(pairs):
        both, times = np.unique(np.stack([channel, place], 1), axis=0, return_counts=True)
        if position:
            times = np.ones_like(times)
        # one place after the other tells channels apart that were alike before it
        for each in np.unique(both[:, 1]):
            here = both[:, 1] == each
            seen = np.zeros(count, np.int64)
            seen[both[here, 0]] = times[here]
            if seen.any() and (seen != seen[0]).any():
                stacked = np.stack([codes, seen], 1)
                codes = np.unique(stacked, axis=0, return_inverse=True)[1].ravel()
    return codes


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
