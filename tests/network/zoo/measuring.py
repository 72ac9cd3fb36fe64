"""How many of a network's channels can go."""

import math
import warnings
from collections.abc import Callable
from typing import Any

from prunejax.network import Network, trace
from prunejax.network.labels import FROZEN
from tests.network.zoo.entry import Entry


def quietly(apply_fn: Callable[..., Any], variables: Any, x: Any) -> Network:
    """Traces a network without the warnings of what stays whole, which the shares say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return trace(apply_fn, variables, x)


def kernel_axes(network: Network) -> dict[tuple[int, int], int]:
    """The axes of kernels that make channels, and their lengths; each once, however often used.

    An axis of length 1 holds no choice.
    """
    shapes = network.traced.program.shapes
    lengths = {
        (producer.value, producer.axis): shapes[producer.value][producer.axis]
        for producer in network.flows.producers
    }
    return {place: length for place, length in lengths.items() if length > 1}


def free_channels(network: Network) -> int:
    """The number of indices of those axes that can be removed."""
    alone = {
        label
        for label, width in _widths(network).items()
        if width < 2  # the last of its group always stays
    }
    total = 0
    for value, axis in kernel_axes(network):
        labels = network.coupling.axes(value)[axis]
        if labels is not None:
            found = network.coupling.labels.find(labels).tolist()
            total += sum(label != FROZEN and label not in alone for label in found)
    return total


def _widths(network: Network) -> dict[int, int]:
    """For each label the width of its group."""
    axes = {path: network.coupling.axes(number) for number, path in network.traced.paths.items()}
    widths = {}
    for group in network.groups.values():
        member = group.members[0]
        labels = axes[member.path][member.axis]
        assert labels is not None
        for label in network.coupling.labels.find(labels)[member.indices[:, 0]].tolist():
            widths[label] = group.width
    return widths


def measured(network: Network, entry: Entry) -> tuple[int, int]:
    """How many channels can go, and how many are not simply returned."""
    total = entry.channels or sum(kernel_axes(network).values())
    return free_channels(network), total - entry.returned


def share(network: Network, entry: Entry) -> float:
    """The share of a network's channels, those it returns aside, that can go; 4 digits, down."""
    free, total = measured(network, entry)
    return math.floor(1e4 * free / max(total, 1)) / 1e4
