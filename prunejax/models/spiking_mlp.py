"""Spiking multilayer perceptrons."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_width, check_widths
from prunejax.models.spiking import SpikingModule


class SpikingMLP(SpikingModule):
    """Dense layers with spiking neurons: ``hidden1``, ``hidden2``, ..., ``classifier``.

    Args:
      num_classes: the number of logits.
      hidden_widths: the neurons of each hidden layer.
      dtype: the type to compute in; parameters stay float32.
      timesteps, decay, tau, threshold, surrogate, reset, detach_reset: see ``SpikingModule``.

    Raises:
      ValueError: a width is not a positive integer, or a setting of the neurons is out of range.
    """

    num_classes: int = 10
    hidden_widths: tuple[int, ...] = (256, 256)
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("hidden_widths", self.hidden_widths)
        if not self.hidden_widths:
            raise ValueError("hidden_widths must name at least one layer of neurons, got ()")
        super().__post_init__()

    def width_fields(self, stays: Callable[[str], np.ndarray]) -> dict[str, Any]:
        """The fields that are widths, for ``prunejax.models.resized``.

        Args:
          stays: a layer's name -> which of its output channels stay, a bool array, [channels].

        Returns:
          The fields; in place of each number the bool array of the channels that it counts.
        """
        positions = range(1, len(self.hidden_widths) + 1)
        return {"hidden_widths": tuple(stays(f"hidden{position}") for position in positions)}

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch ..."], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Applies the network.

        Args:
          x: images, [batch, height, width, channels] (or vectors, [batch, units]), or frames with
            time on the first of five axes.
          train: changes nothing; every model takes it.

        Returns:
          The logits, averaged over time.

        Raises:
          ValueError: ``x`` has no axis but the batch.
        """
        del train
        if x.ndim < 2:
            raise ValueError(
                f"SpikingMLP takes (batch, ...) with two axes or more, got shape {x.shape}"
            )
        x, frames = self.begin(x, 4)
        x = layers.flatten(x)
        for position, width in enumerate(self.hidden_widths, start=1):
            x = layers.dense(width, name=f"hidden{position}", dtype=self.dtype)(x)
            x, frames = self.fire(x, frames)
        return self.read_out(x, frames, self.num_classes, self.dtype)
