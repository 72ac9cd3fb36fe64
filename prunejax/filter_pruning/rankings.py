"""Scores of channels by any criterion, and plans that keep the best."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax.filter_pruning import collecting, targets
from prunejax.filter_pruning.sources import GroupSource
from prunejax.filters import FILTER_CRITERIA, NEEDS
from prunejax.network import Network, Plan


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """Channels in the order of their scores.

    Attributes:
      network: the network.
      scores: for each group one score a channel, higher meaning keep.
    """

    network: Network
    scores: dict[str, Float[Array, " width"] | Float[np.ndarray, " width"]]

    def __post_init__(self) -> None:
        """Refuses scores that rank nothing.

        Raises:
          ValueError: a group that the network does not have, another number of channels, NaN
            or infinity (a sum that overflowed says nothing of the order).
        """
        for group, scores in self.scores.items():
            if group not in self.network.groups:
                raise ValueError(
                    f"the network has no group {group!r}; it has {', '.join(self.network.groups)}"
                )
            width = self.network.groups[group].width
            values = np.asarray(scores)
            if values.shape != (width,):
                raise ValueError(
                    f"{group!r} needs one score per channel, {width} of them, got shape "
                    f"{list(values.shape)}"
                )
            if unknown := int((~np.isfinite(values.astype(np.float64))).sum()):
                raise ValueError(
                    f"{unknown} of {width} scores of the channels of {group!r} are NaN or "
                    "infinite: scores must be finite"
                )

    def keep(
        self, fraction: float | Mapping[str, int], *, min_channels: int = 1
    ) -> dict[str, np.ndarray]:
        """Keeps the best channels of every group; of equal scores the first.

        Args:
          fraction: the fraction of every group's channels that stays, in [0, 1], or how many of
            each group by name.
          min_channels: how many channels of a group stay at least.

        Returns:
          For each group that was scored a bool array, [width].

        Raises:
          ValueError: the fraction is outside [0, 1], a number is below 1 or above the width, or a
            group has none.
        """
        if min_channels < 1:
            raise ValueError(f"min_channels must be at least 1, got {min_channels}")
        kept = {}
        for group, scores in self.scores.items():
            count = max(self._count(fraction, group, len(scores)), min_channels)
            order = np.argsort(-np.asarray(scores), stable=True)
            kept[group] = np.zeros(len(scores), bool)
            kept[group][order[:count]] = True
        return kept

    def plan(
        self,
        fraction: float | Mapping[str, int],
        *,
        round_to: int | None = None,
        min_channels: int = 1,
    ) -> Plan:
        """The plan that keeps what `keep` selects.

        Args:
          fraction: as in ``keep``.
          round_to: as in ``Network.plan``.
          min_channels: as in ``keep``.

        Returns:
          The plan; groups that were not scored stay whole.

        Raises:
          ValueError: as ``keep``.
        """
        return self.network.plan(self.keep(fraction, min_channels=min_channels), round_to=round_to)

    def plan_for(
        self,
        target: float,
        *,
        reduction: targets.Reduction = targets.flops_reduction,
        **options: Any,
    ) -> Plan:
        """The plan that comes closest to a reduction: one fraction for all groups, by bisection.

        Args:
          target: the fraction to remove, in (0, 1).
          reduction: of what: multiply-adds unless told.
          **options: as in ``plan``.

        Returns:
          The plan.

        Raises:
          ValueError: so much cannot be removed.
        """
        return targets.reach(
            lambda removal: self.plan(1 - removal, **options), target, reduction
        ).plan

    def _count(self, fraction: float | Mapping[str, int], group: str, width: int) -> int:
        if not isinstance(fraction, Mapping):
            if not 0 <= fraction <= 1:
                raise ValueError(f"the fraction to keep must be in [0, 1], got {fraction}")
            return round(fraction * width)
        if group not in fraction:
            raise ValueError(f"it is not said how many channels of {group!r} stay")
        if not 1 <= fraction[group] <= width:
            raise ValueError(
                f"of {group!r} between 1 and {width} channels can stay, got {fraction[group]}"
            )
        return fraction[group]


def rank(
    network: Network,
    variables: PyTree,
    images: PyTree,
    *,
    criterion: str,
    key: Any = None,
    group_source: GroupSource = "shortcut",
    kinds: tuple[str, ...] = collecting.CONVOLUTIONS,
    select: str = "",
    on_group: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Scores the channels of a whole network by a criterion.

    Args:
      network: traced in evaluation mode; any batch size.
      variables: its variables.
      images: what feature maps are taken of; None will do for criteria that read weights only.
      criterion: a name in ``filters.FILTER_CRITERIA``.
      key: for criteria that draw.
      group_source: which layer stands for channels that several layers share, see ``source``.
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
    chosen = collecting.sources(network, group_source=group_source, kinds=kinds, select=select)
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
    return Ranking(network, scores)
