"""A multilayer perceptron whose hidden layers hold only their links."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.models.checks import check_length, check_width, check_widths
from prunejax.sparse.dense import SparseDense


class SparseMLP(nn.Module):
    """Sparse layers with ReLU, ``hidden1``, ``hidden2``, ..., and a dense ``classifier``.

    784-1000-1000-1000-10 at 99 % sparsity is the network of Sulyok et al., "Robustness in sparse
    artificial neural networks trained with adaptive topology" (2026). Each hidden kernel is one
    number per link, [links], and the links stand in the collection "links", see ``SparseDense``:
    code that passes parameters alone trains the network on the fixed topology of ``seed``.
    ``sparse.to_dense(params, links)`` gives the parameters and masks of an ``MLP`` that computes
    the same, ``sparse.from_masks`` leads back.

    Channels of a sparse layer cannot be cut out: ``network.trace`` finds none, and the model has no
    ``width_fields``. An ``MLP`` made by ``to_dense`` can be cut.

    Args:
      num_classes: the number of logits.
      hidden_widths: the units of each hidden layer.
      sparsity: the fraction of links removed, in [0, 1), of all hidden layers or one per layer.
      fan_in: "inputs" or "links", what initial weights are scaled by, see ``SparseDense``.
      backend: how the layers are computed, see ``sparse.sparse_linear``.
      seed: of the links where none are given.
      dtype: the type to compute in; parameters stay float32.

    Raises:
      ValueError: a width is not a positive integer, a sparsity is out of range, or there is not one
        for each layer.
    """

    num_classes: int = 10
    hidden_widths: tuple[int, ...] = (1000, 1000, 1000)
    sparsity: float | tuple[float, ...] = 0.99
    fan_in: str = "inputs"
    backend: str = "auto"
    seed: int = 0
    dtype: Any = None

    def __post_init__(self) -> None:
        check_width("num_classes", self.num_classes)
        check_widths("hidden_widths", self.hidden_widths)
        if not isinstance(self.sparsity, int | float):
            check_length("sparsity", self.sparsity, len(self.hidden_widths))
        for sparsity in self._sparsities():
            SparseDense(1, sparsity, fan_in=self.fan_in, backend=self.backend, parent=None)
        super().__post_init__()

    def _sparsities(self) -> tuple[float, ...]:
        if isinstance(self.sparsity, tuple):
            return self.sparsity
        return (self.sparsity,) * len(self.hidden_widths)

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
          ValueError: ``x`` has no axis but the batch, or no link is left of a layer.
        """
        del train
        if x.ndim < 2:
            raise ValueError(
                f"SparseMLP takes (batch, ...) with two axes or more, got shape {x.shape}"
            )
        x = layers.flatten(x)
        pairs = zip(self.hidden_widths, self._sparsities(), strict=True)
        for position, (width, sparsity) in enumerate(pairs, start=1):
            layer = SparseDense(
                width,
                sparsity,
                fan_in=self.fan_in,
                backend=self.backend,
                seed=self.seed,
                dtype=self.dtype,
                name=f"hidden{position}",
            )
            x = nn.relu(layer(x))
        return layers.classify(x, self.num_classes, dtype=self.dtype)
