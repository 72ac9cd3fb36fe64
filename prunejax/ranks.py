"""The highest of many scores, exactly so many, without a sort.

Scores become unsigned integers in the same order. The threshold is found one bit at a time, which
reads the scores a fixed number of times. Ties at the threshold are resolved by the same search on a
hash of the position, so that no layer is favoured.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

NEAR = np.float32(2.0**-22)
"""How close a product in float32 is to a whole number that it stands for, relatively."""


def rank(scores: Array, alive: Bool[Array, "..."] | None, wide: bool) -> Array:
    """Unsigned integers in the scores' order: 0 for pruned weights, 1 for NaN, then -inf..inf."""
    unsigned = jnp.uint64 if wide else jnp.uint32
    bits = jax.lax.bitcast_convert_type(_converted(scores.ravel(), wide), unsigned)
    sign = np.array(1, unsigned) << np.array(63 if wide else 31, unsigned)
    bits = jnp.where(bits == sign, np.array(0, unsigned), bits)  # -0.0 ranks with 0.0
    rank = jnp.where(bits >= sign, ~bits, bits | sign)
    rank = jnp.where(jnp.isnan(scores.ravel()), np.array(1, unsigned), rank)
    return rank if alive is None else jnp.where(alive.ravel(), rank, np.array(0, unsigned))


def _converted(scores: Array, wide: bool) -> Array:
    """The scores in float64 or float32, exactly: XLA's own conversion makes denormal numbers 0."""
    widest = jnp.float64 if wide else jnp.float32
    if scores.dtype == widest:
        return scores
    converted = scores.astype(widest)
    tiny = jnp.finfo(scores.dtype)
    unsigned = {2: jnp.uint16, 4: jnp.uint32}.get(scores.dtype.itemsize)
    if unsigned is None:
        return converted
    bits = jax.lax.bitcast_convert_type(scores, unsigned)
    sign = np.array(1, unsigned) << np.array(tiny.bits - 1, unsigned)
    mantissa = bits & ~sign
    if widest == jnp.float32 and tiny.dtype == jnp.bfloat16:
        # its exponents are float32's, and so are its denormal numbers: its bits are the upper half
        upper = bits.astype(jnp.uint32) << np.uint32(16)
        return jax.lax.bitcast_convert_type(upper, jnp.float32)
    # A denormal number is its bits times the smallest one; both are normal in the wider format.
    exact = mantissa.astype(widest) * np.array(tiny.smallest_subnormal, widest)
    exact = jnp.where(bits >= sign, -exact, exact)
    denormal = mantissa < np.array(1, unsigned) << np.array(tiny.nmant, unsigned)
    return jnp.where(denormal, exact, converted)


def protect_best(rank: Array) -> Array:
    """Raises the highest rank of a leaf above all others, unless nothing is left of the leaf."""
    if rank.size == 0:
        return rank
    best = jnp.argmax(rank)
    top = np.array(np.iinfo(rank.dtype).max, rank.dtype)
    return rank.at[best].set(jnp.where(rank[best] > 0, top, rank[best]))


def highest(
    rank: Array, count: Int[Array, ""], key: PRNGKeyArray | None = None
) -> Bool[Array, " weights"]:
    """Marks exactly ``count`` entries of the highest rank.

    Args:
      rank: from ``rank``.
      count: how many, at most as many as have a rank above 0; may be traced.
      key: draws among entries of one rank; by default a fixed hash of the position does.
    """
    salt = np.uint32(0) if key is None else jax.random.bits(key, dtype=jnp.uint32)
    threshold = _search(rank, count)
    above = rank > threshold
    tied = rank == threshold
    missing = count - tally(above)

    def all_tied() -> Bool[Array, " weights"]:
        return tied

    def some_tied() -> Bool[Array, " weights"]:
        # Odd multiplication and xor-shifts are invertible: no two positions share a hash.
        position = jax.lax.iota(jnp.uint32, rank.size) ^ salt
        position = (position ^ (position >> 16)) * np.uint32(0x7FEB352D)
        position = (position ^ (position >> 15)) * np.uint32(0x846CA68B)
        hashed = position ^ (position >> 16)
        # One position hashes to 0, the order of what is not tied; it is never wanted here, since
        # fewer than all ties are.
        order = jnp.where(tied, hashed, np.uint32(0))
        return tied & (order >= _search(order, missing))

    chosen = jax.lax.cond(missing == tally(tied), all_tied, some_tied)
    return (above | chosen) & (count > 0)


def _search(rank: Array, count: Int[Array, ""]) -> Array:
    """The largest threshold that at least ``count`` entries reach, one bit at a time."""
    bits = rank.dtype.itemsize * 8

    def narrow(step: Int[Array, ""], threshold: Array) -> Array:
        bit = np.array(1, rank.dtype) << (bits - 1 - step).astype(rank.dtype)
        candidate = threshold | bit
        return jnp.where(tally(rank >= candidate) >= count, candidate, threshold)

    return jax.lax.fori_loop(0, bits, narrow, np.array(0, rank.dtype))


def share_of(share: Float[Array, ""], entries: Int[Array, ""]) -> Int[Array, ""]:
    """``floor(share * entries)``, in float32.

    A product this close below a whole number is that number: 0.29 of 100 are 29. Beyond four
    million entries the count may be one off.
    """
    product = share.astype(jnp.float32) * entries.astype(jnp.float32)
    return jnp.floor(product + NEAR * product).astype(jnp.int32)


def tally(marked: Bool[Array, "..."]) -> Int[Array, ""]:
    """How many entries are marked."""
    return jnp.sum(marked, dtype=jnp.int32)
