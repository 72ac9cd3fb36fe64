"""The highest along an axis, exactly so many, without a sort."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from prunejax import ranks

FEW = 32
"""Neighbours up to which each is compared with each; of more, a threshold is searched for."""


def mark_highest(scores: Array, mask: Array | None, count: Int[Array, ""], axis: int) -> Array:
    """Marks the highest ``count`` along an axis that are not pruned; of equals the first, NaN last.

    Fewer are marked where fewer are left. Nothing is sorted, which would take ten times as long.
    """
    # whole numbers in the order of the scores, 0 for what is pruned: denormal scores are exact too
    ranked = ranks.rank(scores, mask, scores.dtype == jnp.float64).reshape(scores.shape)
    number = scores.shape[axis]
    if number <= FEW:
        position = jax.lax.broadcasted_iota(jnp.int32, scores.shape, axis % scores.ndim)
        ahead = jnp.zeros(scores.shape, jnp.int32)
        for other in range(number):
            its = jax.lax.slice_in_dim(ranked, other, other + 1, axis=axis)
            first = (its > ranked) | ((its == ranked) & (other < position))
            ahead += first.astype(jnp.int32)
        return (ahead < count) & (ranked > 0)

    def tally(marked: Array) -> Array:
        return jnp.sum(marked, axis=axis, keepdims=True, dtype=jnp.int32)

    def narrow(step: Array, threshold: Array) -> Array:
        bit = np.array(1, ranked.dtype) << (bits - 1 - step).astype(ranked.dtype)
        candidate = threshold | bit
        return jnp.where(tally(ranked >= candidate) >= count, candidate, threshold)

    bits = ranked.dtype.itemsize * 8
    nothing = jnp.zeros_like(tally(ranked > 0), dtype=ranked.dtype)
    threshold = jax.lax.fori_loop(0, bits, narrow, nothing)
    above, tied = ranked > threshold, ranked == threshold
    first = jnp.cumsum(tied, axis=axis, dtype=jnp.int32) <= count - tally(above)
    return (above | (tied & first)) & (ranked > 0)
