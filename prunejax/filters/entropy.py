"""Entropy of a filter's activations: how much its feature maps tell."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prunejax import names
from prunejax.filters import checks
from prunejax.filters.precision import at_least_single, to_unit_range

Over = Literal["activations", "images", "pooled"]
Limits = Literal["filter", "layer"]

BINS = {"activations": 256, "images": 256, "pooled": 10}
"""The usual number of bins of each kind of histogram."""


def entropy(
    maps: Float[Array, "images height width channels"],
    bins: int | None = None,
    *,
    over: Over = "activations",
    limits: Limits = "filter",
) -> Float[Array, " channels"]:
    """The entropy of each channel's activations, ``H = -sum_b p_b log p_b`` (Eq. 3).

    ``p_b`` is the fraction of values in bin b of a histogram with equal bins from the lowest to
    the highest value: ``b = floor((x - lowest) bins / (highest - lowest))``, the highest value
    belonging to the last bin (Yang et al. 2025, doi 10.23967/j.rimni.2025.10.73400). A constant
    channel has entropy 0.

    Args:
      maps: the outputs of a layer's filters.
      bins: how many bins: 256, or 10 for "pooled", unless told.
      over: "activations", one histogram over all places of all images; "images", the mean of the
        entropies of single images; "pooled", one histogram over the images of the map's mean
        (Luo and Wu 2017, arXiv 1706.05791).
      limits: whether the lowest and the highest value are each filter's own, over all images, or
        the layer's.

    Returns:
      Natural units (nats), float32, from 0 to log(bins).

    Raises:
      ValueError: ``maps`` has another rank, is not floating point or not finite; ``bins`` is not
        positive; an option is unknown.

    >>> maps = jnp.asarray([0.0, 1.0, 2.0, 3.0]).reshape(1, 2, 2, 1)
    >>> print(f"{entropy(maps, bins=4)[0]:.3f}")  # log 4
    1.386
    """
    checks.feature_maps(maps)
    names.choose("over", over, BINS)
    names.choose("limits", limits, get_args(Limits))
    bins = BINS[over] if bins is None else bins
    checks.positive("bins", bins)
    return _entropy(maps, bins, over, limits)


@partial(jax.jit, static_argnames=("bins", "over", "limits"))
def _entropy(maps: Array, bins: int, over: Over, limits: Limits) -> Array:
    axes = None if limits == "layer" else (0, 1, 2)
    # Entropies do not change, and no range is too small or too large to be divided by.
    maps = to_unit_range(at_least_single(maps), axes)
    images, _, _, channels = maps.shape
    if over == "pooled":
        maps = jnp.mean(maps, axis=(1, 2), keepdims=True)
    binned = _binned(maps, bins, axes)
    if over == "images":
        each = jax.lax.map(
            lambda image: _histogram_entropy(image, bins), binned.reshape(images, -1, channels)
        )
        return jnp.mean(each, axis=0)
    return _histogram_entropy(binned.reshape(-1, channels), bins)


def _binned(maps: Array, bins: int, axes: tuple[int, ...] | None) -> Array:
    """Each value's bin."""
    lowest = jnp.min(maps, axis=axes)
    width = jnp.max(maps, axis=axes) - lowest
    # Bins per unit, and no quotient: XLA would multiply by a reciprocal, which rounds elsewhere.
    position = (maps - lowest) * (bins / jnp.where(width > 0, width, 1))
    return jnp.clip(jnp.floor(position), 0, bins - 1).astype(jnp.int32)


def _histogram_entropy(binned: Array, bins: int) -> Array:
    """The entropy of each column of bin numbers."""
    values, channels = binned.shape
    # One flat histogram for all channels: XLA's scatter is several times faster on one axis.
    flat = binned + jnp.arange(channels, dtype=jnp.int32) * bins
    counts = jnp.zeros(channels * bins, jnp.int32).at[flat.reshape(-1)].add(1)
    fractions = counts.reshape(channels, bins).astype(jnp.float32) / jnp.float32(values)
    return jnp.sum(jax.scipy.special.entr(fractions), axis=1)
