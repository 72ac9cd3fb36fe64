"""Entropy-guided k-core pruning of one layer, and what it is without one of its two halves."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from prunejax import names
from prunejax.filters.entropy import entropy
from prunejax.filters.features import ChannelFeatures, read
from prunejax.filters.hashing import Hash
from prunejax.filters.norms import l1
from prunejax.filters.selection import select
from prunejax.filters.similarity import similarity

Representative = Literal["entropy", "random", "l1"]

TAU = 0.7
"""The threshold of the criteria unless told: the middle of the paper's range, 0.6 to 0.8."""

NAMES = {"entropy": "entropy_kcore", "random": "kcore_random", "l1": "kcore_l1"}
"""What represents a group -> the criterion's name."""


def keep(
    features: ChannelFeatures,
    tau: float | Float[Array, ""],
    *,
    representative: Representative = "entropy",
    key: PRNGKeyArray | None = None,
    hash: Hash = "dct",
    inclusive: bool = False,
    min_channels: int = 1,
) -> Bool[Array, " channels"]:
    """Chooses a layer's filters from its feature maps by a threshold: the whole method.

    ``select(similarity(maps), worth, tau)`` (Yang et al. 2025, Algorithms 1 and 2). For a sweep
    over tau compute the similarity and the worth once and call ``select`` on them.

    Args:
      features: of which ``maps`` is read, and ``kernel`` for "l1".
      tau: the threshold on similarity, in [0, 1]: the lower, the fewer filters stay.
      representative: which filter of a redundant group stays: that of highest "entropy" (the
        paper), of largest "l1" norm, or a "random" one.
      key: for "random" only.
      hash: as in ``perceptual_hash``.
      inclusive: whether a similarity of exactly tau makes two filters redundant too.
      min_channels: how many filters to keep at least.

    Returns:
      True for each filter to keep.

    Raises:
      ValueError: a member is missing, malformed or of another number of channels, the maps carry
        no hash (1 x 1, or all constant), "random" without a key, or an argument out of range.
    """
    names.choose("representative", representative, NAMES)
    maps, worth = _maps_and_worth(features, representative, key)
    return select(
        similarity(maps, hash=hash), worth, tau, inclusive=inclusive, min_channels=min_channels
    )


def entropy_kcore(
    features: ChannelFeatures,
    *,
    key: PRNGKeyArray | None = None,
    tau: float | Float[Array, ""] = TAU,
) -> Float[Array, " channels"]:
    """Scores filters by ``keep`` at a threshold, then by entropy: the paper's method.

    Filters that ``keep`` keeps score 1 and more, the redundant ones less than 1; within either
    kind they are in the order of entropy, in steps of 1 / channels, ties broken in favour of the
    lower index. So ``scores >= 1`` is the paper's selection, and any other number of filters can
    be kept by their scores: redundant ones go first.

    Args:
      features: of which ``maps`` is read.
      key: not used.
      tau: the threshold on similarity, in [0, 1].

    Returns:
      One score for each channel, float32 in [0, 2), all different.

    Raises:
      ValueError: as ``keep``.
    """
    return _scores(features, "entropy", key, tau)


def kcore_random(
    features: ChannelFeatures, *, key: PRNGKeyArray | None, tau: float | Float[Array, ""] = TAU
) -> Float[Array, " channels"]:
    """Scores as ``entropy_kcore`` does, with a random order in the place of entropy.

    Args:
      features: of which ``maps`` is read.
      key: a key of ``jax.random``.
      tau: the threshold on similarity, in [0, 1].

    Returns:
      One score for each channel, float32 in [0, 2), all different.

    Raises:
      ValueError: as ``keep``.
    """
    return _scores(features, "random", key, tau)


def kcore_l1(
    features: ChannelFeatures,
    *,
    key: PRNGKeyArray | None = None,
    tau: float | Float[Array, ""] = TAU,
) -> Float[Array, " channels"]:
    """Scores as ``entropy_kcore`` does, with the L1 norm in the place of entropy.

    Args:
      features: of which ``maps`` and ``kernel`` are read.
      key: not used.
      tau: the threshold on similarity, in [0, 1].

    Returns:
      One score for each channel, float32 in [0, 2), all different.

    Raises:
      ValueError: as ``keep``.
    """
    return _scores(features, "l1", key, tau)


def entropy_alone(
    features: ChannelFeatures, *, key: PRNGKeyArray | None = None
) -> Float[Array, " channels"]:
    """Scores a filter by the entropy of its feature maps, in nats: no redundancy graph.

    Args:
      features: of which ``maps`` is read.
      key: not used.

    Returns:
      One score for each channel, float32; higher means keep.

    Raises:
      ValueError: the maps are missing or malformed.
    """
    del key
    return entropy(read(features, "maps", criterion="entropy"))


def _scores(
    features: ChannelFeatures,
    representative: Representative,
    key: PRNGKeyArray | None,
    tau: float | Float[Array, ""],
) -> Array:
    maps, worth = _maps_and_worth(features, representative, key)
    return _ranked(select(similarity(maps), worth, tau), worth)


@jax.jit
def _ranked(kept: Bool[Array, " channels"], worth: Float[Array, " channels"]) -> Array:
    channels = len(worth)
    falling = jnp.arange(channels - 1, -1, -1, dtype=jnp.float32) / channels
    order = jnp.argsort(-worth, stable=True)
    return kept.astype(jnp.float32) + jnp.zeros(channels, jnp.float32).at[order].set(falling)


def _maps_and_worth(
    features: ChannelFeatures, representative: Representative, key: PRNGKeyArray | None
) -> tuple[Array, Array]:
    """The maps, and the worth of each filter as its group's representative."""
    criterion = NAMES[representative]
    maps = read(features, "maps", criterion=criterion)
    if representative == "entropy":
        return maps, entropy(maps)
    if representative == "random":
        if key is None:
            raise ValueError(f"the criterion {criterion!r} needs a key (jax.random.key(seed))")
        return maps, jax.random.uniform(key, maps.shape[-1:])
    read(features, "kernel", criterion=criterion)
    worth = l1(features)
    if worth.shape != maps.shape[-1:]:
        raise ValueError(f"the kernel has {len(worth)} channels, the maps {maps.shape[-1]}")
    return maps, worth
