"""Multilayer perceptrons."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_width, check_widths


class MLP(nn.Module):
    """Dense layers with ReLU between them: ``hidden1``, ``hidden2``, ..., ``classifier``.

    LeNet-300-100 is ``hidden_widths=(300, 100)`` (LeCun et al., "Gradient-Based Learning Applied to
    Document Recognition", 1998, Section III.C); 784-1000-1000-1000-10 is the network of Sulyok et
    al., "Robustness in sparse artificial neural networks trained with adaptive topology" (2026).

    Args:
      num_classes: the number of logits.
      hidden_widths: the units of each hidden layer; the empty tuple is logistic regression.
      dtype: the type to compute in; parameters stay float32.

    Raises:
      ValueError: a width is not a positive integer.
    """

    num_classes: int = 10
    hidden_widths: tuple[int, ...] = (256, 128)
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("hidden_widths", self.hidden_widths)
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
          x: images or vectors; all axes but the first are flattened.
          train: changes nothing; every model takes it.

        Returns:
          The logits.

        Raises:
          ValueError: ``x`` has no axis but the batch.
        """
        del train
        if x.ndim < 2:
            raise ValueError(f"MLP takes (batch, ...) with two axes or more, got shape {x.shape}")
        x = layers.flatten(x)
        for position, width in enumerate(self.hidden_widths, start=1):
            x = nn.relu(layers.dense(width, name=f"hidden{position}", dtype=self.dtype)(x))
        return layers.classify(x, self.num_classes, dtype=self.dtype)
