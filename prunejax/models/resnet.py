"""Residual networks for CIFAR."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax import names
from prunejax.models import layers
from prunejax.models.checks import check_image, check_width, check_widths
from prunejax.models.pads import check_pads, default_pads

SHORTCUTS = ("conv3x3", "conv1x1", "pad")


class BasicBlock(nn.Module):
    """relu(norm(conv2(relu(norm(conv1(x))))) + shortcut(x)), both convolutions 3x3.

    Args:
      mid_width: the channels between the two convolutions.
      width: the channels of the output.
      stride: the stride of the first convolution and of the shortcut.
      shortcut: "identity", "conv3x3", "conv1x1" or "pad".
      pads: for "pad", the zero channels put before and after those of the input.
      dtype: the type to compute in.
    """

    mid_width: int
    width: int
    stride: int = 1
    shortcut: str = "identity"
    pads: tuple[int, int] = (0, 0)
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
        y = conv(self.mid_width, 3, stride=self.stride, padding=1, name="conv1")(x)
        y = nn.relu(norm(y, name="conv1_norm"))
        y = conv(self.width, 3, padding=1, name="conv2")(y)
        y = norm(y, name="conv2_norm")
        if self.shortcut == "pad":
            x = x[:, :: self.stride, :: self.stride, :]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), self.pads))
        elif self.shortcut != "identity":
            size = 3 if self.shortcut == "conv3x3" else 1
            x = conv(self.width, size, stride=self.stride, padding=size // 2, name="shortcut")(x)
            x = norm(x, name="shortcut_norm")
        return nn.relu(y + x)


class ResNet(nn.Module):
    """A stem, three stages of (depth - 2) / 6 basic blocks, a global average, a classifier.

    He et al., "Deep Residual Learning for Image Recognition" (2016), Section 4.2. The first blocks
    of stages 2 and 3 halve the image and have one of three shortcuts; all other blocks, stage 1
    whole, add their input unchanged:

    - "conv3x3": a 3x3 convolution of stride 2 and batch norm, as counted in Yang et al.,
      "Entropy-Guided k-Core Pruning" (2025), Table 1: ResNet-56 has 876,250 parameters.
    - "conv1x1": the same with 1x1 kernels, He et al.'s option B.
    - "pad": every second pixel, and zeros for the new channels, half of them in front, He et al.'s
      option A without a parameter.

    Parameters are named ``stem``, ``stage2_block1/conv1``, ``stage2_block1/shortcut``, ...,
    ``classifier``.

    Args:
      num_classes: the number of logits.
      depth: the number of layers, 6n + 2.
      stem_width: the channels of the stem. Stage 1 adds to them, so they equal its own.
      stage_widths: the output channels of the blocks of each stage.
      block_widths: the channels between the two convolutions of each of the 3n blocks; None
        gives every block the width of its stage.
      shortcut: "conv3x3", "conv1x1" or "pad".
      shortcut_pads: for "pad", the zero channels before and after, of stage 2 and of stage 3, for
        a net that was pruned unevenly; None halves them, the smaller half in front.
      dtype: the type to compute in; parameters and batch statistics stay float32.

    Raises:
      ValueError: the depth or the shortcut does not exist, or the widths are not positive,
        too few, too many or do not fit together.
    """

    num_classes: int = 10
    depth: int = 20
    stem_width: int = 16
    stage_widths: tuple[int, ...] = (16, 32, 64)
    block_widths: tuple[int, ...] | None = None
    shortcut: str = "conv3x3"
    shortcut_pads: tuple[tuple[int, int], ...] | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_width("depth", self.depth)
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(
                f"depth must be 6n + 2 with n >= 1 (8, 14, 20, 26, 32, ...), got {self.depth}"
            )
        check_width("stem_width", self.stem_width)
        check_widths("stage_widths", self.stage_widths, 3, each="stage")
        if self.stem_width != self.stage_widths[0]:
            raise ValueError(
                "stem_width must equal stage_widths[0], because stage 1 adds its input unchanged; "
                f"got {self.stem_width} and {self.stage_widths[0]}"
            )
        if self.block_widths is not None:
            check_widths("block_widths", self.block_widths, (self.depth - 2) // 2, each="block")
        names.choose("shortcut", self.shortcut, SHORTCUTS)
        if self.shortcut_pads is not None and self.shortcut != "pad":
            raise ValueError(f"shortcut_pads needs shortcut='pad', got shortcut={self.shortcut!r}")
        if self.shortcut == "pad":
            check_pads(self.shortcut_pads, self.stage_widths)
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        blocks = range(1, (self.depth - 2) // 6 + 1)
        stages = [
            [f"stage{stage}_block{block}" for block in blocks]
            for stage in range(1, len(self.stage_widths) + 1)
        ]
        outputs = tuple(stays(f"{names[0]}/conv2") for names in stages)
        fields = {
            "stem_width": stays("stem"),
            "stage_widths": outputs,
            "block_widths": tuple(stays(f"{name}/conv1") for names in stages for name in names),
        }
        if self.shortcut == "pad":
            pads = self.shortcut_pads or default_pads(self.stage_widths)
            fields["shortcut_pads"] = tuple(
                (output[:front], output[output.size - behind :])
                for output, (front, behind) in zip(outputs[1:], pads, strict=True)
            )
        return fields

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
        check_image("ResNet", x)
        count = (self.depth - 2) // 6
        pads = self.shortcut_pads or default_pads(self.stage_widths)
        x = layers.conv(self.stem_width, 3, padding=1, name="stem", dtype=self.dtype)(x)
        x = nn.relu(layers.batch_norm(x, name="stem_norm", train=train, dtype=self.dtype))
        for stage, width in enumerate(self.stage_widths):
            for block in range(count):
                narrows = stage > 0 and block == 0
                x = BasicBlock(
                    self.block_widths[stage * count + block] if self.block_widths else width,
                    width,
                    stride=2 if narrows else 1,
                    shortcut=self.shortcut if narrows else "identity",
                    pads=pads[stage - 1] if narrows else (0, 0),
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x, train)
        return layers.classify(jnp.mean(x, axis=(1, 2)), self.num_classes, dtype=self.dtype)
