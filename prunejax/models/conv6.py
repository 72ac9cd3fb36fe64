"""Conv-6, the small VGG of the lottery-ticket papers."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths


class Conv6(nn.Module):
    """Six 3x3 convolutions, a 2x2 max pool after every second, then two hidden dense layers.

    Cunegatti et al., "Understanding Sparse Neural Networks from their Topology via Multipartite
    Graph Representations" (2024), Appendix A.2 and Table 5; first in Frankle & Carbin (2019). Batch
    norm and ReLU follow every convolution and every hidden dense layer; all of them have biases, as
    in the authors' code. Table 5 prints a "Conv 1" of 16 channels in front, which is the ResNets'.
    2,265,418 parameters on 32x32x3.

    Args:
      num_classes: the number of logits.
      conv_widths: the channels of ``conv1`` to ``conv6``.
      hidden_widths: the units of ``hidden1`` and ``hidden2``.
      dtype: the type to compute in; parameters and batch statistics stay float32.

    Raises:
      ValueError: there are not six and two positive widths.
    """

    num_classes: int = 10
    conv_widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256)
    hidden_widths: tuple[int, ...] = (256, 256)
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("conv_widths", self.conv_widths, 6, each="convolution")
        check_widths("hidden_widths", self.hidden_widths, 2, each="hidden layer")
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        return {
            "conv_widths": tuple(stays(f"conv{position}") for position in range(1, 7)),
            "hidden_widths": (stays("hidden1"), stays("hidden2")),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of at least 8x8. The shape of ``hidden1/kernel`` depends on their size.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits.

        Raises:
          ValueError: the images are smaller.
        """
        check_image("Conv6", x, smallest=8)
        norm = functools.partial(layers.batch_norm, train=train, dtype=self.dtype)
        for position, width in enumerate(self.conv_widths, start=1):
            name = f"conv{position}"
            x = layers.conv(width, 3, padding=1, use_bias=True, name=name, dtype=self.dtype)(x)
            x = nn.relu(norm(x, name=f"{name}_norm"))
            if position % 2 == 0:
                x = layers.max_pool(x)
        x = layers.flatten(x)
        for position, width in enumerate(self.hidden_widths, start=1):
            name = f"hidden{position}"
            x = layers.dense(width, name=name, dtype=self.dtype)(x)
            x = nn.relu(norm(x, name=f"{name}_norm"))
        return layers.classify(x, self.num_classes, dtype=self.dtype)
