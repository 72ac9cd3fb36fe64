"""Patterns: in what shape weights stay. Single ones, N of M neighbours, blocks, so many per output.

A pattern is a frozen dataclass with ``counts``, what stays of leaves of some shapes, and ``keep``,
which stays.
"""

import dataclasses
import re
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from prunejax import masks as masks_lib
from prunejax import names, ranks
from prunejax.allocation.keeping import keep, keep_per_leaf
from prunejax.distributions import DISTRIBUTIONS, check_sparsity, kept_weights, leaf_counts

Counts = Int[np.ndarray, " changes"] | Int[np.ndarray, "changes leaves"]
"""What is kept after each change: of all leaves together, or of each leaf."""


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
        return _counts(shapes, sparsity, distribution, progress, allow_empty)

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
        _refuse_layerwise(f"{self.kept}:{self.of}", distribution)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.ndim < max(2, -self.axis) or leaf.shape[self.axis] % self.of:
                where = {-1: "the last axis", -2: "the last axis but one"}
                raise ValueError(
                    f"{masks_lib.name(path)!r} has shape {leaf.shape}: {self.kept}:{self.of} needs "
                    f"inputs, {where.get(self.axis, f'axis {self.axis}')}, that are a multiple of "
                    f"{self.of}. {_LEAVE_OUT}"
                )
        own = 1 - self.kept / self.of
        if sparsity is not None and not np.isclose(float(sparsity), own):
            raise ValueError(f"{self.kept}:{self.of} is a sparsity of {own:g}, got {sparsity}")
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
            kept = _best(grouped(scores), alive, count, axis=-1)
            return jnp.moveaxis(kept.reshape(*kept.shape[:-2], -1), -1, self.axis)

        return jax.tree.map(of_leaf, *((scores,) if masks is None else (scores, masks)))

    def after(self, progress: float) -> "NofM":
        """The pattern on the way: some of each M have gone.

        Args:
          progress: which part of the M - N, in [0, 1].
        """
        return dataclasses.replace(self, kept=self.of - round(progress * (self.of - self.kept)))


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
                    f"{_LEAVE_OUT}"
                )
            grids.append(self._grid(leaf.shape))
        return _counts(grids, sparsity, distribution, progress, allow_empty)

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


@dataclasses.dataclass(frozen=True)
class PerOutput:
    """The same number of weights of each output, all inputs and places of a window together.

    So Wanda (Sun et al. 2024) compares weights: within an output, never across.
    """

    def counts(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        progress: Any,
        *,
        allow_empty: bool = False,
    ) -> Counts:
        """How many weights of each output stay, [changes, leaves]. See ``Unstructured``.

        Raises:
          ValueError: the sparsity is missing, or leaves an output of a leaf without weights;
            another distribution is asked for.
        """
        _refuse_layerwise("per_output", distribution)
        final = _given(sparsity)
        rows = []
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.ndim < 1:
                raise ValueError(f"{masks_lib.name(path)!r} is one number, without outputs")
            inputs = int(np.prod(leaf.shape[:-1], dtype=np.int64))
            rows.append([kept_weights(inputs, final * float(part)) for part in progress])
            if leaf.size and not allow_empty and min(rows[-1], default=1) < 1:
                raise ValueError(
                    f"{masks_lib.name(path)!r} has {inputs} weights per output, of which sparsity "
                    f"{final} keeps none. Lower it, or pass allow_empty=True"
                )
        return np.array(rows, np.int32).T

    def keep(
        self,
        scores: PyTree,
        count: Int[Array, "..."],
        masks: PyTree | None,
        *,
        allow_empty: bool = False,
    ) -> PyTree:
        """Masks of the highest scores of each output; the first of equals. See ``Unstructured``."""
        del allow_empty
        leaves, structure = jax.tree.flatten(scores)
        alive = [None] * len(leaves) if masks is None else jax.tree.leaves(masks)
        kept = []
        for leaf, mask, number in zip(leaves, alive, count, strict=True):
            if leaf.size == 0:
                kept.append(jnp.ones(leaf.shape, bool))
                continue
            columns = (-1, leaf.shape[-1])
            of_mask = None if mask is None else mask.reshape(columns)
            kept.append(_best(leaf.reshape(columns), of_mask, number, axis=0).reshape(leaf.shape))
        return jax.tree.unflatten(structure, kept)


Pattern = Unstructured | NofM | Blocks | PerOutput

_LEAVE_OUT = "Leave it out: select= where masks are made, exclude= where weights are allocated"


