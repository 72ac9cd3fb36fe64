"""The k-core method on a whole network: measured once, for all thresholds."""

import math
import warnings
from collections.abc import Callable
from typing import cast

import jax
import numpy as np
from jaxtyping import Array, PyTree

from prunejax import filters
from prunejax.channels import collecting
from prunejax.channels.deciding import GroupSource, deciding_layers
from prunejax.channels.redundancies import Measured, Redundancies, score_by_redundancy
from prunejax.channels.scores import ChannelScores
from prunejax.filters.hashing import Hash
from prunejax.network import Layer, Network


def measure(
    network: Network,
    variables: PyTree,
    images: PyTree,
    *,
    group_source: GroupSource = "shortcut",
    select: str = "",
    hash: Hash = "dct",
    on_group: Callable[[int, int], None] | None = None,
) -> ChannelScores[Redundancies]:
    """Measures similarity and entropy of the filters of a whole network, once for all thresholds.

    Args:
      network: traced in evaluation mode; any batch size.
      variables: its variables.
      images: what its feature maps are taken of, the first axis counting; the paper takes 100
        training images.
      group_source: which of the layers that share channels decides, see ``deciding_layer``.
      select: a regular expression; only groups with a match in their names are scored.
      hash: as in ``filters.perceptual_hash``.
      on_group: told (done, of) after each group.

    Returns:
      What was measured. Layers whose maps are 1 x 1 or all constant are skipped, and a warning
      names them. Another warning counts the filters that put out a constant.

    Raises:
      ValueError: there is no image, no group of channels is made by a convolution, none of them has
        maps that carry a hash, or outputs are NaN or infinite.
    """
    if len(jax.tree.leaves(images)[0]) == 0:
        raise ValueError("feature maps need at least one image")
    if network.traced.ties:
        warnings.warn(
            "the network was traced in training mode (it returns updated state): feature maps are "
            "normalised by the batch's own statistics",
            stacklevel=2,
        )
    chosen = deciding_layers(network, group_source=group_source, select=select)
    flat = {
        group: layer.name
        for group, layer in chosen.items()
        if math.prod(layer.output_shape) == layer.output_shape[0] * _channels(network, layer, group)
    }
    if flat:
        warnings.warn(
            f"maps of 1 x 1 carry no hash: {', '.join(flat.values())} stay whole", stacklevel=2
        )
    rest = {group: layer for group, layer in chosen.items() if group not in flat}
    groups, skipped = {}, list(flat.values())
    for group, layer, features in collecting.collect(
        network, variables, images, rest, ("maps", "kernel"), on_group=on_group
    ):
        maps = cast(Array, features.maps)
        dead = np.asarray(filters.constant_channels(maps))
        if dead.all():
            warnings.warn(
                f"all filters of {layer!r} put out constants: it stays whole", stacklevel=2
            )
            skipped.append(layer)
            continue
        collecting.warn_of_dead(layer, dead)
        groups[group] = Measured(
            layer, filters.similarity(maps, hash=hash), filters.entropy(maps), filters.l1(features)
        )
    if not groups:
        raise ValueError(f"the maps of no layer carry a hash: {', '.join(skipped)} were skipped")
    return score_by_redundancy(network, Redundancies(groups, tuple(skipped)))


def _channels(network: Network, layer: Layer, group: str) -> int:
    return layer.output_shape[network.place(group, layer.name).axis]
