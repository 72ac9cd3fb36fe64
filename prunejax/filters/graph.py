"""The redundancy graph of a layer: filters as vertices, an edge where two are similar."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

WORD = 32


def adjacency(
    similarity: Float[Array, "channels channels"], tau: Float[Array, ""], *, inclusive: Any
) -> Bool[Array, "channels channels"]:
    """The edges of Algorithm 1 of Yang et al. 2025: where the similarity exceeds tau.

    Args:
      similarity: symmetric.
      tau: the threshold, of the same dtype.
      inclusive: whether a similarity of exactly tau makes an edge too; may be traced.

    Returns:
      A symmetric matrix; no vertex is its own neighbour.
    """
    edges = (similarity > tau) | (inclusive & (similarity == tau))
    return edges & ~jnp.eye(len(similarity), dtype=bool)


def degrees(
    edges: Bool[Array, "channels channels"], present: Bool[Array, " channels"]
) -> Int[Array, " channels"]:
    """How many of the vertices present are neighbours of each vertex, itself present or not."""
    return jnp.sum(edges & present, axis=1, dtype=jnp.int32)


def core_numbers(
    edges: Bool[Array, "channels channels"], present: Bool[Array, " channels"]
) -> Int[Array, " channels"]:
    """The core number of each vertex: the largest k of a k-core that holds it.

    All vertices of the lowest degree go at once, and k is the highest such degree met so far.

    Args:
      edges: symmetric, without loops.
      present: the vertices of the graph; the others are not in it.

    Returns:
      Core numbers; 0 for a vertex without edges and for one that is not present.
    """

    words = _packed(edges)

    def peel(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        left, k, cores = state
        degree = _set_bits(words & _packed(left)[:, None])
        k = jnp.maximum(k, jnp.min(jnp.where(left, degree, len(left))))
        peeled = left & (degree <= k)
        return left & ~peeled, k, jnp.where(peeled, k, cores)

    nothing = jnp.zeros(len(present), jnp.int32)
    start = (present, jnp.zeros((), jnp.int32), nothing)
    return jax.lax.while_loop(lambda state: jnp.any(state[0]), peel, start)[2]


def components(
    edges: Bool[Array, "channels channels"], present: Bool[Array, " channels"]
) -> Int[Array, " channels"]:
    """Names the connected component of each vertex by the lowest index in it.

    Every vertex takes the lowest name among its neighbours and passes it on to the vertex that it
    is named after; then each vertex takes the name of the vertex that it is named after. This
    halves the distance to the lowest index each time.

    Args:
      edges: symmetric, without loops.
      present: the vertices of the graph; the others are not in it.

    Returns:
      Names; a vertex that is not present bears its own index.
    """
    vertices = jnp.arange(len(present), dtype=jnp.int32)
    among = edges & present & present[:, None]

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        names, _ = state
        lowest = jnp.min(jnp.where(among, names[:, None], len(names)), axis=0)
        renamed = jnp.minimum(names, lowest).at[names].min(lowest)
        renamed = renamed[renamed]
        renamed = renamed[renamed]
        return renamed, jnp.any(renamed != names)

    return jax.lax.while_loop(lambda state: state[1], spread, (vertices, jnp.asarray(True)))[0]


def _packed(bits: Bool[Array, "vertices ..."]) -> UInt32[Array, "words ..."]:
    """The bits along the first axis, 32 to a word: a sum over them is a hundred times as fast."""
    padding = [(0, -len(bits) % WORD)] + [(0, 0)] * (bits.ndim - 1)
    bits = jnp.pad(bits, padding).reshape(-1, WORD, *bits.shape[1:])
    places = jnp.arange(WORD, dtype=jnp.uint32).reshape(-1, *[1] * (bits.ndim - 2))
    return jnp.sum(bits.astype(jnp.uint32) << places, axis=1, dtype=jnp.uint32)


def _set_bits(words: UInt32[Array, "words vertices"]) -> Int[Array, " vertices"]:
    counts = jax.lax.population_count(words).astype(jnp.int32)
    return jnp.sum(counts, axis=0, dtype=jnp.int32)
