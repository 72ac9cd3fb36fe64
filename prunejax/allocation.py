"""Allocation: from scores and a sparsity to masks of exactly that many weights.

How many weights each layer keeps is one question (a *distribution*), which ones the other: those
of the highest scores. The second is answered by a bit-wise binary search for the threshold, which
reads the scores a fixed number of times instead of sorting them.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from prunejax import masks as masks_lib
from prunejax import names

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
    """
    sparsity = check_sparsity(sparsity)
    names, leaves, _ = _flatten(scores)
    _refuse_nan(names, leaves)
    alive = _alive(scores, masks, len(leaves))
    shapes = [leaf.shape for leaf in leaves]
    if distribution == "global":
        weights = sum(math.prod(shape) for shape in shapes)
        total = kept_weights(weights, sparsity)
        _refuse_too_few(total, sum(leaf.size > 0 for leaf in leaves), sparsity, allow_empty)
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
      counts: one integer a leaf, in the order of the tree.
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


def check_sparsity(sparsity: SupportsFloat) -> float:
    """Returns a sparsity as a Python number, refusing what is none in [0, 1).

    Raises:
      ValueError: it is traced, or outside [0, 1).
    """
    if isinstance(sparsity, Tracer):
        raise ValueError(
            "the sparsity is traced: allocate needs a Python number, because the counts it stands "
            "for are exact. Inside a jitted schedule pass traced counts to allocation.keep or "
            "keep_per_leaf"
        )
    if not 0 <= (number := float(sparsity)) < 1:
        raise ValueError(
            f"sparsity is the fraction of weights removed, in [0, 1), got {sparsity!r}"
        )
    return number


def kept_weights(weights: int, sparsity: float) -> int:
    """How many of so many weights a sparsity keeps: ``weights - round(sparsity * weights)``."""
    return weights - round(sparsity * weights)


def leaf_counts(
    shapes: Sequence[tuple[int, ...]],
    sparsity: SupportsFloat,
    distribution: str,
    *,
    left: Sequence[int] | None = None,
    allow_empty: bool = False,
) -> list[int]:
    """How many weights each layer keeps; the sum is exact.

    Layer l's density is ``min(1, c * d_l)`` with d_l from the distribution and c solved for the
    total: where a layer would need more weights than it has, it is kept whole and the rest is
    solved again. Fractions are rounded by largest remainder.

    Args:
      shapes: the layers' kernel shapes, ``(..., fan_in, fan_out)`` as Flax stores them.
      sparsity: the fraction of all weights to remove, in [0, 1).
      distribution: "uniform", "er" or "erk".
      left: how many weights each layer has left, by default all.
      allow_empty: whether a count may be 0.

    Returns:
      One count a layer.

    Raises:
      ValueError: an unknown distribution, or fewer weights to keep than layers.
    """
    sparsity = check_sparsity(sparsity)
    names.choose("distribution", distribution, DENSITIES)
    sizes = np.array([math.prod(shape) for shape in shapes], np.int64)
    total = kept_weights(int(sizes.sum()), sparsity)
    _refuse_too_few(total, int((sizes > 0).sum()), sparsity, allow_empty)
    raw = np.array(
        [DENSITIES[distribution](shape) if 0 not in shape else 0.0 for shape in shapes], np.float64
    )
    most = sizes if left is None else np.asarray(left, np.int64)
    total = min(total, int(most.sum()))
    least = np.zeros_like(sizes) if allow_empty else np.minimum(most, 1)

    wanted = _share(raw * sizes, most, total)
    counts = np.clip(np.floor(wanted + 1e-9).astype(np.int64), least, most)
    by_remainder = np.argsort(-(wanted - counts), kind="stable")
    while (missing := total - int(counts.sum())) != 0:
        step = 1 if missing > 0 else -1
        order = by_remainder if missing > 0 else by_remainder[::-1]
        movable = [i for i in order if least[i] <= counts[i] + step <= most[i]]
        counts[movable[: abs(missing)]] += step
    return [int(count) for count in counts]


