"""How many of a network's channels can go."""

import math
import warnings
from collections.abc import Callable
from typing import Any

from prunejax.network import Network, trace
from tests.network.zoo.entry import Entry


def quietly(apply_fn: Callable[..., Any], variables: Any, x: Any) -> Network:
    """Traces a network without the warnings of what stays whole, which the shares say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return trace(apply_fn, variables, x)


def measured(network: Network, entry: Entry) -> tuple[int, int]:
    """How many channels can go, and how many there are that are not simply returned."""
    staying = network.staying
    returned = sum(len(each.channels) for each in staying.frozen if each.returned)
    return staying.free, max(entry.channels or 0, staying.channels + returned) - entry.returned


def share(network: Network, entry: Entry) -> float:
    """The share of a network's channels, those it returns aside, that can go; 4 digits, down."""
    free, total = measured(network, entry)
    return math.floor(1e4 * free / max(total, 1)) / 1e4
