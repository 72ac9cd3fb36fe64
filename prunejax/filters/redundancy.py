"""A selection on the redundancy graph: core numbers, degrees and orphans."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from prunejax.filters import checks, graph


class Redundancy(NamedTuple):
    """The numbers that describe a layer's redundancy graph.

    Attributes:
      core: the core number of each filter in the whole graph, int32.
      degree: how many filters are similar to each, int32.
      orphans: the filters removed to which none that is kept is similar.
    """

    core: Int[Array, " channels"]
    degree: Int[Array, " channels"]
    orphans: Bool[Array, " channels"]


def coreness(
    similarity: Float[Array, "channels channels"],
    tau: float | Float[Array, ""],
    *,
    inclusive: bool = False,
) -> Int[Array, " channels"]:
    """The core number of each filter in the redundancy graph: the largest k of a k-core with it.

    Args:
      similarity: symmetric, as ``filters.similarity`` gives it.
      tau: the threshold, in [0, 1].
      inclusive: whether a similarity of exactly tau makes an edge too.

    Returns:
      Core numbers, int32; 0 for a filter that resembles no other.

    Raises:
      ValueError: a matrix that is not square, symmetric and finite, or tau outside [0, 1].
    """
    checks.similarity_matrix(similarity)
    checks.threshold(tau)
    everything = jnp.ones(len(similarity), bool)
    return _redundancy(
        similarity, everything, jnp.asarray(tau, similarity.dtype), inclusive=inclusive
    ).core


def redundancy(
    similarity: Float[Array, "channels channels"],
    keep: Bool[Array, " channels"],
    tau: float | Float[Array, ""],
    *,
    inclusive: bool = False,
) -> Redundancy:
    """Describes the redundancy graph of a layer and a selection made on it.

    An orphan is a filter that Algorithm 2 removed although nothing kept resembles it: it was in
    one group with its representative through others, themselves removed.

    Args:
      similarity: symmetric, as ``filters.similarity`` gives it.
      keep: True for the filters kept, as ``select`` gives it.
      tau: the threshold of the graph, in [0, 1].
      inclusive: whether a similarity of exactly tau makes an edge too.

    Returns:
      Core numbers, degrees and orphans.

    Raises:
      ValueError: a matrix that is not square, symmetric and finite, ``keep`` of another length,
        or tau outside [0, 1].
    """
    checks.similarity_matrix(similarity)
    checks.threshold(tau)
    if keep.shape != (len(similarity),):
        raise ValueError(
            f"keep must have one value for each of {len(similarity)}, got shape {list(keep.shape)}"
        )
    return _redundancy(similarity, keep, jnp.asarray(tau, similarity.dtype), inclusive=inclusive)


@jax.jit
def _redundancy(similarity: Array, keep: Array, tau: Array, *, inclusive: Any) -> Redundancy:
    edges = graph.adjacency(similarity, tau, inclusive=inclusive)
    everything = jnp.ones(len(similarity), bool)
    return Redundancy(
        core=graph.core_numbers(edges, everything),
        degree=graph.degrees(edges, everything),
        orphans=~keep & (graph.degrees(edges, keep) == 0),
    )