def _share(weights: np.ndarray, most: np.ndarray, total: int) -> np.ndarray:
    """Real-valued counts in proportion to ``weights``, none above its most, of sum ``total``."""
    full = most == 0
    wanted = np.zeros(len(most))
    while not full.all():
        rest = total - most[full].sum()
        wanted = np.where(full, most, weights * (rest / weights[~full].sum()))
        over = (wanted > most) & ~full
        if not over.any():
            break
        full |= over
    return np.minimum(wanted, most)


def _uniform_density(shape: tuple[int, ...]) -> float:
    """The same density everywhere (Zhu & Gupta 2017)."""
    del shape
    return 1.0


def _er_density(shape: tuple[int, ...]) -> float:
    """Erdos-Renyi (Mocanu et al. 2018): (n_in + n_out) / (n_in n_out), of units or channels.

    They are the last two axes, as Flax and Haiku store kernels; Equinox's convolutions, whose
    channels come first, need ``erk``, which looks at all axes alike.
    """
    fan_in, fan_out = (1, 1, *shape)[-2:]
    return (fan_in + fan_out) / (fan_in * fan_out)


def _erk_density(shape: tuple[int, ...]) -> float:
    """Erdos-Renyi-Kernel (Evci et al. 2020): sum(shape) / prod(shape)."""
    return sum(shape) / math.prod(shape)


DENSITIES: dict[str, Callable[[tuple[int, ...]], float]] = {
    "uniform": _uniform_density,
    "er": _er_density,
    "erk": _erk_density,
}
"""Each layer-wise distribution's density of a layer, up to a common factor."""

DISTRIBUTIONS: tuple[str, ...] = ("global", *DENSITIES)
"""All distributions: one ranking of all weights, or a count for each layer."""


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
    ranks = [_rank(leaf, mask, wide) for leaf, mask in zip(leaves, alive, strict=True)]
    if not allow_empty:
        ranks = [_protect_best(rank) for rank in ranks]
    flat = jnp.concatenate(ranks)
    kept = _highest(flat, jnp.minimum(jnp.asarray(count, jnp.int32), _count(flat > 0)))
    bounds = np.cumsum([rank.size for rank in ranks])[:-1]
    return [
        part.reshape(leaf.shape) for part, leaf in zip(jnp.split(kept, bounds), leaves, strict=True)
    ]


def _rank(scores: Array, alive: Bool[Array, "..."] | None, wide: bool) -> Array:
    """Unsigned integers in the scores' order: 0 for pruned weights, 1 for NaN, then -inf..inf."""
    unsigned = jnp.uint64 if wide else jnp.uint32
    bits = jax.lax.bitcast_convert_type(_converted(scores.ravel(), wide), unsigned)
    sign = np.array(1, unsigned) << np.array(63 if wide else 31, unsigned)
    bits = jnp.where(bits == sign, np.array(0, unsigned), bits)  # -0.0 ranks with 0.0
    rank = jnp.where(bits >= sign, ~bits, bits | sign)
    rank = jnp.where(jnp.isnan(scores.ravel()), np.array(1, unsigned), rank)
    return rank if alive is None else jnp.where(alive.ravel(), rank, np.array(0, unsigned))


def _converted(scores: Array, wide: bool) -> Array:
    """The scores in float64 or float32, exactly: XLA's own conversion makes denormal numbers 0."""
    widest = jnp.float64 if wide else jnp.float32
    if scores.dtype == widest:
        return scores
    converted = scores.astype(widest)
    tiny = jnp.finfo(scores.dtype)
    unsigned = {2: jnp.uint16, 4: jnp.uint32}.get(scores.dtype.itemsize)
    if unsigned is None:
        return converted
    bits = jax.lax.bitcast_convert_type(scores, unsigned)
    sign = np.array(1, unsigned) << np.array(tiny.bits - 1, unsigned)
    mantissa = bits & ~sign
    if widest == jnp.float32 and tiny.dtype == jnp.bfloat16:
        # its exponents are float32's, and so are its denormal numbers: its bits are the upper half
        upper = bits.astype(jnp.uint32) << np.uint32(16)
        return jax.lax.bitcast_convert_type(upper, jnp.float32)
    # A denormal number is its bits times the smallest one; both are normal in the wider format.
    exact = mantissa.astype(widest) * np.array(tiny.smallest_subnormal, widest)
    exact = jnp.where(bits >= sign, -exact, exact)
    denormal = mantissa < np.array(1, unsigned) << np.array(tiny.nmant, unsigned)
    return jnp.where(denormal, exact, converted)


