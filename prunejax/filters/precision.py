"""The precision that filters are measured in."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def at_least_single(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """The values in float32, or in float64 where they are that."""
    return values if values.dtype == jnp.float64 else values.astype(jnp.float32)
