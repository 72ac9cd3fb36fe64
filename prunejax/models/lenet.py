"""LeNet-5."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax import names
from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths

POOLS = {"max": layers.max_pool, "avg": layers.average_pool}


class LeNet5(nn.Module):
    """Two 5x5 convolutions, each with ReLU and a 2x2 pool, then two hidden dense layers.

    LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), Fig. 2, in
    today's form: ReLU, max pooling, the second convolution fully connected, a dense read-out. The
    first convolution pads by 2, so that 28x28 images play the part of the paper's 32x32. 61,706
    parameters on 28x28x1.

    Args:
      num_classes: the number of logits.
      conv_widths: the channels of ``conv1`` and ``conv2``.
      hidden_widths: the units of ``hidden1`` and ``hidden2``.
      pool: "max" or "avg".
      dtype: the type to compute in; parameters stay float32.

    Raises:
      ValueError: there are not two and two positive widths, or the pool is unknown.
    """

    num_classes: int = 10
    conv_widths: tuple[int, ...] = (6, 16)
    hidden_widths: tuple[int, ...] = (120, 84)
    pool: str = "max"
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("conv_widths", self.conv_widths, 2, each="convolution")
        check_widths("hidden_widths", self.hidden_widths, 2, each="hidden layer")
        names.choose("pool", self.pool, POOLS)
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        return {
            "conv_widths": (stays("conv1"), stays("conv2")),
            "hidden_widths": (stays("hidden1"), stays("hidden2")),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of at least 12x12. The shape of ``hidden1/kernel`` depends on their size.
          train: changes nothing; every model takes it.

        Returns:
          The logits.

        Raises:
          ValueError: the images are smaller.
        """
        del train
        check_image("LeNet5", x, smallest=12)
        for position, (width, padding) in enumerate(
            zip(self.conv_widths, (2, 0), strict=True), start=1
        ):
            x = layers.conv(
                width,
                5,
                padding=padding,
                use_bias=True,
                name=f"conv{position}",
                dtype=self.dtype,
            )(x)
            x = POOLS[self.pool](nn.relu(x))
        x = layers.flatten(x)
        for position, width in enumerate(self.hidden_widths, start=1):
            x = nn.relu(layers.dense(width, name=f"hidden{position}", dtype=self.dtype)(x))
        return layers.classify(x, self.num_classes, dtype=self.dtype)