def _protect_best(rank: Array) -> Array:
    """Raises the highest rank of a leaf above all others, unless nothing is left of the leaf."""
    if rank.size == 0:
        return rank
    best = jnp.argmax(rank)
    top = np.array(np.iinfo(rank.dtype).max, rank.dtype)
    return rank.at[best].set(jnp.where(rank[best] > 0, top, rank[best]))


def _highest(rank: Array, count: Int[Array, ""]) -> Bool[Array, " weights"]:
    """Marks exactly ``count`` entries of the highest rank."""
    threshold = _search(rank, count)
    above = rank > threshold
    tied = rank == threshold
    missing = count - _count(above)

    def all_tied() -> Bool[Array, " weights"]:
        return tied

    def some_tied() -> Bool[Array, " weights"]:
        # Odd multiplication and xor-shifts are invertible: no two positions share a hash.
        position = jax.lax.iota(jnp.uint32, rank.size)
        position = (position ^ (position >> 16)) * np.uint32(0x7FEB352D)
        position = (position ^ (position >> 15)) * np.uint32(0x846CA68B)
        hashed = position ^ (position >> 16)
        # Position 0 hashes to 0, the order of what is not tied; it is never wanted here, since
        # fewer than all ties are.
        order = jnp.where(tied, hashed, np.uint32(0))
        return tied & (order >= _search(order, missing))

    chosen = jax.lax.cond(missing == _count(tied), all_tied, some_tied)
    return (above | chosen) & (count > 0)


def _search(rank: Array, count: Int[Array, ""]) -> Array:
    """The largest threshold that at least ``count`` entries reach, one bit at a time."""
    bits = rank.dtype.itemsize * 8

    def narrow(step: Int[Array, ""], threshold: Array) -> Array:
        bit = np.array(1, rank.dtype) << (bits - 1 - step).astype(rank.dtype)
        candidate = threshold | bit
        return jnp.where(_count(rank >= candidate) >= count, candidate, threshold)

    return jax.lax.fori_loop(0, bits, narrow, np.array(0, rank.dtype))


def _count(marked: Bool[Array, "..."]) -> Int[Array, ""]:
    return jnp.sum(marked, dtype=jnp.int32)


def _flatten(scores: PyTree) -> tuple[list[str], list[Array], Any]:
    flat, structure = jax.tree_util.tree_flatten_with_path(scores)
    if not flat:
        raise ValueError("the scores are empty: every leaf is None")
    names = [masks_lib.name(path) for path, _ in flat]
    leaves = [jnp.asarray(leaf) for _, leaf in flat]
    for key, leaf in zip(names, leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"the scores of {key!r} must be floating point, got {leaf.dtype}")
    return names, leaves, structure


def _alive(scores: PyTree, masks: PyTree | None, leaves: int) -> list[Any]:
    """The masks of the leaves in order, None each where there are no masks."""
    if masks is None:
        return [None] * leaves
    masks_lib.validate(scores, masks)
    found = jax.tree.leaves(masks)
    if len(found) != leaves:
        raise ValueError(f"there are scores for {leaves} leaves, but masks for {len(found)}")
    return found


@jax.jit
def _nan_counts(leaves: list[Array]) -> list[Array]:
    return [_count(jnp.isnan(leaf)) for leaf in leaves]


def _refuse_nan(names: list[str], leaves: list[Array]) -> None:
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    for key, leaf, count in zip(names, leaves, jax.device_get(_nan_counts(leaves)), strict=True):
        if (found := int(count)) > 0:
            raise ValueError(
                f"{found} of {leaf.size} scores of {key!r} are NaN: the loss, or a gradient that "
                "the criterion takes, is not finite there. Look at the inputs, the labels and the "
                "parameters; "
                "deep networks may need float64 (jax.enable_x64)"
            )


def _refuse_too_few(total: int, leaves: int, sparsity: float, allow_empty: bool) -> None:
    if not allow_empty and total < leaves:
        raise ValueError(
            f"sparsity {sparsity} keeps {total} weights, fewer than the {leaves} layers: some "
            "would be empty. Lower it, or pass allow_empty=True"
        )
