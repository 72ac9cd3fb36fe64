"""The layer that decides for all layers which share a group's channels."""

import re
from collections.abc import Collection, Mapping
from typing import Literal, get_args

from prunejax import names
from prunejax.network import KERNELS, Layer, Network

GroupSource = Literal["shortcut", "main"]

CONVOLUTIONS = ("conv", "conv_transpose")
"""The kinds of layer whose channels are scored unless others are asked for."""


def deciding_layer(network: Network, group: str, prefer: GroupSource = "shortcut") -> Layer:
    """The layer of a group on which its channels are selected; the others follow it.

    Where a sum first joins a layer of the group to another layer, as in a residual block, these are
    its main path and its shortcut: the shortcut has fewer layers before it. In the CIFAR ResNets
    this is the stem for stage 1 and the shortcut's convolution for the others; the main path is the
    last convolution of the stage's first block (Yang et al. 2025, Section 3.5.2). Where the
    shortcut is padded with zeros, no layer of it makes the new channels, and the main path decides
    for them. In a group without such a sum both are its first layer.

    Args:
      network: the network.
      group: the name of one of its groups.
      prefer: "shortcut", which the authors' code reads, or "main", which the paper's text does.

    Returns:
      The layer.

    Raises:
      ValueError: ``prefer`` is another word, or there is no such group.
    """
    names.choose("group_source", prefer, get_args(GroupSource))
    names.choose("group of channels", group, network.groups)
    members = network.groups[group].layers
    for layer in network.layers.values():
        if layer.kind == "add" and len(members) > 1:
            before = _before(network, layer)
            joined = before.intersection(members)
            if joined and len(before) > 1:
                depths = _depths(network)
                ordered = sorted(joined, key=lambda name: (depths[name], members.index(name)))
                chosen = ordered[0] if prefer == "shortcut" else ordered[-1]
                return network.layers[chosen]
    return network.layers[next(iter(members))]


def deciding_layers(
    network: Network,
    *,
    group_source: GroupSource = "shortcut",
    kinds: Collection[str] = CONVOLUTIONS,
    select: str = "",
) -> dict[str, Layer]:
    """The groups whose channels are to be scored, each with the layer that decides for it.

    Args:
      network: the network.
      group_source: which layer decides for a group, see ``deciding_layer``.
      kinds: the kinds of layer whose channels are scored: convolutions by default, not "dense".
      select: a regular expression; only groups with a match in their names are scored.

    Returns:
      Group name -> layer, in the order of the layers.

    Raises:
      ValueError: no group is left; the message says what there is.
    """
    try:
        re.compile(select)
    except re.error as error:
        raise ValueError(f"select is no regular expression: {select!r} ({error})") from error
    everything = {group: deciding_layer(network, group, group_source) for group in network.groups}
    deciding = {
        group: layer
        for group, layer in everything.items()
        if layer.kind in kinds and re.search(select, group)
    }
    if not deciding:
        there = ", ".join(f"{group} ({layer.kind})" for group, layer in everything.items())
        raise ValueError(
            f"no group of channels is made by a layer of kind {' or '.join(kinds)}"
            + (f" and named like {select!r}" if select else "")
            + f"; there are: {there or 'none'}"
            + (_hint(everything) if not select else "")
        )
    return deciding


def _hint(everything: Mapping[str, Layer]) -> str:
    kinds = dict.fromkeys(layer.kind for layer in everything.values())
    return f" (kinds={tuple(kinds)!r} takes them)" if kinds else ""


def _before(network: Network, layer: Layer) -> set[str]:
    """The layers with kernels that a layer reads without another kernel between them."""
    before: set[str] = set()
    seen: set[str] = set()
    waiting = list(layer.inputs)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in network.layers:
            continue
        seen.add(name)
        if network.layers[name].kind in KERNELS:
            before.add(name)
        else:
            waiting.extend(network.layers[name].inputs)
    return before


def _depths(network: Network) -> dict[str, int]:
    """For each layer the number of kernels on the longest path to it, its own included."""
    depths: dict[str, int] = {}
    for name, layer in network.layers.items():
        before = max((depths.get(other, 0) for other in layer.inputs), default=0)
        depths[name] = before + (layer.kind in KERNELS)
    return depths
