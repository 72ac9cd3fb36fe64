"""Algorithm 2: of each densely redundant group of filters keep the one of highest entropy."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from prunejax.filters import checks, graph


def select(
    similarity: Float[Array, "channels channels"],
    entropy: Float[Array, " channels"],
    tau: float | Float[Array, ""],
    *,
    inclusive: bool = False,
    min_channels: int = 1,
) -> Bool[Array, " channels"]:
    """Chooses the filters to keep (Algorithm 2 of Yang et al. 2025).

    In the graph with an edge where ``similarity > tau`` take the k-core of the largest k that has
    one; in each of its connected components keep the filter of highest entropy (of equal ones the
    first) and remove the others with all their edges; the one kept has its edges to the outside
    still. Repeat until no edge is left. The paper restarts k at the graph's highest degree and
    counts down; the first k that has a core is the largest core number, which is used here.

    Ask for one layer at a time: vmapped loops run until the slowest of them ends.

    Args:
      similarity: symmetric, as ``filters.similarity`` gives it; the diagonal is not read.
      entropy: the worth of each filter as its group's representative, ``filters.entropy`` or any
        other score.
      tau: the threshold, in [0, 1]; may be traced, a sweep over it compiles once.
      inclusive: whether a similarity of exactly tau makes an edge too.
      min_channels: how many filters to keep at least: the best of those removed come back until
        there are so many. A layer that has no more than that keeps all.

    Returns:
      True for each filter to keep: never none, and no two of them similar unless
      ``min_channels`` brought one back.

    Raises:
      ValueError: shapes do not match, NaN or infinite values, a similarity that is not symmetric,
        tau outside [0, 1], ``min_channels`` below 1. Values are looked at outside jit only;
        inside, NaN is dissimilar, and ranks lowest as an entropy.

    >>> similarity = jnp.asarray([[1.0, 0.9, 0.2], [0.9, 1.0, 0.1], [0.2, 0.1, 1.0]])
    >>> select(similarity, jnp.asarray([1.0, 2.0, 0.0]), tau=0.7).tolist()
    [False, True, True]
    """
    checks.similarity_matrix(similarity)
    checks.per_channel("entropy", entropy, len(similarity))
    checks.threshold(tau)
    checks.positive("min_channels", min_channels)
    return _select(
        similarity, entropy, jnp.asarray(tau, similarity.dtype), min_channels, inclusive=inclusive
    )


@jax.jit
def _select(
    similarity: Array, entropy: Array, tau: Array, min_channels: Array | int, *, inclusive: Any
) -> Array:
    # Vertices are put in the order of falling entropy: then the lowest index of a component is
    # its representative.
    order = jnp.argsort(-entropy, stable=True)
    edges = graph.adjacency(similarity[order][:, order], tau, inclusive=inclusive)
    kept = _representatives(edges)
    removed_so_far = jnp.cumsum(~kept, dtype=jnp.int32)
    kept |= removed_so_far <= min_channels - jnp.sum(kept, dtype=jnp.int32)
    return jnp.zeros_like(kept).at[order].set(kept)


def _representatives(edges: Bool[Array, "channels channels"]) -> Bool[Array, " channels"]:
    """Algorithm 2 on vertices that are sorted, the best first."""
    vertices = jnp.arange(len(edges), dtype=jnp.int32)

    def collapse(state: tuple[Array, Array]) -> tuple[Array, Array]:
        kept, cores = state
        innermost = kept & (cores == jnp.max(cores))
        represented = innermost & (graph.components(edges, innermost) != vertices)
        kept &= ~represented
        return kept, graph.core_numbers(edges, kept)

    everything = jnp.ones(len(edges), bool)
    start = (everything, graph.core_numbers(edges, everything))
    return jax.lax.while_loop(lambda state: jnp.max(state[1]) > 0, collapse, start)[0]
