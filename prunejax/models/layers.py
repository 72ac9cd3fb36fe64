"""The layers that the models share: one initialiser, one batch norm, one way to end.

All kernels start from He et al.'s normal distribution ("Delving Deep into Rectifiers", 2015,
Eq. 10), N(0, 2 / fan_in); biases start at 0. Parameters are float32 whatever ``dtype`` is;
``dtype`` is what a layer computes in, None leaving it to the input.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def conv(
    features: int,
    size: int,
    *,
    name: str,
    stride: int = 1,
    padding: int = 0,
    use_bias: bool = False,
    dtype: Any = None,
) -> nn.Conv:
    """A square convolution, without a bias unless asked: a batch norm mostly follows.

    Args:
      features: the number of output channels.
      size: the side of the kernel.
      name: the name of the layer in the parameter tree.
      stride: the step in both directions.
      padding: the zeros added on each of the four sides.
      use_bias: whether to add a bias.
      dtype: the type to compute in.

    Returns:
      The layer, (batch, height, width, channels) -> (batch, height', width', features).
    """
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=padding,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kaiming_normal,
        name=name,
    )


def dense(features: int, *, name: str, dtype: Any = None) -> nn.Dense:
    """A fully connected layer with a bias.

    Args:
      features: the number of output units.
      name: the name of the layer in the parameter tree.
      dtype: the type to compute in.

    Returns:
      The layer, (batch, units) -> (batch, features).
    """
    return nn.Dense(features, dtype=dtype, kernel_init=kaiming_normal, name=name)


def batch_norm(
    x: Float[Array, "batch ... features"], *, name: str, train: bool, dtype: Any = None
) -> Float[Array, "batch ... features"]:
    """Batch norm over all axes but the last; its averages stay in float32 under any ``dtype``.

    Args:
      x: what to normalise.
      name: the name of the layer in the parameter tree and in ``batch_stats``.
      train: whether to normalise by the batch and update the running averages, which keep 0.9 of
        their old value at each step, or to normalise by the running averages.
      dtype: the type of the output.

    Returns:
      An array of the same shape.
    """
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)
    # linen mixes a half-precision input with its float32 averages, which strict dtype promotion
    # refuses; normalising in float32 and rounding once is what it comes to
    return norm(at_least_float32(x)).astype(x.dtype if dtype is None else dtype)


def max_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch h w channels"]:
    """The maximum of each 2x2 square; an odd last row or column is dropped.

    Args:
      x: feature maps.

    Returns:
      Feature maps of half the height and width.
    """
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def average_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch h w channels"]:
    """The mean of each 2x2 square; an odd last row or column is dropped.

    Args:
      x: feature maps.

    Returns:
      Feature maps of half the height and width.
    """
    # nn.avg_pool divides by an integer array, which strict dtype promotion refuses
    return nn.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID") / 4


def classify(
    x: Float[Array, "batch units"], num_classes: int, *, dtype: Any = None
) -> Float[Array, "batch classes"]:
    """The last layer of every model: dense, named ``classifier``, its output float32 at least.

    Args:
      x: the features.
      num_classes: the number of logits.
      dtype: the type to compute in.

    Returns:
      The logits. A loss on half-precision logits would lose the small probabilities.
    """
    return at_least_float32(dense(num_classes, name="classifier", dtype=dtype)(x))


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The same values in float32, or in their own type where that is no narrower.

    Args:
      x: any array of floating-point numbers.

    Returns:
      An array of the same shape.
    """
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def flatten(x: Float[Array, "batch ..."]) -> Float[Array, "batch units"]:
    """All axes but the first in one, the last axis fastest.

    Args:
      x: an array with a leading batch axis.

    Returns:
      The same values, (batch, units).
    """
    return x.reshape(x.shape[0], -1)
