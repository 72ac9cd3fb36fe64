"""The precision that filters are measured in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def at_least_single(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """The values in float32, or in float64 where they are that."""
    return values if values.dtype == jnp.float64 else values.astype(jnp.float32)


def to_unit_range(values: Float[Array, "..."], axes: tuple[int, ...] | None) -> Float[Array, "..."]:
    """The values times the power of two that brings the largest of them to between 1 and 2.

    Exact, and so that neither a range nor its reciprocal overflows. Numbers that are denormal,
    which XLA takes for 0 in a product, are made of their bits.

    Args:
      values: float32 or float64, finite.
      axes: over which the largest is looked for; the others have a factor each. None for all.

    Returns:
      The scaled values; 0 where all are.
    """
    form = jnp.finfo(values.dtype)
    unsigned = jnp.uint64 if values.dtype == jnp.float64 else jnp.uint32
    bits = jax.lax.bitcast_convert_type(values, unsigned)
    sign = np.array(1, unsigned) << np.array(form.bits - 1, unsigned)
    magnitude = bits & ~sign
    exponent = magnitude >> np.array(form.nmant, unsigned)
    highest = jnp.max(exponent, axis=axes, keepdims=True).astype(jnp.int32)
    power = form.maxexp - 1 - highest  # of the factor
    half = power // 2  # the factor itself may be denormal, its root is not
    normal = values * _two_to(half, values.dtype) * _two_to(power - half, values.dtype)
    least = form.minexp - form.nmant + power  # of what the last bit of a denormal number becomes
    made = magnitude.astype(values.dtype) * _two_to(least, values.dtype)
    made = jnp.where(bits >= sign, -made, made)
    return jnp.where(exponent == 0, made, normal)


def _two_to(power: Array, dtype: Any) -> Array:
    """A power of two, of its bits; 0 where it would be denormal."""
    form = jnp.finfo(dtype)
    unsigned = jnp.uint64 if dtype == jnp.float64 else jnp.uint32
    biased = jnp.maximum(power + form.maxexp - 1, 0).astype(unsigned)
    return jax.lax.bitcast_convert_type(biased << np.array(form.nmant, unsigned), dtype)
