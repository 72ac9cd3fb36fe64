"""Distinct random numbers without a list of all: the work grows with how many are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt32

ROUNDS = 12
"""Rounds of the Feistel network; fewer draw unevenly from small ranges."""


def distinct(
    key: PRNGKeyArray, count: int, below: int | Int[Array, ""], *, at_most: int
) -> Int[Array, " count"]:
    """Draws numbers from 0 to ``below - 1``, all different, in random order.

    The first ``count`` values of a keyed permutation: a Feistel network on the next power of four
    above ``at_most``, applied again to a number that is still too large (Black and Rogaway,
    "Ciphers with arbitrary finite domains", 2002).

    Args:
      key: the key.
      count: how many. Those beyond the first ``below`` are -1.
      below: the end of the range, at least 1; may be traced.
      at_most: the largest ``below``, a Python number of at most 31 bits. The work per number grows
        with ``at_most / below``.

    Returns:
      The numbers, int32.
    """
    half = max(1, -(-max(at_most - 1, 1).bit_length() // 2))
    keys = jax.random.bits(key, (ROUNDS,), dtype=jnp.uint32)
    limit = jnp.asarray(below, jnp.uint32)
    drawn = _permuted(jax.lax.iota(jnp.uint32, count), keys, half)
    wanted = jax.lax.iota(jnp.uint32, count) < limit

    def outside(numbers: UInt32[Array, " count"]) -> Array:
        return wanted & (numbers >= limit)

    drawn = jax.lax.while_loop(
        lambda numbers: jnp.any(outside(numbers)),
        lambda numbers: jnp.where(outside(numbers), _permuted(numbers, keys, half), numbers),
        drawn,
    )
    return jnp.where(wanted, drawn.astype(jnp.int32), -1)


def _permuted(
    numbers: UInt32[Array, " count"], keys: UInt32[Array, " rounds"], half: int
) -> UInt32[Array, " count"]:
    """A permutation of the numbers of ``2 * half`` bits."""
    low = np.uint32((1 << half) - 1)
    left, right = numbers >> np.uint32(half), numbers & low
    for position in range(ROUNDS):
        mixed = right ^ keys[position]
        mixed = (mixed ^ (mixed >> 16)) * np.uint32(0x7FEB352D)
        mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x846CA68B)
        left, right = right, (left ^ mixed ^ (mixed >> 16)) & low
    return (left << np.uint32(half)) | right
