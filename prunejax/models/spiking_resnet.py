"""Spiking residual networks for CIFAR."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths
from prunejax.models.spiking import SpikingModule
from prunejax.neurons import fold

BLOCKS = (3, 3, 2)
"""The blocks of the three stages."""


class SpikingResNet19(SpikingModule):
    """Eight residual blocks of two 3x3 convolutions, pre-activated, and two dense layers.

    The sizes are those of Zheng et al., "Going deeper with directly-trained larger spiking neural
    networks" (2021), the order within a block that of He et al., "Identity mappings in deep
    residual networks" (2016), so that every kernel but the first reads spikes: ``x + conv2(fire(
    norm2(conv1(fire(norm1(x))))))``. Where the width or the size changes, ``shortcut``, a 1x1
    convolution, reads the spikes of ``fire(norm1(x))``.

    Parameters are named ``stem``, ``stage1_block1_norm1``, ``stage1_block1_conv1``, ...,
    ``last_norm``, ``hidden``, ``hidden_norm``, ``classifier``.

    Args:
      num_classes: the number of logits.
      stem_width: the channels of the stem.
      stage_widths: the output channels of the blocks of each stage.
      block_widths: the channels between the two convolutions of each of the eight blocks; None
        gives every block the width of its stage.
      head_width: the neurons of ``hidden``.
      dtype: the type to compute in; parameters and batch statistics stay float32.
      timesteps, decay, tau, threshold, surrogate, reset, detach_reset: see ``SpikingModule``.

    Raises:
      ValueError: widths are not positive, too few or too many, or do not fit together, or a setting
        of the neurons is out of range.
    """

    num_classes: int = 10
    stem_width: int = 128
    stage_widths: tuple[int, ...] = (128, 256, 512)
    block_widths: tuple[int, ...] | None = None
    head_width: int = 256
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_width("stem_width", self.stem_width)
        check_width("head_width", self.head_width)
        check_widths("stage_widths", self.stage_widths, len(BLOCKS), each="stage")
        if self.block_widths is not None:
            check_widths("block_widths", self.block_widths, sum(BLOCKS), each="block")
        if self.stem_width != self.stage_widths[0]:
            raise ValueError(
                "stem_width must equal stage_widths[0], because stage 1 adds its input unchanged; "
                f"got {self.stem_width} and {self.stage_widths[0]}"
            )
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        names = [name for stage in _blocks() for name in stage]
        return {
            "stem_width": stays("stem"),
            "stage_widths": tuple(stays(f"{stage[0]}_conv2") for stage in _blocks()),
            "block_widths": tuple(stays(f"{name}_conv1") for name in names),
            "head_width": stays("hidden"),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "... height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of any size, or frames of them with time on the first of five axes.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits, averaged over time.

        Raises:
          ValueError: ``x`` is not a batch of images.
        """
        x, frames = self.begin(x, 4)
        check_image("SpikingResNet19", x)
        conv = functools.partial(layers.conv, dtype=self.dtype)
        norm = functools.partial(layers.batch_norm, train=train, dtype=self.dtype)
        x = conv(self.stem_width, 3, padding=1, name="stem")(x)
        between = iter(self.block_widths or ())
        for stage, width in enumerate(self.stage_widths):
            for block, name in enumerate(_blocks()[stage]):
                narrows = stage > 0 and block == 0
                given = frames
                fired, frames = self.fire(norm(x, name=f"{name}_norm1"), frames)
                stride = 2 if narrows else 1
                mid = next(between, width)
                y = conv(mid, 3, stride=stride, padding=1, name=f"{name}_conv1")(fired)
                y, frames = self.fire(norm(y, name=f"{name}_norm2"), frames)
                y = conv(width, 3, padding=1, name=f"{name}_conv2")(y)
                if narrows:
                    x = conv(width, 1, stride=stride, name=f"{name}_shortcut")(fired)
                elif given is None:  # the stem's currents are the same at every step
                    x = fold(jnp.broadcast_to(x, (frames, *x.shape)))
                x = x + y
        x, frames = self.fire(norm(x, name="last_norm"), frames)
        x = layers.dense(self.head_width, name="hidden", dtype=self.dtype)(jnp.mean(x, axis=(1, 2)))
        x, frames = self.fire(norm(x, name="hidden_norm"), frames)
        return self.read_out(x, frames, self.num_classes, self.dtype)


def _blocks() -> list[list[str]]:
    """The names of the blocks of each stage."""
    return [
        [f"stage{stage}_block{block}" for block in range(1, count + 1)]
        for stage, count in enumerate(BLOCKS, start=1)
    ]
