"""Removal of the smallest weights."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prunejax import ranks


def magnitude(
    key: PRNGKeyArray,
    weights: Float[Array, " weights"],
    alive: Bool[Array, " weights"],
    count: Int[Array, ""],
) -> Bool[Array, " weights"]:
    """Removes the weights of smallest magnitude; equal ones by lot.

    Source: Section 4.3 of Sulyok et al. 2026; Evci et al., "Rigging the lottery", 2020.

    Args:
      key: draws among equal magnitudes.
      weights: of one layer.
      alive: which of them are links.
      count: how many links are removed, at most as many as there are.

    Returns:
      Which links stay.
    """
    rank = ranks.rank(jnp.abs(weights), alive, weights.dtype == jnp.float64)
    return ranks.highest(rank, ranks.tally(alive) - count, key)
