"""Perceptual hashes of feature maps: which low frequencies are strong."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from prunejax import names
from prunejax.filters import checks
from prunejax.filters.precision import at_least_single, have_one_value, to_safe_range

Hash = Literal["dct", "imagehash"]

SIDE = 8
"""A hash is made of at most 8 x 8 frequencies."""

RESIZED = 32
"""The side that the package imagehash resizes to."""

NOISE = 32
"""Frequencies so many rounding errors small, next to the largest, are 0."""

LANCZOS = 3.0
"""The reach of the Lanczos kernel, in pixels of the coarser grid."""


def perceptual_hash(
    maps: Float[Array, "images height width channels"], *, hash: Hash = "dct"
) -> Bool[Array, "images bits channels"]:
    """Hashes each feature map to bits: which of its lowest frequencies are above their mean.

    With ``C = D_h X D_w^T``, ``D[q, x] = 2 cos(pi q (2x + 1) / (2N))`` (the unnormalised DCT-II),
    the bits are ``C[:k_h, :k_w] >= mean(C[:k_h, :k_w])``, the constant frequency included;
    ``k_h = min(8, height)``, ``k_w = min(8, width)``. This is the ``sim`` of Eq. 1 in Yang et al.
    2025 (doi 10.23967/j.rimni.2025.10.73400), who take it from Li et al. 2023
    (doi 10.1016/j.patrec.2022.12.028).

    A map of 1 x 1 carries no hash, its one frequency being its own mean (``is_hashable`` asks
    without raising). A constant map carries the sign of its value only; ``constant_channels``
    finds those.

    Args:
      maps: the outputs of a layer's filters.
      hash: "dct", or "imagehash" for what the Python package of that name does (on floats, not on
        bytes): maps are first resized to 32 x 32 (Lanczos), and a bit says that a frequency is
        strictly above the block's median. It always has 64 bits. What only rounding keeps from 0
        is 0, so that constant maps, and those that vary along one axis alone, hash alike wherever
        they are computed.

    Returns:
      The bits, ``k_h k_w`` of them, row by row.

    Raises:
      ValueError: ``maps`` has another rank, is not floating point or not finite, its maps are
        1 x 1, or each of its channels is constant; ``hash`` is unknown.

    >>> perceptual_hash(jax.random.normal(jax.random.key(0), (10, 16, 16, 3))).shape
    (10, 64, 3)
    """
    checks.feature_maps(maps)
    names.choose("hash", hash, get_args(Hash))
    if not is_hashable(maps):
        raise ValueError(
            f"1 x 1 maps carry no perceptual hash: skip this layer (got shape {list(maps.shape)})"
        )
    if checks.is_concrete(maps) and np.all(constant_channels(maps)):
        raise ValueError("every channel of these maps is constant: their hashes say nothing")
    return _hash(maps, hash)


def is_hashable(maps: Float[Array, "images height width channels"]) -> bool:
    """Whether maps of this shape carry a hash: they do unless they are 1 x 1."""
    return maps.shape[1] * maps.shape[2] > 1


@jax.jit
def constant_channels(
    maps: Float[Array, "images height width channels"],
) -> Bool[Array, " channels"]:
    """Which channels have one value at all places of all images: dead filters, mostly."""
    equal = jnp.max(maps, axis=(0, 1, 2)) == jnp.min(maps, axis=(0, 1, 2))
    # XLA takes denormal numbers for 0: where all are 0 to it, their bits tell
    return jax.lax.cond(
        jnp.any(equal), lambda: equal & have_one_value(at_least_single(maps)), lambda: equal
    )


@partial(jax.jit, static_argnames=("hash",))
def _hash(maps: Array, hash: Hash) -> Array:
    maps = to_safe_range(at_least_single(maps), (1, 2))  # no bit changes, no sum overflows
    images, height, width, channels = maps.shape
    rows = _frequencies(height, hash)
    columns = _frequencies(width, hash)
    # A constant map has one frequency alone; any other would be what rounding leaves of it.
    level = maps[:, :1, :1] if hash == "imagehash" else jnp.zeros((), maps.dtype)
    maps = maps - level
    # Two batched products in the order that the maps lie in memory: nothing is transposed.
    block = _product(rows, maps.reshape(images, height, width * channels))
    block = _product(columns, block.reshape(images * len(rows), width, channels))
    block = block.reshape(images, len(rows) * len(columns), channels)
    if hash == "dct":
        return block >= jnp.mean(block, axis=1, keepdims=True)
    smallest = NOISE * jnp.finfo(block.dtype).eps * jnp.max(jnp.abs(block), axis=1, keepdims=True)
    block = jnp.where(jnp.abs(block) <= smallest, 0, block)
    gain = rows[0].sum() * columns[0].sum()  # how a level enters the constant frequency
    block = block.at[:, 0].add(level[:, 0, 0] * gain.astype(block.dtype))
    return block > jnp.median(block, axis=1, keepdims=True)


def _product(matrix: np.ndarray, stack: Array) -> Array:
    batched = jnp.broadcast_to(jnp.asarray(matrix, stack.dtype), (len(stack), *matrix.shape))
    return jnp.matmul(batched, stack, precision=jax.lax.Precision.HIGHEST)


def _frequencies(size: int, hash: Hash) -> np.ndarray:
    """The matrix from a line of pixels to the frequencies that are kept."""
    if hash == "dct":
        return dct_rows(size, min(SIDE, size))
    return dct_rows(RESIZED, SIDE) @ _lanczos(size, RESIZED)


def dct_rows(size: int, kept: int) -> np.ndarray:
    """The first rows of the matrix of the unnormalised DCT-II.

    ``scipy.fft.dct`` of the unit matrix differs from this formula in its last bits at every size
    from 2 to 64 (``python -m benchmarks libraries`` counts them), and a bit of a hash that is near
    its threshold may differ with it.

    Args:
      size: how many pixels a line has.
      kept: how many frequencies are kept, the lowest ones.

    Returns:
      The matrix from a line of pixels to its frequencies, float64, [kept, size].
    """
    frequency = np.arange(kept)[:, None]
    return 2 * np.cos(np.pi * frequency * (2 * np.arange(size) + 1) / (2 * size))


def _lanczos(size: int, resized: int) -> np.ndarray:
    """Resampling as Pillow does it: the kernel is as wide as the coarser of the two grids."""
    scale = size / resized
    centres = (np.arange(resized)[:, None] + 0.5) * scale
    distance = (np.arange(size) + 0.5 - centres) / max(scale, 1)
    weights = np.sinc(distance) * np.sinc(distance / LANCZOS) * (np.abs(distance) < LANCZOS)
    return weights / np.sum(weights, axis=1, keepdims=True)
