"""SparseGPT: prunes layer by layer, and lets the remaining weights make up for what goes."""

from collections.abc import Iterable, Mapping
from typing import SupportsFloat

import numpy as np
from jaxtyping import Array, PyTree

from prunejax.allocation import NofM, as_pattern, check_sparsity, kept_weights
from prunejax.layerwise import column_by_column, hessian
from prunejax.layerwise.allocating import refuse_indivisible
from prunejax.layerwise.layer_by_layer import Pruned, layer_by_layer
from prunejax.layerwise.reading import Kernel
from prunejax.layerwise.statistics import prepared
from prunejax.network import Structure


def sparsegpt(
    network: Structure,
    variables: PyTree,
    batches: Iterable[PyTree],
    sparsity: SupportsFloat | None = None,
    *,
    pattern: str | NofM | None = None,
    masks: PyTree | None = None,
    block: int = 128,
    dampening: float = 0.01,
    sequential: bool = True,
) -> Pruned:
    """Prunes a trained network without training on (Frantar & Alistarh 2023, algorithm 1).

    For each kernel it looks for a sparse one that puts out the same on calibration inputs X. It
    goes through the weights input by input. Those of the smallest ``w_j^2 / [H_j:^-1]_00`` go, the
    saliency of optimal brain surgeon; H is ``2 X X^T``. The weights of the same output behind it
    make up for each: ``- w_j / [H_j:^-1]_00 * [H_j:^-1]_0``. An input that is always 0 loses its
    weights, as in the authors' code.

    With ``sparsity`` every kernel loses the same fraction: it keeps exactly
    ``kept_weights(weights, sparsity)``. Weights compete within a block of inputs, all outputs
    together, and up to the end of each block the share is rounded: blocks keep their proportion to
    within one weight. Of equal scores a hash of the position decides. With "2:4" exactly 2 of each
    4 inputs stay, for each output, the first of equals.

    SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot. ICML 2023, arXiv
    2301.00774.

    Args:
      network: the traced network.
      variables: its variables, trained.
      batches: inputs to calibrate with; see ``input_statistics``. With ``sequential`` they and what
        is between two layers stay in memory.
      sparsity: the fraction of each kernel's weights that goes, in [0, 1).
      pattern: "2:4", or ``NofM``, in the place of a sparsity; along the inputs of each product.
      masks: parallel to the parameters: which kernels to prune; weights pruned already stay so,
        and count. By default all that ``kernels(network)`` covers.
      block: how many inputs choose together what goes, and are updated at once.
      dampening: is added to the Hessian's diagonal, as a fraction of its mean. Where the Hessian
        cannot be factored, it is raised tenfold until it can; ``Pruned.info`` says so.
      sequential: whether each kernel is calibrated with what the network pruned so far gives it,
        as the authors do. Kernels that do not depend on each other are one step: query, key and
        value. Otherwise one pass through the dense network measures for all, which needs the
        memory of all Gram matrices at once.

    Returns:
      The pruned network.

    Raises:
      ValueError: as ``input_statistics``; the sparsity is missing, outside [0, 1), leaves a kernel
        empty or is not the pattern's; the pattern is not N of M or M divides not the inputs or the
        block; a weight is not finite; a Hessian cannot be factored.

    >>> from prunejax.network import trace
    >>> params = {"first": jnp.array([[3.0, 1.0], [0.5, -2.0]]), "last": jnp.ones((2, 1))}
    >>> network = trace(lambda p, x: x @ p["first"] @ p["last"], params, jnp.ones((1, 2)))
    >>> pruned = sparsegpt(network, params, [2 * jnp.eye(2)], 0.5)
    >>> pruned.variables["first"].tolist()
    [[3.0, 0.0], [0.0, -2.0]]
    """
    _check_numbers(block, dampening)
    groups = _n_of_m(sparsity, pattern, block)
    removed = 0.0 if sparsity is None else check_sparsity(sparsity)
    variables, kernels = prepared(network, variables, masks)
    if groups is not None:
        refuse_indivisible(kernels.values(), groups)
    else:
        _refuse_empty(kernels, removed)

    def solve(kernel: Kernel, weights: Array, alive: Array, upper: Array) -> tuple[Array, Array]:
        if groups is not None:
            return column_by_column.solve(
                weights, alive, upper, None, block=block, n_of_m=(groups.kept, groups.of)
            )
        count = kept_weights(kernel.places.size, removed)
        counts = column_by_column.block_counts(kernel.places.shape, count, block)
        return column_by_column.solve(weights, alive, upper, counts, block=block)

    return layer_by_layer(network, variables, batches, kernels, masks, solve, dampening, sequential)


def reconstruct(
    network: Structure,
    variables: PyTree,
    batches: Iterable[PyTree],
    masks: PyTree,
    *,
    block: int = 128,
    dampening: float = 0.01,
    sequential: bool = True,
) -> Pruned:
    """Lets the remaining weights of given masks make up for the pruned ones, as SparseGPT does.

    The masks may come from any criterion, ``wanda`` for one. The size of the blocks changes nothing
    but the time.

    Args:
      network: the traced network.
      variables: its variables, trained, none of their weights removed yet.
      batches: inputs to calibrate with.
      masks: parallel to the parameters; False for weights that go.
      block: how many inputs are updated at once.
      dampening: as in ``sparsegpt``.
      sequential: as in ``sparsegpt``.

    Returns:
      The pruned network; its masks are those given.

    Raises:
      ValueError: as ``sparsegpt``.
    """
    _check_numbers(block, dampening)
    _, kernels = prepared(network, variables, masks)

    def solve(kernel: Kernel, weights: Array, alive: Array, upper: Array) -> tuple[Array, Array]:
        del kernel
        return column_by_column.solve(weights, alive, upper, None, block=block)

    return layer_by_layer(network, variables, batches, kernels, masks, solve, dampening, sequential)


def _check_numbers(block: int, dampening: float) -> None:
    if not hasattr(block, "__index__") or block < 1:
        raise ValueError(f"block is a number of inputs, at least 1, got {block!r}")
    if not isinstance(dampening, float | int) or not 0 <= dampening <= hessian.MOST:
        raise ValueError(f"dampening is a fraction of the diagonal, in [0, 1], got {dampening!r}")


def _n_of_m(sparsity: SupportsFloat | None, pattern: str | NofM | None, block: int) -> NofM | None:
    """The N of M to prune to, if it is one."""
    if pattern is None:
        if sparsity is None:
            raise ValueError("say how much to prune: sparsity=0.5, or pattern='2:4'")
        return None
    shaped = as_pattern(pattern)
    if not isinstance(shaped, NofM):
        raise ValueError(
            "SparseGPT prunes single weights (sparsity=) or N of M (pattern='2:4'), got "
            f"{pattern!r}"
        )
    own = shaped.sparsity
    if sparsity is not None and not np.isclose(check_sparsity(sparsity), own):
        raise ValueError(
            f"{shaped.kept}:{shaped.of} is a sparsity of {own:g}, got {sparsity}: leave one out"
        )
    if block % shaped.of:
        raise ValueError(f"block must be a multiple of {shaped.of}, the M of N of M, got {block}")
    return shaped


def _refuse_empty(kernels: Mapping[str, Kernel], sparsity: float) -> None:
    for key, kernel in kernels.items():
        if kernel.places.size and not kept_weights(kernel.places.size, sparsity):
            raise ValueError(
                f"sparsity {sparsity:g} leaves none of the {kernel.places.size} weights of "
                f"{key!r}: lower it, or leave the kernel out of the masks"
            )
