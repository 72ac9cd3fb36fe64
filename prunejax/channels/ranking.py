"""Scores of channels by any criterion of ``filters``."""

import functools
from collections.abc import Callable

import jax
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.channels import collecting
from prunejax.channels.deciding import CONVOLUTIONS, GroupSource, deciding_layers
from prunejax.channels.scores import ChannelScores
from prunejax.filters import ChannelScore, FilterCriterion, as_filter_criterion
from prunejax.network import Network


def rank(
    network: Network,
    variables: PyTree,
    images: PyTree,
    *,
    criterion: str | FilterCriterion | ChannelScore,
    key: PRNGKeyArray | None = None,
    group_source: GroupSource = "shortcut",
    kinds: tuple[str, ...] = CONVOLUTIONS,
    select: str = "",
    on_group: Callable[[int, int], None] | None = None,
) -> ChannelScores[None]:
    """Scores the channels of a whole network by a criterion.

    Args:
      network: traced in evaluation mode; any batch size.
      variables: its variables.
      images: what feature maps are taken of; None for criteria that read weights only.
      criterion: a name in ``filters.FILTER_CRITERIA``, one of these functions, a
        ``functools.partial`` of one, or a function ``(features, *, key) -> scores`` of your own,
        which gets kernels and feature maps (a ``filters.FilterCriterion`` says what it needs).
      key: for criteria that draw.
      group_source: which of the layers that share channels decides, see ``deciding_layer``.
      kinds: the kinds of layer whose channels are scored: convolutions; "dense" if it is asked for.
      select: a regular expression; only groups with a match in their names are scored.
      on_group: told (done, of) after each group.

    Returns:
      The scores.

    Raises:
      ValueError: the criterion is unknown or cannot score a layer (which is named), or no group is
        made by a layer of these kinds.

    >>> from prunejax.network import trace
    >>> first = jnp.ones((4, 3)) * jnp.array([1.0, 3.0, 2.0])
    >>> variables = {"first": first, "last": jnp.ones((3, 2))}
    >>> def forward(variables, x):
    ...     return jax.nn.relu(x @ variables["first"]) @ variables["last"]
    >>> network = trace(forward, variables, jnp.ones((1, 4)))
    >>> scores = rank(network, variables, None, criterion="l1", kinds=("dense",))
    >>> scores.plan(2 / 3).keep["first"].tolist()
    [False, True, True]
    """
    scored_by = as_filter_criterion(criterion)
    title = criterion if isinstance(criterion, str) else _name(scored_by)
    if images is None and {"maps", "activations"}.intersection(scored_by.needs):
        raise ValueError(f"the criterion {title!r} needs images")
    chosen = deciding_layers(network, group_source=group_source, kinds=kinds, select=select)
    scores = {}
    for index, (group, layer, features) in enumerate(
        collecting.collect(network, variables, images, chosen, scored_by.needs, on_group=on_group)
    ):
        drawn = None if key is None else jax.random.fold_in(key, index)
        try:
            scores[group] = scored_by(features, key=drawn)
        except ValueError as error:
            raise ValueError(f"{title} cannot score the channels of {layer!r}: {error}") from error
    return ChannelScores(network, scores)


def _name(criterion: FilterCriterion) -> str:
    """What messages call a criterion that was given as a function."""
    function = criterion.score
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
