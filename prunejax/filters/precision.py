"""The precision and the range in which filters are measured."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from prunejax.filters.checks import at_hand


def at_least_single(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """The values in float32, or in float64 where they already are."""
    return values if values.dtype == jnp.float64 else values.astype(jnp.float32)


def to_unit_range(values: Float[Array, "..."], axes: tuple[int, ...] | None) -> Float[Array, "..."]:
    """The values times the power of two that brings the largest of them to between 1 and 2.

    The largest means the largest absolute value. Where all values are denormal the factor is the
    one for the smallest normal number: the largest comes to between 2^-22 and 2 (2^-51 in float64).

    The scaling is exact, and afterwards neither a range nor its reciprocal overflows. XLA takes
    denormal numbers for 0 in a product; here they are made from their bits.

    Args:
      values: float32 or float64, finite.
      axes: over which the largest is looked for; the others have a factor each. None for all.

    Returns:
      The scaled values; 0 where all values are 0.
    """
    return _scaled(values, axes)[0]


def to_safe_range(values: Float[Array, "..."], axes: tuple[int, ...] | None) -> Float[Array, "..."]:
    """The values in unit range if that matters, else as they are, which is faster.

    Args:
      values: float32 or float64, finite.
      axes: over which the largest is looked for; the others have a factor each. None for all.

    Returns:
      The values, the largest of which are 0 or far from the ends of their format.
    """
    form = jnp.finfo(values.dtype)
    # of unsigned bits XLA finds the largest faster than of exponents, and sees denormal numbers
    bits = jax.lax.bitcast_convert_type(values, _unsigned(values.dtype))
    largest = jnp.max(bits << np.array(1, bits.dtype), axis=axes)
    exponent = (largest >> np.array(form.nmant + 1, bits.dtype)).astype(jnp.int32)
    far = jnp.abs(exponent - (form.maxexp - 1)) > form.maxexp // 2
    return jax.lax.cond(
        jnp.any(far & (largest > 0)), lambda: to_unit_range(values, axes), lambda: values
    )


def have_one_value(
    values: Float[Array, "images height width channels"],
) -> Bool[Array, " channels"]:
    """Which channels have one value everywhere, by their bits; 0 and -0 are one value.

    Args:
      values: float32 or float64.

    Returns:
      True for each such channel.
    """
    bits = jax.lax.bitcast_convert_type(values, _unsigned(values.dtype))
    first = bits[0, 0, 0]
    both_zero = (bits | first) << np.array(1, bits.dtype) == 0
    return jnp.all((bits == first) | both_zero, axis=(0, 1, 2))


SMALLEST, LARGEST = -60, 40
"""Exponents of two between which no square is lost, and no sum of 2^40 squares overflows."""

SMALLEST_APART = -36
"""The same for values whose differences are squared: those are smaller by up to 2^-24."""


def measured_in_unit_range(
    measure: Callable[[Array], Array],
    values: Float[Array, "..."],
    *,
    plain: Callable[[Array], Array] | None = None,
    smallest: int = SMALLEST,
) -> Float[Array, "..."]:
    """Measures values at a scale at which neither their squares nor their sums overflow.

    Values that are at hand, and are far from the ends of their format, are measured as they are:
    that compiles in a tenth of the time.

    Args:
      measure: homogeneous, as a norm is: twice the values measure twice as much.
      values: float32 or float64, finite.
      plain: measures the same of values whose squares are safe; ``measure`` if it is None.
      smallest: the exponent of two of the smallest such values.

    Returns:
      The measures in the unit of the values. Where the largest of them would be infinite, or so
      small (2^-103 in float32) that lesser ones would be lost, all are times one power of two: they
      have their order and their ratios, and no unit.
    """
    if _ordinary(values, smallest):
        return _measured(plain or measure, values)
    return _scaled_and_measured(measure, values)


def _ordinary(values: Array, smallest: int = SMALLEST) -> bool:
    """Whether all values but 0 are known to lie in that range: False where they are not at hand."""
    if not at_hand(values):
        return False
    form = jnp.finfo(values.dtype)
    bits = np.ascontiguousarray(values).view(_unsigned(values.dtype)) << 1  # without the sign
    if not bits.any():
        return True
    least = int((bits - 1).min()) + 1  # of 0 the largest number is left
    lowest, highest = (number >> (form.nmant + 1) for number in (least, int(bits.max())))
    bias = form.maxexp - 1
    return lowest - bias >= smallest and highest - bias < LARGEST


@functools.partial(jax.jit, static_argnames="measure")
def _measured(measure: Callable[[Array], Array], values: Array) -> Array:
    return measure(values)


@functools.partial(jax.jit, static_argnames="measure")  # one program for a shape, not two dozen
def _scaled_and_measured(measure: Callable[[Array], Array], values: Array) -> Array:
    scaled, power = _scaled(values, None)
    measures = measure(scaled)
    form = jnp.finfo(measures.dtype)
    highest = jnp.max(_exponents(measures)) - (form.maxexp - 1)
    back = jnp.clip(
        -power.reshape(()), form.minexp + form.nmant - highest, form.maxexp - 1 - highest
    )
    return _times_two_to(measures, back)


def _scaled(values: Array, axes: tuple[int, ...] | None) -> tuple[Array, Array]:
    """The values in unit range, and the power of two that they were multiplied by."""
    form = jnp.finfo(values.dtype)
    exponent = _exponents(values)
    power = form.maxexp - 1 - jnp.max(exponent, axis=axes, keepdims=True)
    bits = jax.lax.bitcast_convert_type(values, _unsigned(values.dtype))
    sign = np.array(1, bits.dtype) << np.array(form.bits - 1, bits.dtype)
    least = form.minexp - form.nmant + power  # of what the last bit of a denormal number becomes
    made = (bits & ~sign).astype(values.dtype) * _two_to(least, values.dtype)
    made = jnp.where(bits >= sign, -made, made)
    return jnp.where(exponent == 0, made, _times_two_to(values, power)), power


def _exponents(values: Array) -> Array:
    """The biased exponents, read from the bits; 0 for 0 and for denormal numbers."""
    form = jnp.finfo(values.dtype)
    bits = jax.lax.bitcast_convert_type(values, _unsigned(values.dtype))
    biased = np.array(2**form.nexp - 1, bits.dtype)
    return ((bits >> np.array(form.nmant, bits.dtype)) & biased).astype(jnp.int32)


def _times_two_to(values: Array, power: Array) -> Array:
    half = power // 2  # the factor itself may be denormal, its root is not
    return values * _two_to(half, values.dtype) * _two_to(power - half, values.dtype)


def _two_to(power: Array, dtype: Any) -> Array:
    """A power of two, made from its bits; 0 where it would be denormal."""
    form = jnp.finfo(dtype)
    unsigned = _unsigned(dtype)
    biased = jnp.maximum(power + form.maxexp - 1, 0).astype(unsigned)
    return jax.lax.bitcast_convert_type(biased << np.array(form.nmant, unsigned), dtype)


def _unsigned(dtype: Any) -> Any:
    return jnp.uint64 if dtype == jnp.float64 else jnp.uint32
