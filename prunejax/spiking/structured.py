"""Whole channels: pushed to 0 while training, kept by scale, regrown by criticality."""

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from prunejax import channels
from prunejax.channels import ChannelScores
from prunejax.channels.collecting import neurons_after
from prunejax.masks import name
from prunejax.network import KERNELS, Network


def scales(network: Network, variables: PyTree) -> ChannelScores[None]:
    """|gamma| of the normalisation behind each channel, of convolutions and dense layers.

    Args:
      network: the network.
      variables: its variables.

    Returns:
      Scores of channels.

    Raises:
      ValueError: no normalisation with a scale stands behind a layer; it is named.
    """
    return channels.rank(network, variables, None, criterion="bn_scale", kinds=KERNELS)


def scale_paths(network: Network, params: PyTree) -> tuple[str, ...]:
    """The paths of the scales of normalisations, for ``l1_of_scales``.

    Args:
      network: the network.
      params: the parameters.

    Returns:
      Their paths in ``params``.
    """
    owners = {
        path
        for layer in network.layers.values()
        if layer.kind == "norm"
        for path in layer.parameters
        if path.split("/")[-1] in ("scale", "weight", "gamma")
    }
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return tuple(name(path) for path, _ in leaves if network.endings.get(name(path)) in owners)


def l1_of_scales(paths: Collection[str], strength: float = 1e-4) -> optax.GradientTransformation:
    """Adds the gradient of ``strength * |gamma|`` for the scales: chain it before an optimiser.

    Source: network slimming, Liu et al. 2017, Eq. 1.

    Args:
      paths: of the scales, from ``scale_paths``.
      strength: not negative.

    Returns:
      The transformation.

    Raises:
      ValueError: no path is given, or the strength is negative.
    """
    wanted = frozenset(paths)
    if not wanted:
        raise ValueError("there is no scale of a normalisation to push to 0")
    if not strength >= 0:
        raise ValueError(f"strength must not be negative, got {strength}")

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError(
                "l1_of_scales needs the parameters: tx.update(gradients, state, params)"
            )

        def added(path: jax.tree_util.KeyPath, gradient: Any, weight: Any) -> Any:
            if name(path) not in wanted:
                return gradient
            return gradient + jnp.asarray(strength, gradient.dtype) * jnp.sign(weight)

        return jax.tree_util.tree_map_with_path(added, updates, params), state

    def init(params: Any) -> Any:
        del params
        return optax.EmptyState()

    return optax.GradientTransformation(init, update)


def of_channels(network: Network, scores: Mapping[str, Array]) -> ChannelScores[None]:
    """Scores of neurons as scores of the groups of channels that drive them.

    Args:
      network: the network.
      scores: one per channel, by layer of neurons: from ``criticality``.

    Returns:
      Scores of the groups whose deciding layer drives neurons.

    Raises:
      ValueError: no group does.
    """
    found = {}
    for group, layer in channels.deciding_layers(network, kinds=KERNELS).items():
        driven = neurons_after(network, layer.name)
        if driven is not None and driven.name in scores:
            place = network.place(group, driven.name)
            found[group] = jnp.asarray(scores[driven.name])[place.every].mean(axis=1)
    if not found:
        raise ValueError("no group of channels that can be removed drives neurons with a score")
    return ChannelScores(network, found)


def keep_and_regrow(
    kept_by: ChannelScores[Any],
    grown_by: ChannelScores[Any],
    fraction: float,
    *,
    share: float = 0.2,
) -> dict[str, np.ndarray]:
    """Chooses channels: most by one score, the last ones by another.

    Of N channels that both have scores for, ``floor(fraction * N)`` stay. All but
    ``floor(share * that)`` are the best by ``kept_by``, all groups together; the others are the
    best of the rest by ``grown_by``. Each group keeps its best channel. Source: Chen et al. 2025.

    Args:
      kept_by: |gamma|, from ``scales``.
      grown_by: criticality, from ``of_channels``.
      fraction: how much stays, in (0, 1].
      share: r, in [0, 1].

    Returns:
      For each group a bool array, [width], for ``network.plan``.

    Raises:
      ValueError: a fraction or a share out of range, no group that both score, or fewer channels
        than groups would stay.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction that stays must be in (0, 1], got {fraction}")
    if not 0 <= share <= 1:
        raise ValueError(f"the share that grows must be in [0, 1], got {share}")
    groups = [group for group in kept_by.scores if group in grown_by.scores]
    if not groups:
        raise ValueError("no group of channels has both scores")
    widths = [kept_by.network.groups[group].width for group in groups]
    count = int(fraction * sum(widths) + 1e-9)
    if count < len(groups):
        raise ValueError(
            f"{count} channels would stay of {len(groups)} groups, each of which keeps one: raise "
            "the fraction"
        )
    first = np.concatenate([np.asarray(kept_by.scores[group], float) for group in groups])
    second = np.concatenate([np.asarray(grown_by.scores[group], float) for group in groups])
    starts = np.cumsum([0, *widths])
    best = [start + int(np.argmax(first[start:end])) for start, end in itertools.pairwise(starts)]
    grows = min(int(share * count + 1e-9), count - len(groups))
    stays = np.zeros(len(first), bool)
    stays[best] = True
    for index in np.argsort(-first, kind="stable"):
        if stays.sum() >= count - grows:
            break
        stays[index] = True
    rest = np.flatnonzero(~stays)
    stays[rest[np.argsort(-second[rest], kind="stable")][:grows]] = True
    return dict(zip(groups, np.split(stays, starts[1:-1]), strict=True))
