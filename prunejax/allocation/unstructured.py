"""Single weights."""

import dataclasses
from typing import Any, SupportsFloat

import jax
from jaxtyping import Array, Int, PyTree

from prunejax.allocation.counting import Counts, kept_counts
from prunejax.allocation.keeping import keep, keep_per_leaf


@dataclasses.dataclass(frozen=True)
class Unstructured:
    """Single links, as many as ``allocation.kept_weights`` says."""

    def counts(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        progress: Any,
        *,
        allow_empty: bool = False,
    ) -> Counts:
        """How many links stay, for each of several fractions of the sparsity.

        Args:
          params: the leaves that are pruned, arrays or their shapes; None elsewhere.
          sparsity: the fraction removed in the end, in [0, 1).
          distribution: one of ``allocation.DISTRIBUTIONS``.
          progress: the fractions of it that are removed after each change, [changes].
          allow_empty: whether a leaf may lose all of its weights.

        Returns:
          Whole numbers: of all leaves together for "global", otherwise of each leaf,
          ``size - round(progress * (size - kept in the end))``.

        Raises:
          ValueError: the sparsity is missing, out of range or leaves a leaf empty.
        """
        shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
        return kept_counts(shapes, sparsity, distribution, progress, allow_empty)

    def keep(
        self,
        scores: PyTree,
        count: Int[Array, "..."],
        masks: PyTree | None,
        *,
        allow_empty: bool = False,
    ) -> PyTree:
        """Masks of the highest scores.

        Args:
          scores: a float array for each leaf, None elsewhere; higher means keep.
          count: one row of ``counts``; traced.
          masks: weights pruned already, which stay so; None: there are none.
          allow_empty: whether a leaf may lose all of its weights.

        Returns:
          Masks parallel to the scores.
        """
        if count.ndim == 0:
            return keep(scores, count, masks=masks, allow_empty=allow_empty)
        return keep_per_leaf(scores, count, masks=masks)
