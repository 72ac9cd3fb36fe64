"""One layer's links, held as ``Links`` or as a mask: the same questions and changes for both.

Weights, and what belongs to a weight, are flat here: one per link, or one per entry of the mask.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prunejax import ranks
from prunejax.sparse import Links
from prunejax.sparse.drawing import distinct

Topology = Links | Array
"""The links of one layer: ``Links``, or a bool array of the kernel's shape."""


class Grown(NamedTuple):
    """A layer after regrowth.

    Attributes:
      topology: its links now.
      place: what belongs to the old weights, flat, put where the same links are now, and given
        values at the grown ones: ``(old, at_grown) -> new``, in the kernel's new shape.
      regrown: how many links went and came back.
    """

    topology: Topology
    place: Callable[[Array, Any], Array]
    regrown: Int[Array, ""]


def alive(topology: Topology) -> Bool[Array, " weights"]:
    """Which entries are links."""
    if isinstance(topology, Links):
        return jnp.ones(len(topology), bool)
    return topology.ravel()


def pairs(topology: Topology) -> int:
    """How many links the layer could have."""
    return int(np.prod(topology.shape))


def ends(topology: Topology) -> tuple[Int[Array, " weights"], Int[Array, " weights"]]:
    """The input and the output neuron of each entry of a layer with two axes."""
    if isinstance(topology, Links):
        return topology.sources, topology.targets
    numbers = jax.lax.iota(jnp.int32, pairs(topology))
    outputs = np.int32(topology.shape[1])
    return numbers // outputs, numbers % outputs


def linked(
    neurons: Int[Array, " weights"], kept: Bool[Array, " weights"], size: int
) -> Bool[Array, " size"]:
    """Which of ``size`` neurons are an end of a link that is kept."""
    return jnp.zeros(size, bool).at[neurons].max(kept)


def random_growth(
    key: PRNGKeyArray, topology: Topology, kept: Bool[Array, " weights"], count: Int[Array, ""]
) -> Grown:
    """Grows links uniformly at random among all pairs that are not linked.

    On ``Links`` the work is that of sorting them, however many pairs there are.

    Args:
      key: draws.
      topology: the layer before anything was removed.
      kept: which entries are still links.
      count: how many links grow; on ``Links`` as many as were removed.

    Returns:
      The layer.
    """
    if isinstance(topology, Links):
        size, most = len(topology), pairs(topology)
        left = ranks.tally(kept)
        position = jax.lax.iota(jnp.int32, size)
        # The q-th free number is q plus the links before it. In ascending order, link i has
        # numbers[i] - i free numbers before it.
        before = jnp.sort(jnp.where(kept, topology.numbers, np.int32(most)))
        before = jnp.where(position < left, before - position, np.int32(most))
        drawn = distinct(key, size, most - left, at_most=most)
        shift = jnp.searchsorted(before, drawn, side="right").astype(jnp.int32)
        return _links_with(topology, kept, drawn + shift)
    rank = jax.random.bits(key, kept.shape, dtype=jnp.uint32) | np.uint32(1)
    return _mask_with(topology, kept, ranks.highest(jnp.where(kept, 0, rank), count, key))


def best_growth(
    key: PRNGKeyArray,
    topology: Topology,
    kept: Bool[Array, " weights"],
    count: Int[Array, ""],
    scores: Float[Array, "..."],
) -> Grown:
    """Grows the links of the highest scores among all pairs that are not linked.

    Equal scores are drawn from at random, so that the rest is uniform where scores run out.

    Args:
      key: draws among equal scores.
      topology: the layer before anything was removed.
      kept: which entries are still links.
      count: how many links grow; on ``Links`` as many as were removed.
      scores: of all pairs, of the kernel's dense shape; NaN comes last.

    Returns:
      The layer.
    """
    wide = scores.dtype == jnp.float64
    if not isinstance(topology, Links):
        grown = ranks.highest(ranks.rank(scores, ~kept, wide), count, key)
        return _mask_with(topology, kept, grown)
    linked_now = jnp.zeros(topology.shape, bool)
    linked_now = linked_now.at[topology.sources, topology.targets].set(kept)
    grown = ranks.highest(ranks.rank(scores, ~linked_now.ravel(), wide), count, key)
    # in the order of ``Links.numbers``
    numbers = jnp.nonzero(grown.reshape(topology.shape).T, size=len(topology))
    targets, sources = (each.astype(jnp.int32) for each in numbers)
    return _links_with(topology, kept, targets * np.int32(topology.shape[0]) + sources)


def _links_with(topology: Links, kept: Bool[Array, " links"], grown: Int[Array, " links"]) -> Grown:
    """The links in which grown ones, the first in ``grown``, take the places of those that go."""
    old = topology.numbers
    freed = jnp.cumsum(~kept, dtype=jnp.int32) - 1
    numbers = jnp.where(kept, old, grown[freed])
    order = jnp.argsort(numbers)
    found = jnp.searchsorted(old, numbers)
    known = old[jnp.minimum(found, len(old) - 1)] == numbers

    def place(values: Array, at_grown: Any) -> Array:
        return jnp.where(kept, values, at_grown)[order]

    links = Links.from_numbers(numbers, topology.shape)
    return Grown(links, place, ranks.tally(known & ~kept))


def _mask_with(
    topology: Array, kept: Bool[Array, " weights"], grown: Bool[Array, " weights"]
) -> Grown:
    def place(values: Array, at_grown: Any) -> Array:
        new = jnp.where(kept, values, jnp.where(grown, at_grown, jnp.zeros((), values.dtype)))
        return new.reshape(topology.shape)

    mask = (kept | grown).reshape(topology.shape)
    return Grown(mask, place, ranks.tally(grown & topology.ravel()))
