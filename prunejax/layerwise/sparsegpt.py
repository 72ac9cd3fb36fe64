"""SparseGPT: prunes layer by layer, and lets the remaining weights make up for what goes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, SupportsFloat

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from prunejax.allocation import NofM, as_pattern, check_sparsity, kept_weights
from prunejax.layerwise import column_by_column, hessian, streaming, trees
from prunejax.layerwise.allocating import refuse_indivisible
from prunejax.layerwise.reading import Kernel
from prunejax.layerwise.statistics import InputStatistics, add, prepared, refuse_not_finite
from prunejax.network import Structure


class LayerInfo(NamedTuple):
    """How one kernel was pruned.

    Attributes:
      error: the squared error of what it puts out over the calibration samples, as a fraction of
        the squares of what it put out before: ``|XW' - XW|^2 / |XW|^2``.
      dampening: what was added to the Hessian's diagonal, as a fraction of its mean: more than was
        asked for where the Hessian could not be factored.
      samples: how many samples it was calibrated with.
    """

    error: float
    dampening: float
    samples: int


class Pruned(NamedTuple):
    """A pruned network.

    Attributes:
      variables: with the pruned weights exactly 0 and the others updated; state is as it was.
      masks: parallel to the parameters, None where nothing was pruned.
      info: of each kernel, in the order they were pruned.
    """

    variables: PyTree
    masks: PyTree
    info: dict[str, LayerInfo]


Solve = Callable[[Kernel, Array, Array, Array], tuple[Array, Array]]
"""(kernel, weights, what is alive, upper factor) -> (weights, mask)."""


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

    return _pruned(network, variables, batches, kernels, masks, solve, dampening, sequential)


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

    return _pruned(network, variables, batches, kernels, masks, solve, dampening, sequential)


def _pruned(
    network: Structure,
    variables: PyTree,
    batches: Iterable[PyTree],
    kernels: Mapping[str, Kernel],
    masks: PyTree | None,
    solve: Solve,
    dampening: float,
    sequential: bool,
) -> Pruned:
    """Measures and solves, stage by stage."""
    given = None if masks is None else trees.leaves_by_name(masks)
    _refuse_weights(trees.leaves_by_name(trees.params_of(network, variables)), kernels)
    held = streaming.read_batches(network, variables, batches)
    totals: dict[str, InputStatistics] = {}
    if sequential:
        held = list(held)
        stages = streaming.stages(held[0].reading, list(kernels))
    else:
        for batch in held:
            streaming.require(batch.reading, kernels)
            taken = streaming.inputs(batch, variables, list(kernels))
            totals = add(totals, taken, batch, kernels, gram=True)
        refuse_not_finite(totals)
        stages = [[key] for key in kernels]
    kept: dict[str, Array] = {}
    info: dict[str, LayerInfo] = {}
    for at, stage in enumerate(stages):
        if sequential:
            later = [key for each in stages[at + 1 :] for key in each]
            held, totals = _measured(held, variables, stage, later)
        params = trees.params_of(network, variables)
        leaves = trees.leaves_by_name(params)
        for key in stage:
            kernel = kernels[key]
            alive = jnp.ones(kernel.places.shape, bool)
            if given is not None:
                alive = trees.cut(given, kernel)
            solved, kept[key], info[key] = _solved(
                kernel, trees.cut(leaves, kernel), alive, totals.pop(key), solve, dampening
            )
            leaves[kernel.leaf] = trees.put(leaves[kernel.leaf], kernel, solved)
        variables = trees.with_params(network, variables, trees.replaced(params, leaves))
    params = trees.params_of(network, variables)
    leaves = trees.joined(kernels, kept, trees.leaves_by_name(params))
    return Pruned(variables, trees.parallel_to(params, leaves), info)


def _measured(
    held: Iterable[streaming.Batch], variables: PyTree, stage: list[str], later: list[str]
) -> tuple[list[streaming.Batch], dict[str, InputStatistics]]:
    """The batches before the next stage, and what its kernels take in."""
    moved, totals = [], {}
    for batch in held:
        streaming.require(batch.reading, [*stage, *later])
        taken, batch = streaming.advance(batch, variables, stage, later)
        totals = add(totals, taken, batch, stage, gram=True)
        moved.append(batch)
    refuse_not_finite(totals)
    return moved, totals


def _solved(
    kernel: Kernel,
    weights: Array,
    alive: Array,
    total: InputStatistics,
    solve: Solve,
    dampening: float,
) -> tuple[Array, Array, LayerInfo]:
    """One kernel: its weights, its mask, and how it went."""
    gram = total.gram
    assert gram is not None
    before = weights.astype(gram.dtype)
    factor = hessian.inverse_factor(gram, dampening, kernel.name)
    live = jnp.where(factor.dead[:, :, None], 0, before)
    after, mask = solve(kernel, live, alive, factor.upper)
    lost, whole = (float(_energy(each, gram)) for each in (after - before, before))
    info = LayerInfo(lost / whole if whole else 0.0, factor.dampening, total.samples)
    return after, mask, info


def _energy(weights: Array, gram: Array) -> Array:
    """The sum of squares of what a kernel puts out."""
    put_out = jnp.einsum("gij,gjo->gio", gram, weights, precision="highest")
    return jnp.sum(put_out * weights)


def _check_numbers(block: int, dampening: float) -> None:
    if not isinstance(block, int) or block < 1:
        raise ValueError(f"block is a number of inputs, at least 1, got {block!r}")
    if not 0 <= dampening <= hessian.MOST:
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
    own = 1 - shaped.kept / shaped.of
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


def _refuse_weights(leaves: Mapping[str, Any], kernels: Mapping[str, Kernel]) -> None:
    for key, kernel in kernels.items():
        if not bool(jnp.all(jnp.isfinite(leaves[kernel.leaf]))):
            raise ValueError(f"a weight of {key!r} is not finite")
