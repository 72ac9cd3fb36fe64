"""The highest scores, exactly so many: of a whole tree, or of each leaf."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from prunejax import masks as masks_lib
from prunejax import ranks

Counts = Sequence[int] | Int[np.ndarray, " leaves"] | Int[Array, " leaves"]


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
    _check_count(count)
    _, leaves, structure = flatten(scores)
    alive = alive_leaves(scores, masks, len(leaves))
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
    _, leaves, structure = flatten(scores)
    if not hasattr(counts, "__len__"):
        raise ValueError(f"counts must be one whole number per leaf, got {counts!r}")
    if len(counts) != len(leaves):
        raise ValueError(f"{len(counts)} counts were given for {len(leaves)} leaves")
    alive = alive_leaves(scores, masks, len(leaves))
    kept = [
        _keep_together((leaf,), (mask,), count, allow_empty=True)[0]
        for leaf, mask, count in zip(leaves, alive, counts, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, kept)


def _check_count(count: Any) -> None:
    """Refuses what is no number of weights, where it is known.

    Raises:
      ValueError: it is not whole, or negative.
    """
    if isinstance(count, Tracer):
        return
    whole = hasattr(count, "__index__") and np.ndim(count) == 0
    if not whole or int(count) < 0:
        raise ValueError(f"count must be a whole number of weights, at least 0, got {count!r}")


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


def flatten(scores: PyTree) -> tuple[list[str], list[Array], Any]:
    """Paths, leaves and structure of scores.

    Raises:
      ValueError: there are none, or they are not floating point.
    """
    flat, structure = jax.tree_util.tree_flatten_with_path(scores)
    if not flat:
        raise ValueError("the scores are empty: every leaf is None")
    paths = [masks_lib.name(path) for path, _ in flat]
    for path, (_, leaf) in zip(paths, flat, strict=True):
        if not isinstance(leaf, int | float) and not hasattr(leaf, "dtype"):
            kind = type(leaf).__name__
            raise ValueError(f"the scores of {path!r} must be floating point, got {kind}")
    leaves = [jnp.asarray(leaf) for _, leaf in flat]
    for path, leaf in zip(paths, leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"the scores of {path!r} must be floating point, got {leaf.dtype}")
    return paths, leaves, structure


def alive_leaves(scores: PyTree, masks: PyTree | None, leaves: int) -> list[Any]:
    """The masks of the leaves in order, None each where there are no masks.

    Raises:
      ValueError: the masks are not parallel to the scores.
    """
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


def refuse_nan(paths: list[str], leaves: list[Array]) -> None:
    """Refuses scores that are NaN, where they are known now.

    Raises:
      ValueError: some are; the message says in which leaf.
    """
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    for path, leaf, count in zip(paths, leaves, jax.device_get(_nan_counts(leaves)), strict=True):
        if int(count) > 0:
            raise ValueError(
                f"{int(count)} of {leaf.size} scores of {path!r} are NaN: the loss, or a gradient "
                "that the criterion takes, is not finite there. Look at the inputs, the labels and "
                "the parameters; deep networks may need float64 (jax.enable_x64)"
            )
