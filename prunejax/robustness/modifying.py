"""Weights are modified: shuffled among those of about their value, or moved by noise."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

NEAR = 1e-6
"""A last bin narrower than this share of a bin is what rounding leaves, and no bin."""


def shuffling(
    key: PRNGKeyArray, weights: Float[Array, " links"], strength: Float[Array, ""]
) -> Float[Array, " links"]:
    """Permutes the values within bins of width ``strength * (max w - min w)``.

    Weight shuffling (Sulyok et al. 2026, Section 2.2). The first bin begins at the smallest weight;
    the last one, which may be narrower, contains the largest. At strength 1 all links are one bin.

    Args:
      key: says which permutation.
      weights: the kept weights of one layer.
      strength: the width of a bin, as a fraction of the range of the weights, in [0, 1].

    Returns:
      The same values at other links; at strength 0 at their own.
    """
    bins = _bins(weights, strength)
    drawn = jax.random.bits(key, weights.shape, jnp.uint32)
    position = jax.lax.iota(jnp.int32, weights.size)
    # Both orders go through the bins one after another; they differ within bins alone.
    order = jax.lax.sort((weights, position), num_keys=1)[1]
    _, _, drawn_order = jax.lax.sort((bins, drawn, position), num_keys=2)
    shuffled = jnp.zeros_like(weights).at[order].set(weights[drawn_order], unique_indices=True)
    return jnp.where(strength > 0, shuffled, weights)


def _bins(weights: Array, strength: Array) -> Array:
    """The number of each weight's bin, as a float: there may be more than 32 bits count."""
    precise = _precise(weights)
    values = weights.astype(precise)
    low, high = jnp.min(values), jnp.max(values)
    span = jnp.where(high > low, high - low, 1)
    width = jnp.where(strength > 0, strength, 1).astype(precise)
    last = jnp.ceil(1 / width - NEAR / width) - 1
    return jnp.minimum(jnp.floor((values - low) / span / width), last)


def noise(
    key: PRNGKeyArray, weights: Float[Array, " links"], strength: Float[Array, ""]
) -> Float[Array, " links"]:
    """Adds noise: ``w + N(0, (strength * mean |w|)^2)``, the mean over the layer's kept weights.

    Weight modification (Sulyok et al. 2026, Section 2.2).

    Args:
      key: says which noise; the same one grows with the strength.
      weights: the kept weights of one layer.
      strength: the noise's standard deviation as a multiple of the mean magnitude, 0 or more.

    Returns:
      The moved weights; at strength 0 as they are.
    """
    precise = _precise(weights)
    values = weights.astype(precise)
    deviation = strength.astype(precise) * jnp.mean(jnp.abs(values))
    moved = values + deviation * jax.random.normal(key, weights.shape, precise)
    return jnp.where(strength > 0, moved.astype(weights.dtype), weights)


def _precise(weights: Array) -> Any:
    """float64 for weights in it, float32 for all others."""
    return jnp.float64 if weights.dtype == jnp.float64 else jnp.float32
