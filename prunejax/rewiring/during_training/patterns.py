"""Patterns: in what shape links stay. Single ones, N of M neighbours, or whole blocks."""

import dataclasses
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from prunejax import allocation, names
from prunejax import masks as masks_lib

Counts = Int[np.ndarray, " changes"] | Int[np.ndarray, "changes leaves"]
"""What is kept after each change: of all leaves together, or of each leaf."""


@dataclasses.dataclass(frozen=True)
class Unstructured:
    """Single links, as many as ``allocation.kept_weights`` says."""

    def counts(
        self, params: PyTree, sparsity: SupportsFloat | None, distribution: str, progress: Any
    ) -> Counts:
        """How many links stay, for each of several fractions of the sparsity.

        Args:
          params: the leaves that are pruned, arrays or their shapes; None elsewhere.
          sparsity: the fraction removed in the end, in [0, 1).
          distribution: one of ``allocation.DISTRIBUTIONS``.
          progress: the fractions of it that are removed after each change, [changes].

        Returns:
          Whole numbers: of all leaves together for "global", otherwise of each leaf,
          ``size - round(progress * (size - kept in the end))``.

        Raises:
          ValueError: the sparsity is missing, out of range or leaves a leaf empty.
        """
        shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
        return _counts(shapes, sparsity, distribution, progress)

    def keep(self, scores: PyTree, count: Int[Array, "..."], masks: PyTree | None) -> PyTree:
        """Masks of the highest scores.

        Args:
          scores: a float array for each leaf, None elsewhere; higher means keep.
          count: one row of ``counts``; traced.
          masks: weights pruned already, which stay so; None: there are none.

        Returns:
          Masks parallel to the scores.
        """
        if count.ndim == 0:
            return allocation.keep(scores, count, masks=masks)
        return allocation.keep_per_leaf(scores, count, masks=masks)


@dataclasses.dataclass(frozen=True)
class NofM:
    """N of each M neighbours along the inputs, as sparse tensor cores want it (2 of 4).

    Neighbours are in the last axis but one, the input units or channels of Flax's kernels. The
    sparsity is ``1 - kept / of``, the same everywhere; a gradual method removes one after the other
    of each M.

    Attributes:
      kept: N, how many of the neighbours stay.
      of: M, how many neighbours there are.

    Raises:
      ValueError: not 1 <= kept <= of.
    """

    kept: int = 2
    of: int = 4

    def __post_init__(self) -> None:
        whole = isinstance(self.kept, int) and isinstance(self.of, int)
        if not whole or not 1 <= self.kept <= self.of:
            raise ValueError(f"N of M needs whole numbers 1 <= N <= M, got {self.kept}:{self.of}")

    def counts(
        self, params: PyTree, sparsity: SupportsFloat | None, distribution: str, progress: Any
    ) -> Counts:
        """How many of each M stay: ``M - round(progress * (M - N))``. See ``Unstructured``.

        Raises:
          ValueError: a leaf cannot be cut into groups of M, or another sparsity is asked for.
        """
        del distribution
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.ndim < 2 or leaf.shape[-2] % self.of:
                raise ValueError(
                    f"{masks_lib.name(path)!r} has shape {leaf.shape}: {self.kept}:{self.of} needs "
                    f"inputs, the last axis but one, that are a multiple of {self.of}. Leave it "
                    "out by select="
                )
        own = 1 - self.kept / self.of
        if sparsity is not None and not np.isclose(float(sparsity), own):
            raise ValueError(f"{self.kept}:{self.of} is a sparsity of {own:g}, got {sparsity}")
        return (self.of - np.rint(np.asarray(progress) * (self.of - self.kept))).astype(np.int32)

    def keep(self, scores: PyTree, count: Int[Array, "..."], masks: PyTree | None) -> PyTree:
        """Masks of the highest scores of each group; the first of equals. See ``Unstructured``."""

        def of_leaf(scores: Array, mask: Array | None = None) -> Array:
            # what is pruned already comes after all that is not
            scores = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
            *outer, inputs, outputs = scores.shape
            groups = scores.reshape(*outer, inputs // self.of, self.of, outputs)
            order = jnp.argsort(groups, axis=-2, descending=True, stable=True)
            place = jnp.argsort(order, axis=-2)
            return (place < count).reshape(scores.shape)

        return jax.tree.map(of_leaf, *((scores,) if masks is None else (scores, masks)))


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
        self, params: PyTree, sparsity: SupportsFloat | None, distribution: str, progress: Any
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
                    "Leave it out by select="
                )
            grids.append(self._grid(leaf.shape))
        return _counts(grids, sparsity, distribution, progress)

    def keep(self, scores: PyTree, count: Int[Array, "..."], masks: PyTree | None) -> PyTree:
        """Masks of the blocks of the highest scores. See ``Unstructured``."""
        of_blocks = jax.tree.map(lambda leaf: jnp.mean(self._cut(leaf), axis=(-3, -1)), scores)
        alive = masks
        if masks is not None:
            alive = jax.tree.map(lambda leaf: jnp.any(self._cut(leaf), axis=(-3, -1)), masks)
        kept = Unstructured().keep(of_blocks, count, alive)
        return jax.tree.map(
            lambda mask: jnp.repeat(jnp.repeat(mask, self.inputs, -2), self.outputs, -1), kept
        )

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], shape[-2] // self.inputs, shape[-1] // self.outputs)

    def _cut(self, leaf: Array) -> Array:
        """A leaf of shape [..., rows, inputs of a block, columns, outputs of a block]."""
        *outer, rows, columns = self._grid(leaf.shape)
        return leaf.reshape(*outer, rows, self.inputs, columns, self.outputs)


Pattern = Unstructured | NofM | Blocks


def _counts(
    shapes: list[tuple[int, ...]],
    sparsity: SupportsFloat | None,
    distribution: str,
    progress: Float[np.ndarray, " changes"],
) -> Counts:
    names.choose("distribution", distribution, allocation.DISTRIBUTIONS)
    if sparsity is None:
        raise ValueError("sparsity= is missing: the fraction removed in the end, in [0, 1)")
    final = allocation.check_sparsity(sparsity)
    sizes = np.array([np.prod(shape, dtype=np.int64) for shape in shapes])
    layerwise = "uniform" if distribution == "global" else distribution
    last = np.array(allocation.leaf_counts(shapes, final, layerwise))  # refuses too few
    if distribution == "global":
        total = int(sizes.sum())
        counts = [allocation.kept_weights(total, final * float(part)) for part in progress]
        return np.array(counts, np.int32)
    return (sizes - np.rint(np.outer(progress, sizes - last))).astype(np.int32)
