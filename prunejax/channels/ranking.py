"""Scores of channels by any criterion of ``filters``."""

from collections.abc import Callable

import jax
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.channels import collecting
from prunejax.channels.deciding import GroupSource
from prunejax.channels.scores import ChannelScores
from prunejax.filters import FILTER_CRITERIA, NEEDS
from prunejax.network import Network


def rank(
    network: Network,
    variables: PyTree,
    images: PyTree,
    *,
    criterion: str,
    key: PRNGKeyArray | None = None,
    group_source: GroupSource = "shortcut",
    kinds: tuple[str, ...] = collecting.CONVOLUTIONS,
    select: str = "",
    on_group: Callable[[int, int], None] | None = None,
) -> ChannelScores[None]:
    """Scores the channels of a whole network by a criterion.

    Args:
      network: traced in evaluation mode; any batch size.
      variables: its variables.
      images: what feature maps are taken of; None will do for criteria that read weights only.
      criterion: a name in ``filters.FILTER_CRITERIA``.
      key: for criteria that draw.
      group_source: which layer stands for channels that several layers share, see
        ``deciding_layer``.
      kinds: the kinds of layer whose channels are scored: convolutions; "dense" if it is asked for.
      select: a regular expression; only groups in whose names it is found.
      on_group: told (done, of) after each group.

    Returns:
      The scores.

    Raises:
      ValueError: the criterion is unknown or cannot score a layer (which is named), or no group is
        made by a layer of these kinds.
    """
    if criterion not in FILTER_CRITERIA:
        raise ValueError(
            f"no criterion {criterion!r} for channels; there are {', '.join(FILTER_CRITERIA)}"
        )
    if images is None and {"maps", "activations"}.intersection(NEEDS[criterion]):
        raise ValueError(f"the criterion {criterion!r} needs images")
    chosen = collecting.deciding_layers(
        network, group_source=group_source, kinds=kinds, select=select
    )
    scores = {}
    for index, (group, layer, features) in enumerate(
        collecting.collect(network, variables, images, chosen, NEEDS[criterion], on_group=on_group)
    ):
        drawn = None if key is None else jax.random.fold_in(key, index)
        try:
            scores[group] = FILTER_CRITERIA[criterion](features, key=drawn)
        except ValueError as error:
            raise ValueError(
                f"{criterion} cannot score the channels of {layer!r}: {error}"
            ) from error
    return ChannelScores(network, scores)
