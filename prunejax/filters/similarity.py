"""Similarity of filters: the fraction of hash bits in which their feature maps agree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from prunejax.filters.hashing import Hash, perceptual_hash

EXACT = 2**24
"""Integers up to here are exact in float32, in which agreements are counted."""


class Agreement(NamedTuple):
    """In how many bits each pair of channels agrees.

    Batches add up: ``jax.tree.map(jnp.add, first, second)`` is the agreement on both.

    Attributes:
      counts: bits that agree; the diagonal is ``total``.
      total: bits that were compared, ``images x bits``, int32.
    """

    counts: Int[Array, "channels channels"]
    total: Int[Array, ""]

    @property
    def similarity(self) -> Float[Array, "channels channels"]:
        """``counts / total``, the S of Eq. 1, float32 in [0, 1]."""
        return _quotients(self.counts, self.total)


def agreement(
    maps: Float[Array, "images height width channels"], *, hash: Hash = "dct"
) -> Agreement:
    """Counts the hash bits in which the maps of each pair of channels agree.

    With the bits of all images as signs, ``s`` of shape [channels, images x bits], the counts are
    ``(s s^T + images x bits) / 2``, exactly.

    Args:
      maps: the outputs of a layer's filters on a batch of images.
      hash: as in ``perceptual_hash``.

    Returns:
      The counts (int32) and their total.

    Raises:
      ValueError: ``perceptual_hash`` refuses the maps, or they make more than 2^24 bits per channel
        (262,144 images of 64 bits): pass those in batches and add.
    """
    bits = perceptual_hash(maps, hash=hash)
    total = bits.shape[0] * bits.shape[1]
    if total > EXACT:
        raise ValueError(
            f"{total} bits per channel are more than can be counted at once ({EXACT}): "
            "pass the images in batches and add the agreements"
        )
    return Agreement(counts=_count(bits), total=jnp.asarray(total, jnp.int32))


def similarity(
    maps: Float[Array, "images height width channels"], *, hash: Hash = "dct"
) -> Float[Array, "channels channels"]:
    """The average similarity of the feature maps of each pair of channels, S.

    ``S[i, j] = sum_t sim(o[i, t], o[j, t]) / m`` over m images, where ``sim`` is the fraction of
    bits in which two perceptual hashes agree (Yang et al. 2025, Eq. 1).

    Args:
      maps: the outputs of a layer's filters.
      hash: as in ``perceptual_hash``.

    Returns:
      A symmetric float32 matrix with values in [0, 1] and a diagonal of 1: each the quotient of
      two exact integers, rounded once.

    Raises:
      ValueError: as ``agreement``.

    >>> maps = jax.random.normal(jax.random.key(0), (10, 16, 16, 3))
    >>> similarity(maps).shape
    (3, 3)
    """
    return agreement(maps, hash=hash).similarity


@jax.jit
def _count(bits: Bool[Array, "images bits channels"]) -> Int[Array, "channels channels"]:
    signs = jnp.where(bits, 1.0, -1.0).astype(jnp.float32).reshape(-1, bits.shape[-1])
    products = jnp.matmul(signs.T, signs, precision=jax.lax.Precision.HIGHEST)
    return (products.astype(jnp.int32) + signs.shape[0]) // 2


@jax.jit
def _quotients(
    counts: Int[Array, "channels channels"], total: Int[Array, ""]
) -> Float[Array, "channels channels"]:
    # Rounded otherwise, a similarity of exactly tau would pass it or not.
    return jax.lax.platform_dependent(
        counts, jnp.broadcast_to(total, counts.shape), cpu=_divided, default=_divided_by_bits
    )


def _divided(counts: Array, totals: Array) -> Array:
    # Behind the barrier XLA cannot see that all divisors are one: it would multiply by the
    # reciprocal, which rounds twice.
    totals = jax.lax.optimization_barrier(totals)
    return counts.astype(jnp.float32) / totals.astype(jnp.float32)


def _divided_by_bits(counts: Array, totals: Array) -> Array:
    """Quotients in [0, 1] by long division: a GPU's own may be off by the last bit.

    Rounded once where they are 1/64 or more, to 2^-32 below.
    """
    divisors = totals.astype(jnp.uint32)

    def next_bit(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        bits, rest = carry
        rest = rest * jnp.uint32(2)  # below 2^32, as totals are below 2^31
        fits = rest >= divisors
        rest = jnp.where(fits, rest - divisors, rest)
        return bits * jnp.uint32(2) + fits.astype(jnp.uint32), rest

    start = jnp.zeros_like(divisors), counts.astype(jnp.uint32)
    bits, rest = jax.lax.fori_loop(0, 31, next_bit, start)
    # the last bit says whether anything is left, so that the conversion is the only rounding
    bits = bits * jnp.uint32(2) + (rest > 0).astype(jnp.uint32)
    quotients = bits.astype(jnp.float32) * jnp.float32(2.0**-32)
    return jnp.where(counts == totals, jnp.float32(1), quotients)
