"""SparseGPT's algorithm for one kernel: input by input, the rest makes up for what goes."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from prunejax import ranks


def solve(
    weights: Float[Array, "groups inputs outputs"],
    alive: Bool[Array, "groups inputs outputs"],
    upper: Float[Array, "groups inputs inputs"],
    counts: Int[np.ndarray, "groups blocks"] | None,
    *,
    block: int,
    n_of_m: tuple[int, int] | None = None,
) -> tuple[Float[Array, "groups inputs outputs"], Bool[Array, "groups inputs outputs"]]:
    """Prunes a kernel and updates what remains (Frantar & Alistarh 2023, algorithm 1).

    Inputs are looked at from the first to the last. The weight of input j that goes leaves an error
    ``w_j / U_jj``, which, times ``U_j,j+1:``, is taken off the weights behind it: the update of
    optimal brain surgeon, in which weights before j stay as they are. What goes is chosen by the
    smallest ``w_j^2 / U_jj^2``, the loss that its removal costs.

    Args:
      weights: the kernel.
      alive: False for weights that are pruned already, which stay so.
      upper: of ``hessian.inverse_factor``.
      counts: how many weights each block keeps, at the most, chosen as the block begins; None for
        N of M, or to prune what ``alive`` says and nothing else.
      block: how many inputs are updated at once; those behind are as the block ends.
      n_of_m: N and M: N of each M inputs of each output stay, chosen as the M begin.

    Returns:
      The kernel, with pruned weights exactly 0, and the mask.
    """
    block = min(block, weights.shape[1])
    if counts is None:
        counts = np.zeros((len(weights), -(-weights.shape[1] // block)), np.int32)
        chooses = False
    else:
        chooses = True
    return _solved(weights, alive, upper, jnp.asarray(counts), block, n_of_m, chooses)


def block_counts(
    shape: tuple[int, int, int], kept: int, block: int
) -> Int[np.ndarray, "groups blocks"]:
    """How many weights each block keeps: proportional, exact in the sum.

    Up to the end of each block ``round(kept * weights so far / weights)`` are kept, so that each
    block is within one weight of its share and the sum is ``kept``.

    Args:
      shape: the kernel's groups, inputs and outputs.
      kept: how many weights stay.
      block: inputs per block.

    Returns:
      The counts.

    >>> block_counts((1, 5, 2), 5, 2).tolist()
    [[2, 2, 1]]
    """
    groups, inputs, outputs = shape
    ends = [min(start + block, inputs) for start in range(0, inputs, block)]
    reached = [(group * inputs + end) * outputs for group in range(groups) for end in ends]
    upto = [0, *(round(kept * weights / math.prod(shape)) for weights in reached)]
    return np.diff(upto).astype(np.int32).reshape(groups, len(ends))


@partial(jax.jit, static_argnames=("block", "n_of_m", "chooses"))
def _solved(
    weights: Array,
    alive: Array,
    upper: Array,
    counts: Array,
    block: int,
    n_of_m: tuple[int, int] | None,
    chooses: bool,
) -> tuple[Array, Array]:
    def of_group(weights: Array, alive: Array, upper: Array, counts: Array) -> tuple[Array, Array]:
        inputs = len(weights)
        blocks = counts.shape[0]
        missing = blocks * block - inputs
        # what fills the last block up is pruned, 0, and bound to nothing
        weights = jnp.pad(weights, ((0, missing), (0, 0)))
        alive = jnp.pad(alive, ((0, missing), (0, 0)))
        upper = jnp.pad(upper, ((0, missing), (0, missing)))
        filled = jnp.arange(blocks * block) >= inputs
        upper = upper + jnp.diag(filled.astype(upper.dtype))

        def of_block(at: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            weights, mask = carry
            start = at * block
            rows = jax.lax.dynamic_slice_in_dim(upper, start, block)
            inside = jax.lax.dynamic_slice_in_dim(rows, start, block, axis=1)
            current = jax.lax.dynamic_slice_in_dim(weights, start, block)
            keep = jax.lax.dynamic_slice_in_dim(alive, start, block)
            diagonal = jnp.diagonal(inside)[:, None]
            if chooses:
                keep = _highest(_saliency(current, diagonal), keep, counts[at])
            current, keep, errors = _pruned(current, keep, inside, n_of_m)
            # all inputs behind the block at once, by what the block's errors add up to
            behind = jnp.arange(weights.shape[0]) >= start + block
            change = jnp.matmul(rows.T, errors, precision=jax.lax.Precision.HIGHEST)
            weights = weights - jnp.where(behind[:, None], change, 0)
            weights = jax.lax.dynamic_update_slice_in_dim(weights, current, start, axis=0)
            return weights, jax.lax.dynamic_update_slice_in_dim(mask, keep, start, axis=0)

        weights, mask = jax.lax.fori_loop(0, blocks, of_block, (weights, alive))
        return weights[:inputs], mask[:inputs]

    return jax.vmap(of_group)(weights, alive, upper, counts)


def _pruned(
    weights: Array, keep: Array, upper: Array, n_of_m: tuple[int, int] | None
) -> tuple[Array, Array, Array]:
    """One block: its weights, its mask, and what each input's removal leaves to those behind."""
    diagonal = jnp.diagonal(upper)

    def of_input(at: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weights, keep, errors = carry
        if n_of_m is not None:
            decided = partial(_n_of_m, n_of_m=n_of_m, diagonal=diagonal)
            begins = at % n_of_m[1] == 0
            keep = jax.lax.cond(begins, decided, lambda _, keep, __: keep, weights, keep, at)
        here = weights[at]
        left = jnp.where(keep[at], here, 0)
        error = (here - left) / diagonal[at]
        weights = weights - upper[at][:, None] * error  # upper: those before `at` stay
        return weights.at[at].set(left), keep, errors.at[at].set(error)

    carry = (weights, keep, jnp.zeros_like(weights))
    return jax.lax.fori_loop(0, len(weights), of_input, carry)


def _n_of_m(
    weights: Array, keep: Array, at: Array, *, diagonal: Array, n_of_m: tuple[int, int]
) -> Array:
    """The mask with the next M inputs decided; of equals the first stays."""
    count, of = n_of_m
    current = jax.lax.dynamic_slice_in_dim(weights, at, of)
    scale = jax.lax.dynamic_slice_in_dim(diagonal, at, of)[:, None]
    alive = jax.lax.dynamic_slice_in_dim(keep, at, of)
    saliency = jnp.where(alive, _saliency(current, scale), -jnp.inf)
    order = jnp.argsort(saliency, axis=0, descending=True, stable=True)
    chosen = (jnp.argsort(order, axis=0) < count) & alive
    return jax.lax.dynamic_update_slice_in_dim(keep, chosen, at, axis=0)


def _saliency(weights: Array, diagonal: Array) -> Array:
    return jnp.square(weights / diagonal)


def _highest(scores: Array, alive: Array, count: Array) -> Array:
    ranked = ranks.rank(scores, alive, scores.dtype == jnp.float64)
    count = jnp.minimum(count, ranks.tally(ranked > 0))
    return ranks.highest(ranked, count).reshape(scores.shape)
