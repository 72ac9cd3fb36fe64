"""Scores of all pairs of neurons by the paths of three links between them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from prunejax.sparse.links import Links
from prunejax.sparse.native import library

RULES = ("path_count", "ra_l3", "ch1_l3", "ch2_l3", "ch3_l3")
"""What a rule's number stands for in kernels.cc."""


GONE = np.int32(np.iinfo(np.int32).min)
"""What kernels.cc takes for the source of a link that does not count."""


def l3_scores(
    links: Links,
    rule: int,
    dtype: Any = jnp.float32,
    *,
    kept: Bool[Array, " links"] | None = None,
) -> Float[Array, "inputs outputs"]:
    """Scores each pair (u, v) by the paths u - z1 - z2 - v of the layer's links.

    The score is the sum over paths (z1 an output other than v, z2 an input other than u) of
    ``P(z1, v) * Q(z2, u)``, accumulated in float64. With d1 the degree of z1, and c1 the number of
    inputs linked to both z1 and v, P is

    - 0, path count: 1,
    - 1, RA-L3: ``1 / sqrt(d1)``,
    - 2, CH1-L3: ``sqrt(c1 / d1)``,
    - 3, CH2-L3: ``sqrt((1 + c1) / (d1 - c1))``,
    - 4, CH3-L3: ``1 / sqrt(d1 - c1)``,

    and Q the same of z2, u and outputs linked to both (Muscoloni et al. 2018; Zhang et al. 2024).
    ``d - c`` counts as 1 where it is 0, which happens for pairs alone that are linked already. Time
    is that of the paths: 1000 x 1000 neurons at 1 % take some milliseconds.

    Args:
      links: the layer's links; indices out of range are an error when the kernel runs.
      rule: its number, the place of its name in ``RULES``.
      dtype: float32 or float64.
      kept: which of the links count, by default all.

    Returns:
      A score for each pair, those of linked pairs without meaning.

    Raises:
      ValueError: there is no such rule or type.
      UnavailableError: the kernels are not compiled here and cannot be.
    """
    if rule not in range(len(RULES)):
        raise ValueError(f"rule must be one of 0 to {len(RULES) - 1}: {RULES}; got {rule!r}")
    if jnp.dtype(dtype) not in (jnp.float32, jnp.float64):
        raise ValueError(f"scores are float32 or float64, not {jnp.dtype(dtype)}")
    library.load()
    made = jax.ShapeDtypeStruct(links.shape, jax.dtypes.canonicalize_dtype(dtype))
    call = jax.ffi.ffi_call("prunejax_l3_scores", made, vmap_method="sequential")
    sources = links.sources if kept is None else jnp.where(kept, links.sources, GONE)
    return call(sources, links.targets, rule=np.int32(rule))
