"""Wide residual networks for CIFAR."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths


class PreActivationBlock(nn.Module):
    """conv2(relu(norm2(conv1(a)))) + shortcut with a = relu(norm1(x)), both convolutions 3x3.

    The shortcut is x itself, or a 1x1 convolution of a where the block changes the shape.

    Args:
      mid_width: the channels between the two convolutions.
      width: the channels of the output.
      stride: the stride of the first convolution and of the shortcut.
      project: whether the shortcut is the convolution.
      dtype: the type to compute in.
    """

    mid_width: int
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
        active = nn.relu(norm(x, name="norm1"))
        y = conv(self.mid_width, 3, stride=self.stride, padding=1, name="conv1")(active)
        y = conv(self.width, 3, padding=1, name="conv2")(nn.relu(norm(y, name="norm2")))
        if self.project:
            x = conv(self.width, 1, stride=self.stride, name="shortcut")(active)
        return y + x


class WideResNet(nn.Module):
    """A stem, three stages of (depth - 4) / 6 pre-activation blocks, a mean, a classifier.

    Zagoruyko & Komodakis, "Wide Residual Networks" (2016), Table 1; the default is Wide-ResNet-28-2
    of Cunegatti et al. (2024), Appendix A.2 and Table 5, with 1,467,610 parameters. The first block
    of every stage has a 1x1 convolution for a shortcut, which reads what the block's first
    convolution reads; those of stages 2 and 3 halve the image. No dropout.

    Parameters are named ``stem``, ``stage1_block1/conv1``, ``stage1_block1/shortcut``, ...,
    ``norm``, ``classifier``.

    Args:
      num_classes: the number of logits.
      depth: the number of layers, 6n + 4.
      stem_width: the channels of the stem.
      stage_widths: the output channels of the blocks of each stage: 16k, 32k, 64k.
      block_widths: the channels between the two convolutions of each of the 3n blocks; None
        gives every block the width of its stage.
      dtype: the type to compute in; parameters and batch statistics stay float32.

    Raises:
      ValueError: the depth does not exist, or the widths are not positive, too few or too
        many.
    """

    num_classes: int = 10
    depth: int = 28
    stem_width: int = 16
    stage_widths: tuple[int, ...] = (32, 64, 128)
    block_widths: tuple[int, ...] | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_width("depth", self.depth)
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(
                f"depth must be 6n + 4 with n >= 1 (10, 16, 22, 28, 34, ...), got {self.depth}"
            )
        check_width("stem_width", self.stem_width)
        check_widths("stage_widths", self.stage_widths, 3, each="stage")
        if self.block_widths is not None:
            check_widths("block_widths", self.block_widths, (self.depth - 4) // 2, each="block")
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        blocks = range(1, (self.depth - 4) // 6 + 1)
        stages = [
            [f"stage{stage}_block{block}" for block in blocks]
            for stage in range(1, len(self.stage_widths) + 1)
        ]
        return {
            "stem_width": stays("stem"),
            "stage_widths": tuple(stays(f"{names[0]}/conv2") for names in stages),
            "block_widths": tuple(stays(f"{name}/conv1") for names in stages for name in names),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images of any size.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits.

        Raises:
          ValueError: ``x`` is not a batch of images.
        """
        check_image("WideResNet", x)
        count = (self.depth - 4) // 6
        x = layers.conv(self.stem_width, 3, padding=1, name="stem", dtype=self.dtype)(x)
        for stage, width in enumerate(self.stage_widths):
            for block in range(count):
                x = PreActivationBlock(
                    self.block_widths[stage * count + block] if self.block_widths else width,
                    width,
                    stride=2 if stage > 0 and block == 0 else 1,
                    project=block == 0,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x, train)
        x = nn.relu(layers.batch_norm(x, name="norm", train=train, dtype=self.dtype))
        return layers.classify(jnp.mean(x, axis=(1, 2)), self.num_classes, dtype=self.dtype)
