"""Checks of arguments. Values are checked outside jit only."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool


def feature_maps(maps: Any) -> None:
    """Checks that these are feature maps.

    Args:
      maps: should be floating point, [images, height, width, channels], finite.

    Raises:
      ValueError: they are not.
    """
    array("maps", maps, axes=4, of="[images, height, width, channels]")


def array(name: str, value: Any, *, axes: int, of: str, more: bool = False) -> None:
    """Checks an array of floating point numbers.

    Args:
      name: what the message calls it.
      value: the array.
      axes: how many axes it must have.
      of: the shape in words.
      more: whether more axes than that will do.

    Raises:
      ValueError: another rank, an empty array, not floating point, NaN or infinite values.
    """
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ValueError(f"{name} must be an array {of}, got a {type(value).__name__}")
    right = value.ndim >= axes if more else value.ndim == axes
    if not right:
        raise ValueError(f"{name} must be {of}, got shape {list(value.shape)}")
    if value.size == 0:
        raise ValueError(f"{name} holds nothing: shape {list(value.shape)}")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating point, got {value.dtype}")
    if is_concrete(value) and not _finite(jnp.asarray(value)):
        raise ValueError(f"{name} has values that are NaN or infinite")


def similarity_matrix(similarity: Any) -> None:
    """Checks that a matrix is square, finite and symmetric.

    Raises:
      ValueError: the matrix is not square, not finite or not symmetric.
    """
    array("similarity", similarity, axes=2, of="[channels, channels]")
    rows, columns = similarity.shape
    if rows != columns:
        raise ValueError(f"similarity must be square, got shape {list(similarity.shape)}")
    if is_concrete(similarity) and not _symmetric(jnp.asarray(similarity)):
        raise ValueError("similarity must be symmetric, and this matrix is not")


def threshold(tau: Any) -> None:
    """Checks that tau is a number in [0, 1].

    Raises:
      ValueError: tau has axes, or is outside [0, 1].
    """
    if np.shape(tau) != ():
        raise ValueError(f"tau must be one number, got shape {list(np.shape(tau))}")
    if is_concrete(tau) and not 0 <= float(tau) <= 1:
        raise ValueError(f"tau must be in [0, 1], got {float(tau)}")


def per_channel(name: str, value: Any, channels: int) -> None:
    """Checks that there is one finite number for each channel.

    Raises:
      ValueError: another shape, or values that are not finite.
    """
    array(name, value, axes=1, of="[channels]")
    if value.shape != (channels,):
        raise ValueError(f"{name} must have one value for each of {channels}, got {value.shape[0]}")


def positive(name: str, value: Any) -> None:
    """Checks that a Python integer is at least 1.

    Raises:
      ValueError: no integer, or one below 1.
    """
    try:
        integer = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if integer < 1:
        raise ValueError(f"{name} must be at least 1, got {integer}")


def is_concrete(value: Any) -> bool:
    """Whether the value is known now: False while tracing."""
    return not isinstance(value, Tracer)


def at_hand(value: Any) -> bool:
    """Whether NumPy can look at the values where they lie: not while tracing, nor on a GPU."""
    if isinstance(value, np.ndarray):
        return True
    if not is_concrete(value) or not value.is_fully_addressable:
        return False
    return all(device.platform == "cpu" for device in value.devices())


def _finite(value: Array) -> bool:
    """Value by value: on CPU the maximum of a large array may lose a NaN."""
    if at_hand(value):  # through NumPy, which has nothing to compile for each new shape
        return bool(np.isfinite(np.asarray(value)).all())
    return bool(_all_finite(value))


@jax.jit
def _all_finite(value: Array) -> Bool[Array, ""]:
    return jnp.all(jnp.isfinite(value))


@jax.jit
def _symmetric(matrix: Array) -> Bool[Array, ""]:
    return jnp.all(matrix == matrix.T)
