"""The layers that the models share: one initialiser, one batch norm, one way to end.

All kernels start from He et al.'s normal distribution ("Delving Deep into Rectifiers", 2015,
Eq. 10), N(0, 2 / fan_in); biases start at 0. Parameters are float32 whatever `dtype` is; `dtype` is
what a layer computes in, None leaving it to the input.
"""

from typing import Any

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


def batch_norm(*, name: str, train: bool, dtype: Any = None) -> nn.BatchNorm:
    """Batch norm over all axes but the last; its averages stay in float32 under any `dtype`.

    Args:
        name: the name of the layer in the parameter tree and in `batch_stats`.
        train: whether to normalise by the batch and update the running averages, which keep 0.9 of
            their old value at each step, or to normalise by the running averages.
        dtype: the type of the output.

    Returns:
        The layer, which keeps the shape of its input.
    """
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name
    )


def classify(
    x: Float[Array, "batch units"], num_classes: int, *, dtype: Any = None
) -> Float[Array, "batch classes"]:
    """The last layer of every model: dense, named `classifier`, its output float32 at least.

    Args:
        x: the features.
        num_classes: the number of logits.
        dtype: the type to compute in.

    Returns:
        The logits. A loss on half-precision logits would lose the small probabilities.
    """
    logits = dense(num_classes, name="classifier", dtype=dtype)(x)
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def flatten(x: Float[Array, "batch ..."]) -> Float[Array, "batch units"]:
    """All axes but the first in one, the last axis fastest.

    Args:
        x: an array with a leading batch axis.

    Returns:
        The same values, (batch, units).
    """
    return x.reshape(x.shape[0], -1)
