"""Scores of channels from scores of single weights."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax import names
from prunejax.channels.scores import ChannelScores
from prunejax.masks import name
from prunejax.network import Network


def sum_weights(
    network: Network, scores: PyTree, groups: Iterable[str] | None = None
) -> ChannelScores[None]:
    """Scores a channel by the summed scores of the weights that make it.

    With ``criteria.snip`` this is SNIP by neuron; other ``criteria.CRITERIA`` work as well.

    Args:
      network: the network.
      scores: parallel to its parameters, as a criterion returns them; ``None`` where a leaf has no
        scores.
      groups: the names of the groups to score; by default all that have scored weights.

    Returns:
      The scores. A group is left out if none of the weights that make it has a score.

    Raises:
      ValueError: the network has no group of such a name, or scores are NaN or infinite.
    """
    by_path = {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(scores)}
    summed_scores = {}
    for group in network.groups if groups is None else groups:
        names.choose("group of channels", group, network.groups)
        making = network.layers[network.groups[group].layers[0]]
        for member in network.groups[group].members:
            kernel = by_path.get(member.path, by_path.get(member.path.removeprefix("params/")))
            if kernel is not None and member.path in making.parameters:
                summed = np.asarray(jnp.moveaxis(kernel, member.axis, 0))
                summed = summed.reshape(len(summed), -1).sum(axis=1)
                summed_scores[group] = summed[member.indices].sum(axis=1)
    return ChannelScores(network, summed_scores)
