"""Multilayer perceptrons."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_width, check_widths


class MLP(nn.Module):
    """Dense layers with ReLU between them: `hidden1`, `hidden2`, ..., `classifier`.

    LeNet-300-100 is `hidden_widths=(300, 100)` (LeCun et al., "Gradient-Based Learning Applied to
    Document Recognition", 1998, Section III.C); 784-1000-1000-1000-10 is the network of Sulyok et
    al., "Robustness in sparse artificial neural networks trained with adaptive topology" (2026).

    Args:
        num_classes: the number of logits.
        hidden_widths: the units of each hidden layer; the empty tuple is logistic regression.
        dtype: the type to compute in; parameters stay float32.

    Raises:
        ValueError: if a width is not a positive integer.
    """

    num_classes: int = 10
    hidden_widths: tuple[int, ...] = (256, 128)
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("hidden_widths", self.hidden_widths)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch ..."], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Apply the network.

        Args:
            x: images or vectors; all axes but the first are flattened.
            train: changes nothing; every model takes it.

        Returns:
            The logits.

        Raises:
            ValueError: if `x` has no axis but the batch.
        """
        del train
        if x.ndim < 2:
            raise ValueError(f"MLP takes (batch, ...) with two axes or more, got shape {x.shape}")
        x = layers.flatten(x)
        for position, width in enumerate(self.hidden_widths, start=1):
            x = nn.relu(layers.dense(width, name=f"hidden{position}", dtype=self.dtype)(x))
        return layers.classify(x, self.num_classes, dtype=self.dtype)
