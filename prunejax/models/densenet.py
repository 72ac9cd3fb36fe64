"""Densely connected networks for CIFAR."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_image, check_length, check_width, check_widths


class NormReluConv(nn.Module):
    """conv(relu(norm(x))): a layer of a dense block (3x3), or the first half of a transition (1x1).

    Args:
      width: the channels of the output.
      size: the side of the kernel, odd; the image keeps its size.
      dtype: the type to compute in.
    """

    width: int
    size: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch height width new_channels"]:
        """Applies the layer.

        Args:
          x: feature maps.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          Feature maps of the same height and width.
        """
        x = nn.relu(layers.batch_norm(x, name="norm", train=train, dtype=self.dtype))
        return layers.conv(
            self.width, self.size, padding=self.size // 2, name="conv", dtype=self.dtype
        )(x)


class DenseNet(nn.Module):
    """Blocks in which every layer reads all earlier outputs of the block, side by side.

    Huang et al., "Densely Connected Convolutional Networks" (2017), Section 3; the default is
    DenseNet-40 of Yang et al., "Entropy-Guided k-Core Pruning" (2025), Table 1: three blocks of
    twelve layers, growth 12, a stem of 24 channels, no bottleneck, no compression, and 1,059,298
    parameters. Between two blocks a transition mixes the channels (1x1) and halves the image (2x2
    average pool).

    Parameters are named ``stem``, ``block1_layer1/norm``, ``block1_layer1/conv``,
    ``transition1/norm``, ``transition1/conv``, ..., ``norm``, ``classifier``.

    Args:
      num_classes: the number of logits.
      stem_width: the channels of the stem.
      growths: for each block, the channels that each of its layers adds.
      transition_widths: the channels after each transition, one fewer than there are blocks;
        None keeps the number of channels.
      dtype: the type to compute in; parameters and batch statistics stay float32.

    Raises:
      ValueError: the widths are not positive, too few or too many.
    """

    num_classes: int = 10
    stem_width: int = 24
    growths: tuple[tuple[int, ...], ...] = ((12,) * 12,) * 3
    transition_widths: tuple[int, ...] | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_width("stem_width", self.stem_width)
        check_length("growths", self.growths, each="block")
        if not self.growths:
            raise ValueError("growths must have at least one block, got ()")
        for position, growths in enumerate(self.growths):
            check_widths(f"growths[{position}]", growths)
        if self.transition_widths is not None:
            check_widths(
                "transition_widths",
                self.transition_widths,
                len(self.growths) - 1,
                each="transition",
            )
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        return {
            "stem_width": stays("stem"),
            "growths": tuple(
                tuple(
                    stays(f"block{block}_layer{position}/conv")
                    for position in range(1, len(growths) + 1)
                )
                for block, growths in enumerate(self.growths, start=1)
            ),
            "transition_widths": tuple(
                stays(f"transition{block}/conv") for block in range(1, len(self.growths))
            ),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images that the transitions can halve: at least 4x4 with three blocks.
          train: whether batch norm uses and records the statistics of the batch.

        Returns:
          The logits.

        Raises:
          ValueError: the images are smaller.
        """
        check_image("DenseNet", x, smallest=2 ** (len(self.growths) - 1))
        layer = functools.partial(NormReluConv, dtype=self.dtype)
        x = layers.conv(self.stem_width, 3, padding=1, name="stem", dtype=self.dtype)(x)
        for block, growths in enumerate(self.growths, start=1):
            for position, growth in enumerate(growths, start=1):
                y = layer(growth, 3, name=f"block{block}_layer{position}")(x, train)
                x = jnp.concatenate([x, y], axis=-1)
            if block < len(self.growths):
                widths = self.transition_widths
                width = x.shape[-1] if widths is None else widths[block - 1]
                x = layer(width, 1, name=f"transition{block}")(x, train)
                x = layers.average_pool(x)
        x = nn.relu(layers.batch_norm(x, name="norm", train=train, dtype=self.dtype))
        return layers.classify(jnp.mean(x, axis=(1, 2)), self.num_classes, dtype=self.dtype)
