"""Channels that must be kept or removed together, and what to call them."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

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
        together = np.flatnonzero(kinds == kind)
        if len(together) < 2:
            continue  # one channel that cannot go without leaving none
        makers = [producers[each] for each in np.unique(maker[product == together[0]])]
        groups.append(
            (
                (makers[0].layer, makers[0].axis),
                together,
                tuple(dict.fromkeys(each.layer for each in makers)),
                np.flatnonzero(kinds[label] == kind),
            )
        )
    made_groups = {}
    names = _names([origin for origin, *_ in groups])
    for name, (_, together, layers, rows) in zip(names, groups, strict=True):
        rows = rows[np.lexsort((index[rows], label[rows], at[rows]))]
        members = []
        for place in np.unique(at[rows]):
            there = index[rows[at[rows] == place]].reshape(len(together), -1)
            members.append(Member(*places[place], there))
        made_groups[name] = Group(name, len(together), tuple(members), layers)
    return made_groups


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
