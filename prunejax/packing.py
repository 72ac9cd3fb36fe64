"""Masks of one leaf in bits: eight weights per byte."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from prunejax.selecting import describe


def pack(mask: Bool[Array, "..."]) -> tuple[np.ndarray, np.ndarray]:
    """Packs a mask.

    Args:
      mask: bool, of any shape.

    Returns:
      Its bits, uint8, and its shape, int64.
    """
    return np.packbits(np.asarray(mask)), np.asarray(mask.shape, np.int64)


def unpack(bits: np.ndarray, shape: np.ndarray) -> Bool[Array, "..."]:
    """The mask that was packed.

    Args:
      bits: from ``pack``, maybe out of a damaged file.
      shape: likewise.

    Returns:
      The mask.

    Raises:
      ValueError: these are no bits and no shape, or not as many bits as the shape has places.
    """
    if bits.dtype != np.uint8 or bits.ndim != 1:
        raise ValueError(f"bits must be uint8 in one axis, got {describe(bits)}")
    if shape.dtype != np.int64 or shape.ndim != 1 or (shape < 0).any():
        raise ValueError(f"a shape must be int64 and not negative, got {describe(shape)}")
    size = math.prod(shape.tolist())
    if len(bits) != -(-size // 8):
        raise ValueError(f"a mask of shape {shape.tolist()} cannot have {len(bits)} bytes")
    return jnp.asarray(np.unpackbits(bits, count=size).astype(bool).reshape(shape))
