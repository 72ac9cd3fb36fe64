"""A small spiking convolutional network."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths
from prunejax.models.spiking import SpikingModule


class SpikingConv(SpikingModule):
    """3x3 convolutions, each with spiking neurons and a 2x2 average pool, and one hidden layer.

    With its defaults 32C3-AP-64C3-AP-128-10, in the field's notation: ``conv1``, ``conv2``,
    ``hidden``, ``classifier``.

    Args:
      num_classes: the number of logits.
      widths: the channels of the convolutions.
      head_width: the neurons of ``hidden``.
      normalize: whether batch norm, joint over time, stands before neurons; without it kernels have
        biases.
      dtype: the type to compute in; parameters and batch statistics stay float32.
      timesteps, decay, tau, threshold, surrogate, reset, detach_reset: see ``SpikingModule``.

    Raises:
      ValueError: a width is not a positive integer, or a setting of the neurons is out of range.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (32, 64)
    head_width: int = 128
    normalize: bool = True
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("widths", self.widths, each="convolution")
        check_width("head_width", self.head_width)
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        positions = range(1, len(self.widths) + 1)
        return {
            "widths": tuple(stays(f"conv{position}") for position in positions),
            "head_width": stays("hidden"),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "... height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images, or frames with time on the first of five axes; of a size that the pools leave
            something of. The shape of ``hidden/kernel`` depends on it.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits, averaged over time.

        Raises:
          ValueError: the images are smaller.
        """
        x, frames = self.begin(x, 4)
        check_image("SpikingConv", x, smallest=2 ** len(self.widths))
        norm = functools.partial(layers.batch_norm, train=train, dtype=self.dtype)
        for position, width in enumerate(self.widths, start=1):
            name = f"conv{position}"
            conv = functools.partial(layers.conv, width, 3, padding=1, name=name)
            x = conv(use_bias=not self.normalize, dtype=self.dtype)(x)
            x = norm(x, name=f"{name}_norm") if self.normalize else x
            x, frames = self.fire(x, frames)
            x = self.pool(x)
        x = layers.dense(self.head_width, name="hidden", dtype=self.dtype)(layers.flatten(x))
        x = norm(x, name="hidden_norm") if self.normalize else x
        x, frames = self.fire(x, frames)
        return self.read_out(x, frames, self.num_classes, self.dtype)
