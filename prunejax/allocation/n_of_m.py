"""N of each M neighbours along the inputs."""

import dataclasses
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from prunejax import masks as masks_lib
from prunejax.allocation.counting import LEAVE_OUT, Counts, refuse_layerwise
from prunejax.allocation.marking import mark_highest


@dataclasses.dataclass(frozen=True)
class NofM:
    """N of each M neighbours along the inputs, as sparse tensor cores want it (2 of 4).

    The sparsity is ``1 - kept / of``, the same everywhere; a gradual method removes one after the
    other of each M.

    Attributes:
      kept: N, how many of the neighbours stay.
      of: M, how many neighbours there are.
      axis: of the inputs: the last but one in Flax's kernels; the last, -1, in Equinox's dense
        weights.

    Raises:
      ValueError: not 1 <= kept <= of.
    """

    kept: int = 2
    of: int = 4
    axis: int = -2

    def __post_init__(self) -> None:
        whole = isinstance(self.kept, int) and isinstance(self.of, int)
        if not whole or not 1 <= self.kept <= self.of:
            raise ValueError(f"N of M needs whole numbers 1 <= N <= M, got {self.kept}:{self.of}")

    @property
    def sparsity(self) -> float:
        """The fraction of weights that goes, ``1 - kept / of``."""
        return 1 - self.kept / self.of

    def counts(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        progress: Any,
        *,
        allow_empty: bool = False,
    ) -> Counts:
        """How many of each M stay: ``M - round(progress * (M - N))``. See ``Unstructured``.

        Raises:
          ValueError: a leaf cannot be cut into groups of M, or another sparsity or distribution
            is asked for.
        """
        del allow_empty
        refuse_layerwise(f"{self.kept}:{self.of}", distribution)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.ndim < max(2, -self.axis) or leaf.shape[self.axis] % self.of:
                where = {-1: "the last axis", -2: "the last axis but one"}
                raise ValueError(
                    f"{masks_lib.name(path)!r} has shape {leaf.shape}: {self.kept}:{self.of} needs "
                    f"inputs, {where.get(self.axis, f'axis {self.axis}')}, that are a multiple of "
                    f"{self.of}. {LEAVE_OUT}"
                )
        if sparsity is not None and not np.isclose(float(sparsity), self.sparsity):
            raise ValueError(
                f"{self.kept}:{self.of} is a sparsity of {self.sparsity:g}, got {sparsity}"
            )
        return (self.of - np.rint(np.asarray(progress) * (self.of - self.kept))).astype(np.int32)

    def keep(
        self,
        scores: PyTree,
        count: Int[Array, "..."],
        masks: PyTree | None,
        *,
        allow_empty: bool = False,
    ) -> PyTree:
        """Masks of the highest scores of each group; the first of equals. See ``Unstructured``."""
        del allow_empty

        def of_leaf(scores: Array, mask: Array | None = None) -> Array:
            if scores.size == 0:
                return jnp.ones(scores.shape, bool)

            def grouped(leaf: Array) -> Array:
                leaf = jnp.moveaxis(leaf, self.axis, -1)
                return leaf.reshape(*leaf.shape[:-1], leaf.shape[-1] // self.of, self.of)

            alive = None if mask is None else grouped(mask)
            kept = mark_highest(grouped(scores), alive, count, axis=-1)
            return jnp.moveaxis(kept.reshape(*kept.shape[:-2], -1), -1, self.axis)

        return jax.tree.map(of_leaf, *((scores,) if masks is None else (scores, masks)))

    def after(self, progress: float) -> "NofM":
        """The pattern on the way: some of each M have gone.

        Args:
          progress: which part of the M - N, in [0, 1].
        """
        return dataclasses.replace(self, kept=self.of - round(progress * (self.of - self.kept)))
