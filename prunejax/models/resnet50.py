"""ResNet-50 for ImageNet."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_length, check_width, check_widths

STAGE_BLOCKS = (3, 4, 6, 3)


class BottleneckBlock(nn.Module):
    """relu(conv3(conv2(conv1(x))) + shortcut(x)): kernels 1x1, 3x3, 1x1, each with batch norm.

    Args:
      mid_widths: the channels after the first and after the second convolution.
      width: the channels of the output.
      stride: the stride of the 3x3 convolution and of the shortcut.
      project: whether the shortcut is a 1x1 convolution and batch norm, or the identity.
      dtype: the type to compute in.
    """

    mid_widths: tuple[int, int]
    width: int
    stride: int = 1
    project: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch new_height new_width new_channels"]:
        """Applies the block.

        Args:
          x: feature maps.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          Feature maps, height and width divided by the stride and rounded up.
        """
        conv = functools.partial(layers.conv, dtype=self.dtype)
        norm = functools.partial(layers.batch_norm, train=train, dtype=self.dtype)
        first, second = self.mid_widths
        y = nn.relu(norm(conv(first, 1, name="conv1")(x), name="conv1_norm"))
        y = conv(second, 3, stride=self.stride, padding=1, name="conv2")(y)
        y = nn.relu(norm(y, name="conv2_norm"))
        y = norm(conv(self.width, 1, name="conv3")(y), name="conv3_norm")
        if self.project:
            x = conv(self.width, 1, stride=self.stride, name="shortcut")(x)
            x = norm(x, name="shortcut_norm")
        return nn.relu(y + x)


class ResNet50(nn.Module):
    """A 7x7 stem, stages of 3, 4, 6 and 3 bottleneck blocks, a global average, a classifier.

    He et al., "Deep Residual Learning for Image Recognition" (2016), Table 1, in the form that
    torchvision calls v1.5: the stride stands in the 3x3 convolution. The first block of every stage
    has a 1x1 convolution for a shortcut. 25,557,032 parameters with 1000 classes.

    Parameters are named ``stem``, ``stage1_block1/conv1``, ``stage1_block1/shortcut``, ...,
    ``classifier``.

    Args:
      num_classes: the number of logits.
      stem_width: the channels of the stem.
      stage_widths: the output channels of the blocks of each stage.
      block_widths: the two inner widths of each of the 16 blocks; None makes both a quarter of
        the stage's width.
      dtype: the type to compute in; parameters and batch statistics stay float32.

    Raises:
      ValueError: the widths are not positive, too few or too many.
    """

    num_classes: int = 10
    stem_width: int = 64
    stage_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    block_widths: tuple[tuple[int, int], ...] | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_width("stem_width", self.stem_width)
        check_widths("stage_widths", self.stage_widths, 4, each="stage")
        if self.block_widths is not None:
            check_length("block_widths", self.block_widths, sum(STAGE_BLOCKS), each="block")
            for position, pair in enumerate(self.block_widths):
                check_widths(f"block_widths[{position}]", pair, 2, each="inner convolution")
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        stages = [
            [f"stage{stage}_block{block}" for block in range(1, count + 1)]
            for stage, count in enumerate(STAGE_BLOCKS, start=1)
        ]
        return {
            "stem_width": stays("stem"),
            "stage_widths": tuple(stays(f"{names[0]}/conv3") for names in stages),
            "block_widths": tuple(
                (stays(f"{name}/conv1"), stays(f"{name}/conv2"))
                for names in stages
                for name in names
            ),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of any size; the paper's are 224x224.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits.

        Raises:
          ValueError: ``x`` is not a batch of images.
        """
        check_image("ResNet50", x)
        x = layers.conv(self.stem_width, 7, stride=2, padding=3, name="stem", dtype=self.dtype)(x)
        x = nn.relu(layers.batch_norm(x, name="stem_norm", train=train, dtype=self.dtype))
        # linen documents pairs of integers, but annotates only the strings
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
        index = 0
        for stage, (width, count) in enumerate(zip(self.stage_widths, STAGE_BLOCKS, strict=True)):
            for block in range(count):
                quarter = max(1, width // 4)
                x = BottleneckBlock(
                    self.block_widths[index] if self.block_widths else (quarter, quarter),
                    width,
                    stride=2 if stage > 0 and block == 0 else 1,
                    project=block == 0,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x, train)
                index += 1
        return layers.classify(jnp.mean(x, axis=(1, 2)), self.num_classes, dtype=self.dtype)
