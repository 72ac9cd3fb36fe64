"""Channels that must be kept or removed together, and what to call them."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from prunejax.network.coupling import Coupling
from prunejax.network.flow import Producer
from prunejax.network.labels import FROZEN, Axis


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
    places: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for path, axes in leaves.items():
        for number, axis in enumerate(axes):
            if axis is not None:
                for index, label in enumerate(coupling.labels.find(axis).tolist()):
                    if label != FROZEN:
                        places[label].append((path, number, index))
    makers: dict[int, dict[tuple[str, int], None]] = defaultdict(dict)
    order: dict[int, tuple[int, int]] = {}
    for position, producer in enumerate(producers):
        axis = coupling.axes(producer.value)[producer.axis]
        if axis is not None:
            for index, label in enumerate(coupling.labels.find(axis).tolist()):
                makers[label].setdefault((producer.layer, producer.axis))
                order.setdefault(label, (position, index))
    channels: dict[object, list[int]] = defaultdict(list)
    for label, occurrences in places.items():
        # what no layer produces is no channel: the copies of a repeated value, say
        if label in makers:
            counts = Counter((path, axis) for path, axis, _ in occurrences)
            channels[(tuple(counts.items()), tuple(makers[label]))].append(label)
    drafts = []
    for labels in channels.values():
        labels.sort(key=order.__getitem__)
        drafts.append((order[labels[0]], labels))
    drafts.sort(key=lambda draft: draft[0])
    origins = [next(iter(makers[labels[0]])) for _, labels in drafts]
    names = _names(origins)
    return {
        name: Group(
            name,
            len(labels),
            _members([places[label] for label in labels]),
            tuple(dict.fromkeys(layer for layer, _ in makers[labels[0]])),
        )
        for name, (_, labels) in zip(names, drafts, strict=True)
    }


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


def _members(channels: list[list[tuple[str, int, int]]]) -> tuple[Member, ...]:
    indices_at: dict[tuple[str, int], list[list[int]]] = defaultdict(lambda: [[] for _ in channels])
    for position, places in enumerate(channels):
        for path, axis, index in places:
            indices_at[path, axis][position].append(index)
    return tuple(
        Member(path, axis, np.asarray(indices)) for (path, axis), indices in indices_at.items()
    )
