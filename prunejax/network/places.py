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
      every: all its indices there, [width, copies]: of a head those of all places in it.
    """

    axis: int
    indices: np.ndarray
    every: np.ndarray


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
    value = network.flows.values.get(layer)
    if value is not None:
        wanted = network.channels[group]
        channel = np.full(len(labels), -1)
        channel[wanted] = np.arange(len(wanted))
        for number, there in enumerate(coupling.axes(value)):
            if there is None:
                continue
            positions, bases = labels.bases(there)
            found = channel[bases] >= 0
            owners, positions = channel[bases[found]], positions[found]
            counts = np.bincount(owners, minlength=len(wanted))
            if counts.min() > 0 and counts.min() == counts.max():
                order = np.lexsort((positions, owners))
                every = positions[order].reshape(len(wanted), -1)
                return Place(number, every[:, 0], every)
    if layer in network.flows.looped:
        raise ValueError(f"{layer!r} stands in a loop, whose values are not at hand outside of it")
    raise ValueError(f"the channels of group {group!r} are not in what {layer!r} puts out")
