"""VGG-16 for CIFAR."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths

POOL_AFTER = (2, 4, 7, 10)


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions with batch norm, four max pools, an average pool, one hidden layer.

    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
    (2014), Table 1, column D, in the CIFAR form of Yang et al., "Entropy-Guided k-Core Pruning"
    (2025), Table 1: convolutions with biases, a 2x2 average pool at the end, a head of
    dense + batch norm + ReLU + dense. 14,991,946 parameters on 32x32x3 with 10 classes.

    Args:
      num_classes: the number of logits.
      widths: the channels of ``conv1`` to ``conv13``.
      head_width: the units of ``hidden``.
      dtype: the type to compute in; parameters and batch statistics stay float32.

    Raises:
      ValueError: there are not thirteen positive widths, or another width is not positive.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    head_width: int = 512
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("widths", self.widths, 13, each="convolution")
        check_width("head_width", self.head_width)
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        return {
            "widths": tuple(stays(f"conv{position}") for position in range(1, 14)),
            "head_width": stays("hidden"),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of at least 32x32, which five halvings bring to 1x1. From 64x64 on the shape
            of ``hidden/kernel`` grows with them.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits.

        Raises:
          ValueError: the images are smaller.
        """
        check_image("VGG16", x, smallest=32)
        norm = functools.partial(layers.batch_norm, train=train, dtype=self.dtype)
        for position, width in enumerate(self.widths, start=1):
            name = f"conv{position}"
            x = layers.conv(width, 3, padding=1, use_bias=True, name=name, dtype=self.dtype)(x)
            x = nn.relu(norm(x, name=f"{name}_norm"))
            if position in POOL_AFTER:
                x = layers.max_pool(x)
        x = layers.flatten(layers.average_pool(x))
        x = layers.dense(self.head_width, name="hidden", dtype=self.dtype)(x)
        x = nn.relu(norm(x, name="hidden_norm"))
        return layers.classify(x, self.num_classes, dtype=self.dtype)
