"""From scores and a sparsity to masks: which leaves, how many of each, in what shape."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from prunejax import names
from prunejax.allocation.keeping import (
    alive_leaves,
    flatten,
    keep,
    keep_per_leaf,
    refuse_nan,
)
from prunejax.allocation.patterns import Pattern, as_pattern
from prunejax.allocation.sharing import Sparsity, shares
from prunejax.allocation.unstructured import Unstructured
from prunejax.distributions import DISTRIBUTIONS, kept_weights, leaf_counts, refuse_too_few
from prunejax.selecting import Select


def allocate(
    scores: PyTree,
    sparsity: Sparsity | None = None,
    *,
    distribution: str = "global",
    pattern: str | Pattern | None = None,
    exclude: Select | None = None,
    masks: PyTree | None = None,
    allow_empty: bool = False,
) -> PyTree:
    """Keeps the weights of the highest scores, exactly ``kept_weights(weights, sparsity)`` of them.

    Ties are broken by a fixed hash of the weight's position, so that the answer is deterministic
    and equal scores do not favour the first layers.

    Args:
      scores: a float array for each prunable leaf, ``None`` elsewhere; higher means keep.
      sparsity: the fraction of all prunable weights to remove, in [0, 1), a Python number; or one
        for each pattern of leaf paths, ``{"encoder": 0.9, "head": 0.5}``: of several patterns that
        match a leaf the first one counts, and a leaf that none matches stays whole. (Inside a
        jitted schedule, where it is traced, pass counts to ``keep`` or ``keep_per_leaf``.)
      distribution: how the kept weights are shared among the leaves of one sparsity: one of
        ``DISTRIBUTIONS``.
      pattern: in what shape weights stay: "2:4" or ``NofM(2, 4)``, which have a sparsity of their
        own; "4x4" or ``Blocks(4, 4)``; "per_output" or ``PerOutput()``. By default single weights.
      exclude: leaves that stay whole and do not count: a regular expression that is searched for
        in their paths, or several.
      masks: weights that are pruned already and stay so (iterative pruning); they count towards
        ``sparsity``. (A layer-wise distribution inside jit, where it cannot count what a layer has
        left, keeps fewer where a layer has less than its share; a pattern does so everywhere.)
      allow_empty: whether a leaf may lose all of its weights (``masks.empty`` lists those that
        did). By default every leaf keeps at least the one of its highest score.

    Returns:
      Masks parallel to ``scores``. Can be called inside jit.

    Raises:
      ValueError: the sparsity is outside [0, 1), missing, or leaves fewer weights than there are
        leaves; a name or a pattern is unknown, or a leaf does not fit it; a path pattern matches
        nothing; scores are not floating point or (outside jit) hold NaN; ``masks`` do not match.

    >>> scores = {"dense": {"kernel": jnp.array([[0.1, 0.9], [0.5, 0.2]]), "bias": None}}
    >>> allocate(scores, 0.5)["dense"]["kernel"].tolist()
    [[False, True], [True, False]]
    >>> allocate(scores, pattern="1:2")["dense"]["kernel"].tolist()
    [[False, True], [True, False]]
    """
    names.choose("distribution", distribution, DISTRIBUTIONS)
    chosen = as_pattern(pattern)
    paths, leaves, structure = flatten(scores)
    refuse_nan(paths, leaves)
    alive = alive_leaves(scores, masks, len(leaves))
    kept: list[Any] = [
        jnp.ones(leaf.shape, bool) if mask is None else mask
        for leaf, mask in zip(leaves, alive, strict=True)
    ]
    for share in shares(paths, sparsity, exclude):

        def of(each: list[Any], taken: tuple[int, ...] = share.leaves) -> PyTree:
            """The tree with the share's leaves alone."""
            here = [leaf if at in taken else None for at, leaf in enumerate(each)]
            return jax.tree_util.tree_unflatten(structure, here)

        made = _of_share(
            of(leaves),
            share.sparsity,
            distribution,
            chosen,
            None if masks is None else of(alive),
            allow_empty,
        )
        for at, mask in zip(share.leaves, jax.tree.leaves(made), strict=True):
            kept[at] = mask
    return jax.tree_util.tree_unflatten(structure, kept)


def _of_share(
    scores: PyTree,
    sparsity: float | None,
    distribution: str,
    pattern: Pattern,
    masks: PyTree | None,
    allow_empty: bool,
) -> PyTree:
    """Masks of leaves that share one sparsity."""
    if not isinstance(pattern, Unstructured):
        counts = pattern.counts(scores, sparsity, distribution, np.ones(1), allow_empty=allow_empty)
        return pattern.keep(scores, jnp.asarray(counts[0]), masks, allow_empty=allow_empty)
    if sparsity is None:
        raise ValueError("sparsity is missing: the fraction of weights removed, in [0, 1)")
    leaves, alive = jax.tree.leaves(scores), jax.tree.leaves(masks)
    if distribution == "global":
        total = kept_weights(sum(leaf.size for leaf in leaves), sparsity)
        refuse_too_few(total, sum(leaf.size > 0 for leaf in leaves), sparsity, allow_empty)
        return keep(scores, total, masks=masks, allow_empty=allow_empty)
    left = None
    if masks is not None and not any(isinstance(mask, Tracer) for mask in alive):
        left = [int(jnp.sum(mask)) for mask in alive]
    shapes = [leaf.shape for leaf in leaves]
    counts = leaf_counts(shapes, sparsity, distribution, left=left, allow_empty=allow_empty)
    return keep_per_leaf(scores, counts, masks=masks)
