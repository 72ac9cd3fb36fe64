"""Pruning kernels one after the other, with what the network gives them by then."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from prunejax.layerwise import hessian, streaming, trees
from prunejax.layerwise.reading import Kernel
from prunejax.layerwise.statistics import InputStatistics, add, refuse_not_finite
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


def layer_by_layer(
    network: Structure,
    variables: PyTree,
    batches: Iterable[PyTree],
    kernels: Mapping[str, Kernel],
    masks: PyTree | None,
    solve: Solve,
    dampening: float,
    sequential: bool,
) -> Pruned:
    """Measures what kernels take in and prunes them, one step of the network after the other.

    Args:
      network: the network.
      variables: its variables, with what is pruned already 0 or not.
      batches: inputs to calibrate with.
      kernels: what to prune, by name, in the order of the network.
      masks: parallel to the parameters; what is alive. None: all is.
      solve: prunes one kernel.
      dampening: of the Hessians.
      sequential: whether later kernels are calibrated with what the pruned ones give.

    Returns:
      The pruned network.

    Raises:
      ValueError: there is no batch, one does not fit, a weight or an input is not finite, or a
        Hessian cannot be factored.
    """
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


def _refuse_weights(leaves: Mapping[str, Any], kernels: Mapping[str, Kernel]) -> None:
    for key, kernel in kernels.items():
        if not bool(jnp.all(jnp.isfinite(leaves[kernel.leaf]))):
            raise ValueError(f"a weight of {key!r} is not finite")
