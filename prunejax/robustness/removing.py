"""Links are removed: at random, the strongest first, or the weakest first."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prunejax import ranks

NEAR = 2.0**-22
"""A product this close to a half, relatively, is a half: 0.15 * 10 is 1.5, also in float32."""


def random(
    key: PRNGKeyArray, weights: Float[Array, " links"], strength: Float[Array, ""]
) -> Float[Array, " links"]:
    """Removes ``count_removed`` links, each as likely as any other.

    Random pruning (Sulyok et al. 2026, Section 2.2). What a key removes at one strength it removes
    at each greater one.

    Args:
      key: says which links go.
      weights: the kept weights of one layer.
      strength: the fraction to remove, in [0, 1].

    Returns:
      The weights, 0 where a link is removed.
    """
    drawn = jax.random.bits(key, weights.shape, jnp.uint32)
    return _without(weights, drawn, strength)


def weight_order(
    key: PRNGKeyArray, weights: Float[Array, " links"], strength: Float[Array, ""]
) -> Float[Array, " links"]:
    """Removes the ``count_removed`` links of largest ``|w|``.

    Weight order pruning (Sulyok et al. 2026, Section 2.2). Equal weights go in the order of a fixed
    hash of their positions.

    Args:
      key: not used.
      weights: the kept weights of one layer.
      strength: the fraction to remove, in [0, 1].

    Returns:
      The weights, 0 where a link is removed.
    """
    del key
    magnitudes = jnp.abs(weights)
    return _without(weights, ranks.rank(magnitudes, None, magnitudes.dtype.itemsize > 4), strength)


def reverse_weight_order(
    key: PRNGKeyArray, weights: Float[Array, " links"], strength: Float[Array, ""]
) -> Float[Array, " links"]:
    """Removes the ``count_removed`` links of smallest ``|w|``.

    Reverse weight order pruning (Sulyok et al. 2026, Section 2.2). Equal weights go in the order of
    a fixed hash of their positions.

    Args:
      key: not used.
      weights: the kept weights of one layer.
      strength: the fraction to remove, in [0, 1].

    Returns:
      The weights, 0 where a link is removed.
    """
    del key
    weakness = -jnp.abs(weights)
    return _without(weights, ranks.rank(weakness, None, weakness.dtype.itemsize > 4), strength)


def count_removed(strength: Float[Array, ""], links: int) -> Int[Array, ""]:
    """How many of a layer's links a strength removes: ``round(strength * links)``.

    Halves are rounded to the even neighbour, as Python does it. The product is taken in float32:
    from two million links on, the count may be off by one in two million. Strength 1 is all links.

    >>> [int(count_removed(jnp.float32(0.15), links)) for links in (10, 20, 30)]
    [2, 3, 4]
    """
    product = strength.astype(jnp.float32) * jnp.float32(links)
    half = jnp.floor(product) + 0.5
    product = jnp.where(jnp.abs(product - half) <= NEAR * product, half, product)
    count = jnp.round(product).astype(jnp.int32)
    return jnp.where(strength >= 1, jnp.int32(links), count)


def _without(weights: Array, rank: Array, strength: Array) -> Array:
    """The weights with those of the highest rank at 0."""
    removed = ranks.highest(rank, count_removed(strength, weights.size))
    return jnp.where(removed, 0, weights)
