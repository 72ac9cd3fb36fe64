"""Whole blocks of inputs times outputs."""

import dataclasses
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from prunejax import masks as masks_lib
from prunejax.allocation.counting import LEAVE_OUT, Counts, kept_counts
from prunejax.allocation.unstructured import Unstructured


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Whole blocks of inputs times outputs, by the mean score of their weights.

    The blocks tile the last two axes of a leaf, one tiling for each place of a convolution's
    window. The sparsity is the fraction of blocks removed, shared among layers as weights are.

    Attributes:
      inputs: how many inputs a block has.
      outputs: how many outputs.

    Raises:
      ValueError: a number is not whole or below 1.
    """

    inputs: int = 4
    outputs: int = 4

    def __post_init__(self) -> None:
        for side in (self.inputs, self.outputs):
            if not isinstance(side, int) or side < 1:
                raise ValueError(
                    "blocks need whole numbers of inputs and outputs, at least 1, got "
                    f"{self.inputs} x {self.outputs}"
                )

    def counts(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        progress: Any,
        *,
        allow_empty: bool = False,
    ) -> Counts:
        """How many blocks stay. See ``Unstructured``.

        Raises:
          ValueError: a leaf cannot be cut into such blocks, or as ``Unstructured.counts``.
        """
        grids = []
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.ndim < 2 or leaf.shape[-2] % self.inputs or leaf.shape[-1] % self.outputs:
                raise ValueError(
                    f"{masks_lib.name(path)!r} has shape {leaf.shape}, which cannot be cut into "
                    f"blocks of {self.inputs} inputs x {self.outputs} outputs, its last two axes. "
                    f"{LEAVE_OUT}"
                )
            grids.append(self._grid(leaf.shape))
        return kept_counts(grids, sparsity, distribution, progress, allow_empty)

    def keep(
        self,
        scores: PyTree,
        count: Int[Array, "..."],
        masks: PyTree | None,
        *,
        allow_empty: bool = False,
    ) -> PyTree:
        """Masks of the blocks of the highest scores. See ``Unstructured``."""
        alive = masks
        if masks is not None:  # what is pruned counts nothing in its block
            scores = jax.tree.map(lambda mask, leaf: jnp.where(mask, leaf, 0), masks, scores)
            alive = jax.tree.map(lambda leaf: jnp.any(self._cut(leaf), axis=(-3, -1)), masks)
        of_blocks = jax.tree.map(lambda leaf: jnp.mean(self._cut(leaf), axis=(-3, -1)), scores)
        kept = Unstructured().keep(of_blocks, count, alive, allow_empty=allow_empty)
        whole = jax.tree.map(
            lambda mask: jnp.repeat(jnp.repeat(mask, self.inputs, -2), self.outputs, -1), kept
        )
        return whole if masks is None else jax.tree.map(jnp.logical_and, whole, masks)

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], shape[-2] // self.inputs, shape[-1] // self.outputs)

    def _cut(self, leaf: Array) -> Array:
        """A leaf of shape [..., rows, inputs of a block, columns, outputs of a block]."""
        *outer, rows, columns = self._grid(leaf.shape)
        return leaf.reshape(*outer, rows, self.inputs, columns, self.outputs)