def as_pattern(given: str | Pattern | None) -> Pattern:
    """The pattern that a name stands for.

    Args:
      given: "2:4" (N of M), "4x4" (blocks of inputs x outputs), "per_output", None for single
        weights, or a pattern.

    Returns:
      The pattern.

    Raises:
      ValueError: it is none of these.

    >>> as_pattern("2:4")
    NofM(kept=2, of=4, axis=-2)
    """
    if given is None:
        return Unstructured()
    if isinstance(given, Unstructured | NofM | Blocks | PerOutput):
        return given
    if given == "per_output":
        return PerOutput()
    if isinstance(given, str) and (found := re.fullmatch(r"(\d+)([:x])(\d+)", given)):
        first, second = int(found[1]), int(found[3])
        return NofM(first, second) if found[2] == ":" else Blocks(first, second)
    raise ValueError(
        f"unknown pattern {given!r}; allowed are '2:4' (N of M inputs), '4x4' (blocks of inputs x "
        "outputs), 'per_output', or an object: NofM(2, 4), Blocks(4, 4), PerOutput()"
    )


FEW = 32
"""Neighbours up to which each is compared with each; of more, a threshold is searched for."""


def _best(scores: Array, mask: Array | None, count: Int[Array, ""], axis: int) -> Array:
    """Marks the highest ``count`` along an axis that are not pruned; of equals the first, NaN last.

    Fewer are marked where fewer are left. Nothing is sorted, which would take ten times as long.
    """
    # whole numbers in the order of the scores, 0 for what is pruned: denormal scores are exact too
    ranked = ranks.rank(scores, mask, scores.dtype == jnp.float64).reshape(scores.shape)
    number = scores.shape[axis]
    if number <= FEW:
        position = jax.lax.broadcasted_iota(jnp.int32, scores.shape, axis % scores.ndim)
        ahead = jnp.zeros(scores.shape, jnp.int32)
        for other in range(number):
            its = jax.lax.slice_in_dim(ranked, other, other + 1, axis=axis)
            first = (its > ranked) | ((its == ranked) & (other < position))
            ahead += first.astype(jnp.int32)
        return (ahead < count) & (ranked > 0)

    def tally(marked: Array) -> Array:
        return jnp.sum(marked, axis=axis, keepdims=True, dtype=jnp.int32)

    def narrow(step: Array, threshold: Array) -> Array:
        bit = np.array(1, ranked.dtype) << (bits - 1 - step).astype(ranked.dtype)
        candidate = threshold | bit
        return jnp.where(tally(ranked >= candidate) >= count, candidate, threshold)

    bits = ranked.dtype.itemsize * 8
    nothing = jnp.zeros_like(tally(ranked > 0), dtype=ranked.dtype)
    threshold = jax.lax.fori_loop(0, bits, narrow, nothing)
    above, tied = ranked > threshold, ranked == threshold
    first = jnp.cumsum(tied, axis=axis, dtype=jnp.int32) <= count - tally(above)
    return (above | (tied & first)) & (ranked > 0)


def _refuse_layerwise(pattern: str, distribution: str) -> None:
    """Refuses a distribution that a pattern cannot follow."""
    names.choose("distribution", distribution, DISTRIBUTIONS)
    if distribution not in ("global", "uniform"):
        raise ValueError(
            f"{pattern} keeps the same share of every layer, so that distribution "
            f"{distribution!r} has no say: leave it out"
        )


def _given(sparsity: SupportsFloat | None) -> float:
    if sparsity is None:
        raise ValueError("sparsity= is missing: the fraction removed in the end, in [0, 1)")
    return check_sparsity(sparsity)


def _counts(
    shapes: list[tuple[int, ...]],
    sparsity: SupportsFloat | None,
    distribution: str,
    progress: Float[np.ndarray, " changes"],
    allow_empty: bool,
) -> Counts:
    names.choose("distribution", distribution, DISTRIBUTIONS)
    final = _given(sparsity)
    sizes = np.array([np.prod(shape, dtype=np.int64) for shape in shapes])
    layerwise = "uniform" if distribution == "global" else distribution
    last = np.array(leaf_counts(shapes, final, layerwise, allow_empty=allow_empty))
    if distribution == "global":
        total = int(sizes.sum())
        counts = [kept_weights(total, final * float(part)) for part in progress]
        return np.array(counts, np.int32)
    return (sizes - np.rint(np.outer(progress, sizes - last))).astype(np.int32)
