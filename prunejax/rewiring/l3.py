"""Link prediction on paths of length three: how likely each pair of neurons is to be linked.

A layer is a bipartite network of inputs u and outputs v. A path u - z1 - z2 - v goes over an output
z1 and an input z2. Its weight is P(z1, v) Q(z2, u), where each factor is one formula of a middle
neuron's degree d and of c, its common neighbours with the end of the path on its own side:

    S(u, v) = sum over z1 in N(u), z1 != v, of P(z1, v)
              * sum over z2 in N(z1) and N(v), z2 != u, of Q(z2, u)

For a pair that is not linked, c counts z1's links inside the local community, and d - c - 1 those
that leave it for a neuron other than u and v: Cannistraci's internal and external degrees di and de
(Muscoloni et al., "Adaptive network automata modelling of complex networks", 2020; Zhang et al.,
"Epitopological learning and Cannistraci-Hebb network shape intelligence", ICLR 2024).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from prunejax.sparse import Links
from prunejax.sparse.native import library, scores

Formula = Callable[[Array, Array], Array]
"""``(degree, common neighbours) -> weight`` of a path's middle neuron."""

CHUNK = 256
"""Links that are looked at together: a matrix product of so many rows."""


def _outside(degree: Array, common: Array) -> Array:
    """1 + de; at least 1 also for linked pairs, whose scores mean nothing."""
    return jnp.maximum(degree - common, 1)


FORMULAS: dict[str, Formula] = {
    "path_count": lambda degree, common: jnp.ones_like(degree + common),
    "ra_l3": lambda degree, common: 1 / jnp.sqrt(degree + 0 * common),
    "ch1_l3": lambda degree, common: jnp.sqrt(common / degree),
    "ch2_l3": lambda degree, common: jnp.sqrt((1 + common) / _outside(degree, common)),
    "ch3_l3": lambda degree, common: 1 / jnp.sqrt(_outside(degree, common)),
}
"""Each rule's formula: the number of paths; resource allocation, 1/sqrt(d); CH1, sqrt(di/d); CH2,
sqrt((1 + di)/(1 + de)); CH3, 1/sqrt(1 + de)."""


def path_scores(
    links: Links, kept: Bool[Array, " links"] | None = None, *, rule: str
) -> Float[Array, "inputs outputs"]:
    """The scores of all pairs of a layer, by dense matrix products: on any device, inside jit.

    The work is links * inputs * outputs multiplications, in chunks of links.

    Args:
      links: the layer's links.
      kept: which of them count, by default all.
      rule: a name in ``FORMULAS``.

    Returns:
      One score per pair, in JAX's default float type; only those of non-links mean something.
    """
    inputs, outputs = links.shape
    dtype = jnp.result_type(float)
    kept = jnp.ones(len(links), bool) if kept is None else kept
    adjacency = links.scatter(kept.astype(dtype))
    of_outputs = _factors(adjacency.T, rule)  # P, [z1, v]
    of_inputs = _factors(adjacency, rule)  # Q, [z2, u]
    missing = -len(links) % CHUNK
    padded = [jnp.pad(each, (0, missing)) for each in (links.sources, links.targets)]
    there = jnp.pad(kept.astype(dtype), (0, missing))

    def add(scores: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, None]:
        sources, middles, weights = chunk  # u, z1
        seconds = adjacency[:, middles].T * of_inputs[:, sources].T * weights[:, None]  # over z2
        ended = jnp.matmul(seconds, adjacency, precision="highest")  # by the end, v
        return scores.at[sources].add(of_outputs[middles] * ended), None

    sources, middles, weights = (each.reshape(-1, CHUNK) for each in (*padded, there))
    empty = jnp.zeros((inputs, outputs), dtype)
    return jax.lax.scan(add, empty, (sources, middles, weights))[0]


def l3_scores(
    links: Links, kept: Bool[Array, " links"] | None = None, *, rule: str
) -> Float[Array, "inputs outputs"]:
    """The same as ``path_scores``, by compiled kernels on a CPU where they are there.

    Their work is the number of paths. Links that lie on another device are scored there.
    """
    if jax.default_backend() == "cpu" and library.is_available():
        return _where_they_lie(links, kept, rule=rule)
    return path_scores(links, kept, rule=rule)


@functools.partial(jax.jit, static_argnames="rule")
def _where_they_lie(
    links: Links, kept: Bool[Array, " links"] | None, *, rule: str
) -> Float[Array, "inputs outputs"]:
    def by_kernels(links: Links, kept: Bool[Array, " links"] | None) -> Array:
        number = scores.RULES.index(rule)
        return scores.l3_scores(links, number, jnp.result_type(float), kept=kept)

    by_products = functools.partial(path_scores, rule=rule)
    return jax.lax.platform_dependent(links, kept, cpu=by_kernels, default=by_products)


def _factors(adjacency: Float[Array, "here there"], rule: str) -> Float[Array, "here here"]:
    """The weight of each neuron of one side as the middle of a path, by the end on its own side."""
    degree = jnp.sum(adjacency, axis=1)
    common = jnp.matmul(adjacency, adjacency.T, precision="highest")
    weights = FORMULAS[rule](jnp.maximum(degree, 1)[:, None], common)
    return jnp.where(jnp.eye(len(degree), dtype=bool), 0, weights)
