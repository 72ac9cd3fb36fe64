"""Standardising images by the mean and standard deviation of each channel."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Num, UInt8


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel over all pixels, on the 0..1 scale.

    Attributes:
      mean: float32 [channels].
      std: float32 [channels], the population's (divided by the count, not the count less one).
    """

    mean: Float[Array | np.ndarray, " c"]
    std: Float[Array | np.ndarray, " c"]


def normalize(
    images: Num[Array | np.ndarray, "... h w c"],
    statistics: Statistics,
    maximum: float | int = 255,
) -> Float32[Array | np.ndarray, "... h w c"]:
    """Standardises raw images: ``(images / maximum - mean) / std``, channel by channel.

    NumPy images give a NumPy array; JAX arrays, traced ones too, give a JAX array, so that a data
    set can live on the device as uint8 and become float32 inside the jitted step.

    Args:
      images: raw pixels in 0..maximum, any number of leading axes, channels last.
      statistics: of the data set, from ``statistics``.
      maximum: the largest raw value, ``Info.maximum``.

    Returns:
      The standardised images, float32, of the same shape.

    Raises:
      ValueError: ``images`` has fewer than three axes, the statistics are for another number of
        channels, or ``maximum`` is not positive.
    """
    if images.ndim < 3:
        raise ValueError(f"images must be [..., height, width, channels], got shape {images.shape}")
    height, width, channels = images.shape[-3:]
    shapes = np.shape(statistics.mean), np.shape(statistics.std)
    if shapes != ((channels,), (channels,)):
        raise ValueError(
            f"images of {channels} channels need mean and std of shape ({channels},), "
            f"got {shapes[0]} and {shapes[1]}"
        )
    if maximum <= 0:
        raise ValueError(f"maximum must be positive, got {maximum}")
    xp = np if isinstance(images, np.ndarray) else jnp
    mean, std = (xp.asarray(value, xp.float32) for value in statistics)
    # One factor a pixel, not a channel: NumPy broadcasts over a last axis of 3 eight times slower.
    scale = xp.tile(1 / (maximum * std), (height, width, 1))
    offset = xp.tile(mean / std, (height, width, 1))
    return images.astype(xp.float32) * scale - offset


def measure(images: UInt8[np.ndarray, "n h w c"], maximum: int) -> Statistics:
    """The statistics of raw images, from exact integer sums.

    Args:
      images: raw pixels in 0..maximum.
      maximum: the raw value that stands for 1.

    Returns:
      Mean and standard deviation of each channel.
    """
    count = images.size // images.shape[-1]
    total = images.sum(axis=0, dtype=np.int64).sum(axis=(0, 1))
    squares = np.square(images, dtype=np.uint16).sum(axis=0, dtype=np.int64).sum(axis=(0, 1))
    mean = total / count
    variance = squares / count - mean**2
    return Statistics(
        (mean / maximum).astype(np.float32), (np.sqrt(variance) / maximum).astype(np.float32)
    )
