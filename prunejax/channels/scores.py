"""Scores of the channels of a network, and the plans that they give."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax import names
from prunejax.channels import targets
from prunejax.channels.selection import keep_above, keep_best
from prunejax.network import Network, Plan

Evidence = TypeVar("Evidence")


class Rule(NamedTuple):
    """How scores become a choice of channels.

    Attributes:
      keep: ``(scores, level, **options) -> {group: bool array}``. The level is what the method asks
        for: a fraction, or a threshold on similarities or on scores.
      level: ``(scores, removal) -> level``: 0 stands for the least that the rule removes, 1 for the
        most. ``ChannelScores.level_for`` searches between them.
    """

    keep: Callable[..., dict[str, np.ndarray]]
    level: Callable[[Mapping[str, Any], float], float]


def _fraction(scores: Mapping[str, Any], removal: float) -> float:
    """The fraction that stays, or a threshold on similarities: what is not removed."""
    del scores
    return 1 - removal


BEST = Rule(keep_best, _fraction)
"""The best of each group stay; the level is the fraction that stays."""


def _threshold(scores: Mapping[str, Any], removal: float) -> float:
    """A threshold: this fraction of the way from 0 to just above the highest score."""
    highest = max(float(np.max(worth)) for worth in scores.values())
    return removal * float(np.nextafter(highest, np.inf))


ABOVE = Rule(keep_above, _threshold)
"""Channels whose score is not below the level stay."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelScores(Generic[Evidence]):
    """One score for each channel of some groups of a network; higher means keep.

    Attributes:
      network: the network.
      scores: for each group one float per channel; groups without scores stay whole.
      rule: how a level becomes a choice: ``rank`` keeps the best of each group, ``measure`` one
        channel of each redundant set, ``critical_neurons`` those above a threshold.
      evidence: what the scores rest on: ``Redundancies`` from ``measure``, a solver's ``Solution``
        from ``critical_neurons``, None for a criterion.

    >>> from prunejax.network import trace
    >>> variables = {"first": jnp.ones((2, 4)), "last": jnp.ones((4, 2))}
    >>> def forward(variables, x):
    ...     return jax.nn.relu(x @ variables["first"]) @ variables["last"]
    >>> network = trace(forward, variables, jnp.ones((1, 2)))
    >>> scores = ChannelScores(network, {"first": np.array([0.1, 0.9, 0.5, 0.2])})
    >>> scores.keep(0.5)["first"].tolist()
    [False, True, True, False]
    >>> {path: leaf.shape for path, leaf in scores.plan(0.5).slice(variables).items()}
    {'first': (2, 2), 'last': (2, 2)}
    """

    network: Network
    scores: Mapping[str, Float[Array, " width"] | Float[np.ndarray, " width"]] = dataclasses.field(
        repr=False
    )
    rule: Rule = BEST
    evidence: Evidence = dataclasses.field(  # pyright: ignore[reportAssignmentType]
        default=None, repr=False
    )

    def __post_init__(self) -> None:
        """Refuses scores that rank nothing.

        Raises:
          ValueError: a group that the network does not have, another number of channels, NaN
            or infinity (a sum that overflowed says nothing of the order).
        """
        for group, scores in self.scores.items():
            names.choose("group of channels", group, self.network.groups)
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

    def keep(self, *level: Any, **options: Any) -> dict[str, np.ndarray]:
        """Chooses the channels that stay, by the rule of whoever made the scores.

        Args:
          *level: the one number that the rule takes, also by its name:

            - of ``rank`` and ``sum_weights``: ``fraction``, how much of each group stays, in
              [0, 1], or how many channels by the group's name (``keep_best``);
            - of ``measure``: ``tau``, the threshold on similarity, in [0, 1]: the lower, the fewer
              channels stay (``keep_representatives``);
            - of ``critical_neurons``: ``threshold``, a number or "mean": channels whose score is
              below it go (``keep_above``).
          **options: every rule takes ``min_channels``, how many channels of a group stay at least;
            that of ``measure`` also ``representative``, ``key``, ``delta``, ``inclusive`` and
            ``quota``.

        Returns:
          For each group that was scored a bool array, [width].

        Raises:
          ValueError: the level or an option is out of its range; see the rule's function.
        """
        return self.rule.keep(self.scores, *level, **options)

    def plan(self, *level: Any, round_to: int | None = None, **options: Any) -> Plan:
        """The plan that keeps what ``keep`` chooses.

        Args:
          *level: as in ``keep``.
          round_to: as in ``Network.plan``.
          **options: as in ``keep``.

        Returns:
          The plan; groups that were not scored stay whole.

        Raises:
          ValueError: as ``keep``.
        """
        return self.network.plan(self.keep(*level, **options), round_to=round_to)

    def masks(self, params: PyTree, *level: Any, **options: Any) -> PyTree:
        """Masks of parameters, a channel's bias among them; see ``keep`` and ``Plan.masks``."""
        return self.plan(*level, **options).masks(params)

    def plan_for(
        self,
        target: float,
        *,
        reduction: targets.Reduction = targets.flops_reduction,
        **options: Any,
    ) -> Plan:
        """The plan that comes closest to a reduction: one level for all groups, by bisection.

        Nothing is recorded or traced again. The reduction is a step function of the level and, for
        ``measure``, not strictly monotone: the closest of the plans tried counts.

        Args:
          target: the fraction to remove, in (0, 1).
          reduction: what to reduce: by default multiply-adds; ``parameter_reduction``: parameters.
          **options: as in ``plan``.

        Returns:
          The plan.

        Raises:
          ValueError: so much cannot be removed, or as ``keep``.
        """
        return self._reach(target, reduction, options).plan

    def level_for(
        self,
        target: float,
        *,
        reduction: targets.Reduction = targets.flops_reduction,
        **options: Any,
    ) -> float:
        """The level whose plan ``plan_for`` gives: for ``measure`` the threshold tau.

        Args:
          target: as in ``plan_for``.
          reduction: as in ``plan_for``.
          **options: as in ``plan``.

        Returns:
          The level.

        Raises:
          ValueError: as ``plan_for``.
        """
        return self.rule.level(self.scores, self._reach(target, reduction, options).removal)

    def _reach(
        self, target: float, reduction: targets.Reduction, options: Mapping[str, Any]
    ) -> targets.Reached:
        return targets.reach(
            lambda removal: self.plan(self.rule.level(self.scores, removal), **options),
            target,
            reduction,
        )
