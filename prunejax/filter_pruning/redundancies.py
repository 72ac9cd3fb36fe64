"""The k-core method on a whole network: measure once, prune at any threshold."""

import dataclasses
import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax import filters
from prunejax.filter_pruning import collecting, targets
from prunejax.filter_pruning.rankings import Ranking
from prunejax.filter_pruning.sources import GroupSource
from prunejax.filters.entropy_kcore import Representative
from prunejax.filters.hashing import Hash
from prunejax.network import Network, Plan


class Measured(NamedTuple):
    """What the method needs to know of a group of channels.

    Attributes:
      layer: the layer whose feature maps were read.
      similarity: of each pair of its filters (Eq. 1).
      entropy: of each filter (Eq. 3), nats.
      l1: the sum of each filter's absolute weights.
    """

    layer: str
    similarity: Float[Array, "width width"]
    entropy: Float[Array, " width"]
    l1: Float[Array, " width"]


@dataclasses.dataclass(frozen=True, eq=False)
class Redundancies:
    """What `measure` found: a threshold is all that is missing for a plan.

    Attributes:
      network: the network.
      groups: what was measured, by the group's name.
      skipped: the layers whose maps carry no hash, or none but constants; they stay whole.
    """

    network: Network
    groups: dict[str, Measured]
    skipped: tuple[str, ...]

    def keep(
        self,
        tau: float,
        *,
        representative: Representative = "entropy",
        key: Any = None,
        delta: float = 0.0,
        inclusive: bool = False,
        min_channels: int = 1,
        quota: Mapping[str, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Selects the channels of every group (Yang et al. 2025, Algorithm 2).

        Args:
          tau: the threshold on similarity, in [0, 1]: the lower, the fewer channels stay.
          representative: which filter of a redundant set stays: that of highest "entropy" (the
            paper), of largest "l1" norm, or a "random" one.
          key: for "random" only.
          delta: later layers get a higher threshold, ``min(1, tau + delta i / (L - 1))`` for the
            i-th of L groups (Section 3.5.3).
          inclusive: whether a similarity of exactly tau makes filters redundant too.
          min_channels: how many channels of a group stay at least.
          quota: regular expression on group names -> the fraction of such a group's channels that
            stays at least, for a DenseNet's transitions (Section 3.5.3).

        Returns:
          For each group that was measured a bool array, [width].

        Raises:
          ValueError: an argument is out of its range, "random" has no key, or a pattern of the
            quota matches no group.
        """
        least = self._least(min_channels, quota or {})
        thresholds = self.thresholds(tau, delta=delta)
        kept = {
            group: filters.select(
                measured.similarity,
                _worth(measured, representative, key, index),
                thresholds[group],
                inclusive=inclusive,
                min_channels=least[group],
            )
            for index, (group, measured) in enumerate(self.groups.items())
        }
        return {group: np.asarray(stays) for group, stays in kept.items()}

    def thresholds(self, tau: float, *, delta: float = 0.0) -> dict[str, float]:
        """The threshold of each group, ``min(1, tau + delta i / (L - 1))`` for the i-th of L.

        Args:
          tau: that of the first group, in [0, 1].
          delta: by how much it rises to the last.

        Returns:
          Group name -> threshold.

        Raises:
          ValueError: an argument is out of its range.
        """
        if not delta >= 0:
            raise ValueError(f"delta must not be negative, got {delta}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau}")
        last = max(len(self.groups) - 1, 1)
        return {
            group: min(1.0, tau + delta * index / last) for index, group in enumerate(self.groups)
        }

    def rank(
        self,
        tau: float,
        *,
        representative: Representative = "entropy",
        key: Any = None,
        delta: float = 0.0,
    ) -> Ranking:
        """All channels in an order that begins with those that `keep` selects.

        With it any number of channels can be kept: redundant ones come back, or selected ones go,
        by their worth as representatives.

        Args:
          tau: as in ``keep``.
          representative: as in ``keep``.
          key: as in ``keep``.
          delta: as in ``keep``.

        Returns:
          Scores of 1 and more for the channels selected, below 1 for the others.

        Raises:
          ValueError: as ``keep``.
        """
        kept = self.keep(tau, representative=representative, key=key, delta=delta)
        scores = {}
        for index, (group, measured) in enumerate(self.groups.items()):
            order = np.argsort(
                -np.asarray(_worth(measured, representative, key, index)), stable=True
            )
            place = np.empty(len(order), np.float32)
            place[order] = np.arange(len(order), 0, -1) - 1
            scores[group] = jnp.asarray(kept[group] + place / len(order), jnp.float32)
        return Ranking(self.network, scores)

    def plan(self, tau: float, *, round_to: int | None = None, **options: Any) -> Plan:
        """The plan that keeps what `keep` selects.

        Args:
          tau: the threshold.
          round_to: as in ``Network.plan``.
          **options: as in ``keep``.

        Returns:
          The plan; groups that were not measured stay whole.

        Raises:
          ValueError: as ``keep``.
        """
        return self.network.plan(self.keep(tau, **options), round_to=round_to)

    def tau_for(
        self,
        target_flops_reduction: float,
        *,
        reduction: targets.Reduction = targets.flops_reduction,
        **options: Any,
    ) -> float:
        """The threshold whose plan comes closest to a reduction, by bisection.

        Nothing is recorded or traced again. The reduction is a step function of tau and, like
        Algorithm 2 itself, not strictly monotone: among the thresholds tried the closest counts.

        Args:
          target_flops_reduction: the fraction of multiply-adds to remove, in (0, 1).
          reduction: what to measure instead, a function of a plan, ``parameter_reduction`` say.
          **options: as in ``plan``.

        Returns:
          tau.

        Raises:
          ValueError: even at tau = 0 less is removed, or as ``keep``.
        """
        reached = targets.reach(
            lambda removal: self.plan(1 - removal, **options), target_flops_reduction, reduction
        )
        return 1 - reached.removal

    def _least(self, min_channels: int, quota: Mapping[str, float]) -> dict[str, int]:
        least = dict.fromkeys(self.groups, min_channels)
        for pattern, fraction in quota.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"no regular expression: {pattern!r} ({error})") from error
            matching = [group for group in self.groups if re.search(pattern, group)]
            if not matching:
                raise ValueError(
                    f"the quota {pattern!r} matches no group; there are {', '.join(self.groups)}"
                )
            if not 0 <= fraction <= 1:
                raise ValueError(f"the quota of {pattern!r} must be in [0, 1], got {fraction}")
            for group in matching:
                width = len(self.groups[group].entropy)
                least[group] = max(least[group], math.ceil(fraction * width))
        return least


def measure(
    network: Network,
    variables: PyTree,
    images: PyTree,
    *,
    group_source: GroupSource = "shortcut",
    select: str = "",
    hash: Hash = "dct",
    on_group: Callable[[int, int], None] | None = None,
) -> Redundancies:
    """Measures similarity and entropy of the filters of a whole network, once for all thresholds.

    Args:
      network: traced in evaluation mode; any batch size.
      variables: its variables.
      images: what its feature maps are taken of, the first axis counting; the paper takes 100
        training images.
      group_source: which layer stands for channels that several layers share, see ``source``.
      select: a regular expression; only groups in whose names it is found.
      hash: as in ``filters.perceptual_hash``.
      on_group: told (done, of) after each group.

    Returns:
      What was measured. Layers with maps of 1 x 1, or with none but constant ones, are skipped,
      with a warning that names them; filters that put out a constant are warned of.

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
    chosen = collecting.sources(network, group_source=group_source, select=select)
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
    return Redundancies(network, groups, tuple(skipped))


def _channels(network: Network, layer: Any, group: str) -> int:
    return layer.output_shape[network.place(group, layer.name).axis]


def _worth(measured: Measured, representative: Representative, key: Any, index: int) -> Array:
    if representative == "entropy":
        return measured.entropy
    if representative == "l1":
        return measured.l1
    if representative != "random":
        raise ValueError(
            f"representative must be 'entropy', 'l1' or 'random', got {representative!r}"
        )
    if key is None:
        raise ValueError("the representative 'random' needs a key (jax.random.key(seed))")
    return jax.random.uniform(jax.random.fold_in(key, index), measured.entropy.shape, jnp.float32)
