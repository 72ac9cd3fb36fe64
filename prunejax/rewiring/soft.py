"""Removal by lot, small weights first."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prunejax import ranks


def soft(
    key: PRNGKeyArray,
    weights: Float[Array, " weights"],
    alive: Bool[Array, " weights"],
    count: Int[Array, ""],
    *,
    exponent: float = 1.0,
) -> Bool[Array, " weights"]:
    """Draws the links that stay, one after another, with chances in proportion to |w|^exponent.

    Sampling without replacement by the Gumbel trick: the highest of ``exponent log|w| + Gumbel``
    stay. Weights of 0 go first, by lot. Source: the soft removal of Zhang et al., "Brain network
    science modelling of sparse neural networks", 2025 (CHTs).

    Args:
      key: draws.
      weights: of one layer.
      alive: which of them are links.
      count: how many links are removed, at most as many as there are.
      exponent: 0 removes uniformly at random, large numbers by magnitude.

    Returns:
      Which links stay.
    """
    of_noise, of_ties = jax.random.split(key)
    noise = jax.random.gumbel(of_noise, weights.shape, weights.dtype)
    scores = jnp.where(weights == 0, -jnp.inf, exponent * jnp.log(jnp.abs(weights)) + noise)
    rank = ranks.rank(scores, alive, weights.dtype == jnp.float64)
    return ranks.highest(rank, ranks.tally(alive) - count, of_ties)
