"""Removal of the smallest positive and the largest negative weights."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prunejax import ranks
from prunejax.rewiring.magnitude import magnitude


def by_sign(
    key: PRNGKeyArray,
    weights: Float[Array, " weights"],
    alive: Bool[Array, " weights"],
    count: Int[Array, ""],
) -> Bool[Array, " weights"]:
    """Removes the same share of the positive and of the negative weights, those nearest to 0.

    The negative ones' part of ``count`` is rounded, so that the sum is exact. A weight of 0 counts
    as positive. Source: Mocanu et al., "Scalable training of artificial neural networks with
    adaptive sparse connectivity", 2018 (SET).

    Args:
      key: draws among equal magnitudes.
      weights: of one layer.
      alive: which of them are links.
      count: how many links are removed, at most as many as there are.

    Returns:
      Which links stay.
    """
    negative, positive = alive & (weights < 0), alive & ~(weights < 0)
    negatives, links = ranks.tally(negative), ranks.tally(alive)
    count = jnp.asarray(count, jnp.int32)
    part = negatives.astype(jnp.float32) / jnp.maximum(links, 1).astype(jnp.float32)
    share = jnp.round(count.astype(jnp.float32) * part).astype(jnp.int32)
    fewest = jnp.maximum(0, count - (links - negatives))
    of_negative = jnp.clip(share, fewest, jnp.minimum(count, negatives))
    keys = jax.random.split(key)
    return magnitude(keys[0], weights, negative, of_negative) | magnitude(
        keys[1], weights, positive, count - of_negative
    )
