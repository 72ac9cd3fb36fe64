"""Where pruned weights grow again: GROWTH, by name."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from prunejax import ranks

Order = Callable[[PRNGKeyArray, Sequence[Any], Sequence[tuple[int, ...]]], list[Array]]
"""``(key, evidence, shapes) -> ranks``: one array per leaf, above 0; the highest grow."""


class Growth(NamedTuple):
    """A rule of growth.

    Attributes:
      order: which weights grow first; None: none grow.
      needs: what it takes for evidence, "criticality" or "gradients", if anything.
    """

    order: Order | None
    needs: str | None = None


def by_criticality(
    key: PRNGKeyArray, evidence: Sequence[Any], shapes: Sequence[tuple[int, ...]]
) -> list[Array]:
    """Neurons by their criticality, those of all layers together; weights of one in random order.

    Source: Chen et al. 2025.
    """
    flat = jnp.concatenate([scores.ravel() for scores in evidence])
    flat = jnp.where(jnp.isnan(flat), -jnp.inf, flat)  # what is not known grows last
    # neurons of equal criticality share a rank, so that no layer is favoured
    order = jnp.searchsorted(jnp.sort(flat), flat).astype(jnp.uint32) + np.uint32(1)
    bits = int(flat.size).bit_length()
    found, start = [], 0
    for number, (scores, shape) in enumerate(zip(evidence, shapes, strict=True)):
        of_neurons = order[start : start + scores.size].reshape(scores.shape)
        start += scores.size
        of_weights = jnp.broadcast_to(of_neurons, shape).ravel()
        drawn = jax.random.bits(jax.random.fold_in(key, number), of_weights.shape, jnp.uint32)
        found.append((of_weights << np.uint32(32 - bits)) | (drawn >> np.uint32(bits)))
    return found


def at_random(
    key: PRNGKeyArray, evidence: Sequence[Any], shapes: Sequence[tuple[int, ...]]
) -> list[Array]:
    """Anywhere, with equal probability."""
    del evidence
    return [
        jax.random.bits(jax.random.fold_in(key, number), (int(np.prod(shape)),), jnp.uint32)
        | np.uint32(1)
        for number, shape in enumerate(shapes)
    ]


def by_gradient(
    key: PRNGKeyArray, evidence: Sequence[Any], shapes: Sequence[tuple[int, ...]]
) -> list[Array]:
    """Where the magnitude of the gradient is largest. Source: GraNet, Liu et al. 2021."""
    del key, shapes
    return [ranks.rank(jnp.abs(gradient), None, wide=False) for gradient in evidence]


GROWTH: dict[str, Growth] = {
    "criticality": Growth(by_criticality, "criticality"),
    "random": Growth(at_random),
    "gradient": Growth(by_gradient, "gradients"),
    "none": Growth(None),
}
"""Name -> rule. "none" is gradual magnitude pruning (Zhu & Gupta 2017)."""
