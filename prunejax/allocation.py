"""Allocation: from scores and a sparsity to masks of exactly that many weights.

How many weights each layer keeps is one question (``distributions``), which ones the other: those
of the highest scores (``ranks``).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from prunejax import masks as masks_lib
from prunejax import names, ranks
from prunejax.distributions import (
    DENSITIES,
    DISTRIBUTIONS,
    check_sparsity,
    kept_weights,
    leaf_counts,
    refuse_too_few,
)

__all__ = [
    "DENSITIES",
    "DISTRIBUTIONS",
    "allocate",
    "check_sparsity",
    "keep",
    "keep_per_leaf",
    "kept_weights",
    "leaf_counts",
]

Counts = Sequence[int] | Int[np.ndarray, " leaves"] | Int[Array, " leaves"]


def allocate(
    scores: PyTree,
    sparsity: SupportsFloat,
    *,
    distribution: str = "global",
    masks: PyTree | None = None,
    allow_empty: bool = False,
) -> PyTree:
    """Keeps the weights of the highest scores, exactly ``kept_weights(weights, sparsity)`` of them.

    Ties are broken by a fixed hash of the weight's position, so that the answer is deterministic
    and equal scores do not favour the first layers.

    Args:
      scores: a float array for each prunable leaf, ``None`` elsewhere; higher means keep.
      sparsity: the fraction of all prunable weights to remove, in [0, 1), a Python number. (Inside
        a jitted schedule, where it is traced, pass counts to ``keep`` or ``keep_per_leaf``.)
      distribution: how the kept weights are shared among the leaves: one of ``DISTRIBUTIONS``.
      masks: weights that are pruned already and stay so (iterative pruning); they count towards
        ``sparsity``. (A layer-wise distribution inside jit, where it cannot count what a layer has
        left, keeps fewer where a layer has less than its share.)
      allow_empty: whether a leaf may lose all of its weights (``masks.empty`` lists those that
        did). By default every leaf keeps at least the one of its highest score.

    Returns:
      Masks parallel to ``scores``. Can be called inside jit.

    Raises:
      ValueError: the sparsity is outside [0, 1) or leaves fewer weights than there are leaves, the
        distribution is unknown, scores are not floating point or (outside jit) hold NaN, or
        ``masks`` do not match.

    >>> scores = {"dense": {"kernel": jnp.array([[0.1, 0.9], [0.5, 0.2]]), "bias": None}}
    >>> allocate(scores, 0.5)["dense"]["kernel"].tolist()
    [[False, True], [True, False]]
    """
    sparsity = check_sparsity(sparsity)
    names.choose("distribution", distribution, DISTRIBUTIONS)
    paths, leaves, _ = _flatten(scores)
    _refuse_nan(paths, leaves)
    alive = _alive(scores, masks, len(leaves))
    shapes = [leaf.shape for leaf in leaves]
    if distribution == "global":
        weights = sum(math.prod(shape) for shape in shapes)
        total = kept_weights(weights, sparsity)
        refuse_too_few(total, sum(leaf.size > 0 for leaf in leaves), sparsity, allow_empty)
        return keep(scores, total, masks=masks, allow_empty=allow_empty)
    left = None
    if masks is not None and not any(isinstance(mask, Tracer) for mask in alive):
        left = [int(jnp.sum(mask)) for mask in alive]
    counts = leaf_counts(shapes, sparsity, distribution, left=left, allow_empty=allow_empty)
    return keep_per_leaf(scores, counts, masks=masks)


def keep(
    scores: PyTree, count: Any, *, masks: PyTree | None = None, allow_empty: bool = False
) -> PyTree:
    """Keeps the ``count`` highest scores of the whole tree; ``count`` may be traced.

    Args:
      scores: a float array for each prunable leaf, ``None`` elsewhere. NaN ranks lowest.
      count: how many weights to keep, an integer (a traced one changes without recompiling).
      masks: weights that are pruned already; they are never kept, so that fewer than ``count``
        are where fewer are left.
      allow_empty: whether a leaf may lose all of its weights; if not, the highest score of each
        leaf is kept first (within ``count``).

    Returns:
      Masks parallel to ``scores``.

    Raises:
      ValueError: ``scores`` hold no floating point array.
    """
    _, leaves, structure = _flatten(scores)
    alive = _alive(scores, masks, len(leaves))
    kept = _keep_together(tuple(leaves), tuple(alive), count, allow_empty=allow_empty)
    return jax.tree_util.tree_unflatten(structure, kept)


def keep_per_leaf(scores: PyTree, counts: Counts, *, masks: PyTree | None = None) -> PyTree:
    """Keeps the ``counts[i]`` highest scores of leaf i; the counts may be traced.

    Args:
      scores: a float array for each prunable leaf, ``None`` elsewhere. NaN ranks lowest.
      counts: one integer per leaf, in the order of the tree.
      masks: weights that are pruned already; they are never kept.

    Returns:
      Masks parallel to ``scores``.

    Raises:
      ValueError: the number of counts is not the number of leaves.
    """
    _, leaves, structure = _flatten(scores)
    if len(counts) != len(leaves):
        raise ValueError(f"{len(counts)} counts were given for {len(leaves)} leaves")
    alive = _alive(scores, masks, len(leaves))
    kept = [
        _keep_together((leaf,), (mask,), count, allow_empty=True)[0]
        for leaf, mask, count in zip(leaves, alive, counts, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, kept)


@partial(jax.jit, static_argnames="allow_empty")
def _keep_together(
    leaves: tuple[Array, ...],
    alive: tuple[Bool[Array, "..."] | None, ...],
    count: Any,
    *,
    allow_empty: bool,
) -> list[Bool[Array, "..."]]:
    """Masks of the ``count`` highest scores among all leaves."""
    wide = any(leaf.dtype == jnp.float64 for leaf in leaves)
    ranked = [ranks.rank(leaf, mask, wide) for leaf, mask in zip(leaves, alive, strict=True)]
    if not allow_empty:
        ranked = [ranks.protect_best(rank) for rank in ranked]
    flat = jnp.concatenate(ranked)
    kept = ranks.highest(flat, jnp.minimum(jnp.asarray(count, jnp.int32), ranks.tally(flat > 0)))
    bounds = np.cumsum([rank.size for rank in ranked])[:-1]
    return [
        part.reshape(leaf.shape) for part, leaf in zip(jnp.split(kept, bounds), leaves, strict=True)
    ]


def _flatten(scores: PyTree) -> tuple[list[str], list[Array], Any]:
    flat, structure = jax.tree_util.tree_flatten_with_path(scores)
    if not flat:
        raise ValueError("the scores are empty: every leaf is None")
    paths = [masks_lib.name(path) for path, _ in flat]
    leaves = [jnp.asarray(leaf) for _, leaf in flat]
    for path, leaf in zip(paths, leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"the scores of {path!r} must be floating point, got {leaf.dtype}")
    return paths, leaves, structure


def _alive(scores: PyTree, masks: PyTree | None, leaves: int) -> list[Any]:
    """The masks of the leaves in order, None each where there are no masks."""
    if masks is None:
        return [None] * leaves
    masks_lib.validate(scores, masks)
    alive = jax.tree.leaves(masks)
    if len(alive) != leaves:
        raise ValueError(f"there are scores for {leaves} leaves, but masks for {len(alive)}")
    return alive


@jax.jit
def _nan_counts(leaves: list[Array]) -> list[Array]:
    return [ranks.tally(jnp.isnan(leaf)) for leaf in leaves]


def _refuse_nan(paths: list[str], leaves: list[Array]) -> None:
    """Refuses scores that are NaN, where they are known now."""
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    for path, leaf, count in zip(paths, leaves, jax.device_get(_nan_counts(leaves)), strict=True):
        if int(count) > 0:
            raise ValueError(
                f"{int(count)} of {leaf.size} scores of {path!r} are NaN: the loss, or a gradient "
                "that the criterion takes, is not finite there. Look at the inputs, the labels and "
                "the parameters; deep networks may need float64 (jax.enable_x64)"
            )
