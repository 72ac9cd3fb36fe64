"""Spiking VGG-16 for CIFAR."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths
from prunejax.models.spiking import SpikingModule
from prunejax.models.vgg import POOL_AFTER


class SpikingVGG16(SpikingModule):
    """``VGG16`` with spiking neurons in the place of ReLU, and average pools.

    Thirteen 3x3 convolutions with batch norm, joint over time, five pools, one hidden layer.
    Average pools pass on how many neurons fired, where a maximum would only say that one did.

    Args:
      num_classes: the number of logits.
      widths: the channels of ``conv1`` to ``conv13``.
      head_width: the neurons of ``hidden``.
      dtype: the type to compute in; parameters and batch statistics stay float32.
      timesteps, decay, tau, threshold, surrogate, reset, detach_reset: see ``SpikingModule``.

    Raises:
      ValueError: there are not thirteen positive widths, or a setting of the neurons is out of
        range.
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
        self, x: Float[Array, "... height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of at least 32x32, or frames of them with time on the first of five axes. From
            64x64 on the shape of ``hidden/kernel`` grows with them.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits, averaged over time.

        Raises:
          ValueError: the images are smaller.
        """
        x, frames = self.begin(x, 4)
        check_image("SpikingVGG16", x, smallest=32)
        norm = functools.partial(layers.batch_norm, train=train, dtype=self.dtype)
        for position, width in enumerate(self.widths, start=1):
            name = f"conv{position}"
            x = layers.conv(width, 3, padding=1, name=name, dtype=self.dtype)(x)
            x, frames = self.fire(norm(x, name=f"{name}_norm"), frames)
            if position in (*POOL_AFTER, 13):
                x = self.pool(x)
        x = layers.dense(self.head_width, name="hidden", dtype=self.dtype)(layers.flatten(x))
        x, frames = self.fire(norm(x, name="hidden_norm"), frames)
        return self.read_out(x, frames, self.num_classes, self.dtype)
