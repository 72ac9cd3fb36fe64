"""Where the channels of a group are in what a layer puts out."""

from typing import NamedTuple

import numpy as np

from prunejax import names
from prunejax.network.structure import Structure


class Place(NamedTuple):
    """The channels of a group in an array.

    Attributes:
      axis: the axis that they lie along.
      indices: for each channel of the group its first index there, [width].
    """

    axis: int
    indices: np.ndarray


def place(network: Structure, group: str, layer: str) -> Place:
    """Finds a group's channels in a layer's output; see ``Network.place``.

    Args:
      network: the network.
      group: the name of a group.
      layer: the name of a layer.

    Returns:
      The axis and the indices.

    Raises:
      ValueError: as ``Network.place`` says.
    """
    names.choose("group of channels", group, network.groups)
    labels, coupling = network.coupling.labels, network.coupling
    numbers = {path: number for number, path in network.traced.paths.items()}
    member = network.groups[group].members[0]
    axis = coupling.axes(numbers[member.path])[member.axis]
    value = network.flows.values.get(layer)
    if axis is not None and value is not None:
        wanted = labels.find(axis[member.indices[:, 0]])
        for number, there in enumerate(coupling.axes(value)):
            if there is None:
                continue
            present, first = np.unique(labels.find(there), return_index=True)
            if np.isin(wanted, present).all():
                return Place(number, first[np.searchsorted(present, wanted)])
    raise ValueError(f"the channels of group {group!r} are not in what {layer!r} puts out")
