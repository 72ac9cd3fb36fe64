"""Masks from scores, with inputs and outputs as the products of the network have them."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from prunejax import allocation
from prunejax import masks as masks_lib
from prunejax.allocation import Blocks, NofM, Pattern, Sparsity, as_pattern, shares
from prunejax.layerwise import trees
from prunejax.layerwise.reading import Kernel, read
from prunejax.network import Structure
from prunejax.selecting import Select


def allocate(
    network: Structure,
    scores: PyTree,
    sparsity: Sparsity | None = None,
    *,
    pattern: str | Pattern | None = "per_output",
    exclude: Select | None = None,
    masks: PyTree | None = None,
) -> PyTree:
    """Keeps the weights of the highest scores, in any layout of the kernels.

    ``allocation.allocate`` takes the last axis for outputs and the one before it for inputs, which
    is right for the kernels of Flax's dense layers and convolutions. This function asks the trace:
    Equinox stores [outputs, inputs], attention [heads, width, outputs]. Where several axes are the
    inputs, N of M goes along all of them together; in a convolution along its channels.

    Args:
      network: the traced network.
      scores: parallel to its parameters, from ``wanda`` or any criterion; None for what stays
        whole. Higher means keep.
      sparsity: the fraction of weights to remove, as in ``allocation.allocate``.
      pattern: "per_output", as Wanda compares weights; "2:4"; "4x4"; None for single weights
        wherever they are.
      exclude: leaves that stay whole, as in ``allocation.allocate``.
      masks: weights that are pruned already.

    Returns:
      Masks parallel to the scores.

    Raises:
      ValueError: as ``allocation.allocate``, or there are scores for a leaf that is not covered
        (see ``kernels``), or M does not divide a kernel's inputs.

    >>> from prunejax.network import trace
    >>> first = jnp.array([[1.0, 2.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0]])
    >>> params = {"first": first, "last": jnp.ones((3, 2))}
    >>> network = trace(lambda p, x: p["last"] @ (p["first"] @ x), params, jnp.ones(4))
    >>> allocate(network, params, 0.5)["first"].tolist()
    [[False, False, True, True], [True, True, False, False]]
    """
    shaped = as_pattern(pattern)
    leaves = trees.leaves_by_name(scores)
    _check(network, leaves)
    kernels = trees.chosen(read(network, network.variables, network.traced.example), leaves)
    if isinstance(shaped, NofM):
        shaped = NofM(shaped.kept, shaped.of)  # the inputs stand last but one here, always
    alive = None
    if masks is not None:
        masks_lib.validate(scores, masks)
        given = trees.leaves_by_name(masks)
        if missing := [path for path in leaves if path not in given]:
            raise ValueError(f"there are scores for {missing[0]!r}, but no mask")
        alive = _flat(given, kernels)
    matrices = _flat(leaves, kernels)
    ones = {key: jnp.ones(matrix.shape, bool) for key, matrix in matrices.items()}
    flat = ones if alive is None else dict(alive)
    paths = list(leaves)
    for share in shares(paths, sparsity, exclude):
        of_share = {paths[at] for at in share.leaves}
        here = {key: kernel for key, kernel in kernels.items() if kernel.leaf in of_share}
        refuse_indivisible(here.values(), shaped)
        flat |= allocation.allocate(
            {key: matrices[key] for key in here},
            share.sparsity,
            pattern=shaped,
            masks=None if alive is None else {key: alive[key] for key in here},
        )
    kept = {}
    for key, kernel in kernels.items():
        groups, inputs, outputs = kernel.places.shape
        kept[key] = flat[key].reshape(inputs, groups, outputs).swapaxes(0, 1)
    return trees.parallel_to(scores, trees.joined(kernels, kept, leaves))


def refuse_indivisible(kernels: Iterable[Kernel], pattern: Pattern) -> None:
    """Refuses kernels that a pattern cannot divide without joining what is no neighbour.

    Raises:
      ValueError: there is one; the message names it.
    """
    for kernel in kernels:
        if isinstance(pattern, NofM) and kernel.neighbours % pattern.of:
            raise ValueError(
                f"{kernel.name!r} has {kernel.neighbours} inputs in a row, which {pattern.kept}:"
                f"{pattern.of} cannot divide into groups of {pattern.of}: leave it out"
            )
        outputs = kernel.places.shape[2]
        if isinstance(pattern, Blocks) and (
            kernel.neighbours % pattern.inputs or outputs % pattern.outputs
        ):
            raise ValueError(
                f"{kernel.name!r} has {kernel.neighbours} inputs in a row and {outputs} outputs in "
                f"a group, which blocks of {pattern.inputs} x {pattern.outputs} cannot divide: "
                "leave it out"
            )


def _flat(leaves: Mapping[str, Any], kernels: Mapping[str, Kernel]) -> dict[str, Array]:
    """Kernels as [inputs, groups x outputs], which ``allocation`` reads rightly."""
    cut = {key: trees.cut(leaves, kernel).swapaxes(0, 1) for key, kernel in kernels.items()}
    return {key: matrix.reshape(matrix.shape[0], -1) for key, matrix in cut.items()}


def _check(network: Structure, scores: Mapping[str, Any]) -> None:
    """Refuses scores that are not those of the network.

    Raises:
      ValueError: there are none, or one has no parameter of its path and shape.
    """
    if not scores:
        raise ValueError("the scores are empty: every leaf is None")
    params = trees.leaves_by_name(trees.params_of(network, network.variables))
    for path, leaf in scores.items():
        shape = params[path].shape if path in params else None
        if shape != np.shape(leaf):
            raise ValueError(
                f"the scores of {path!r} have shape {np.shape(leaf)}, the network's parameter "
                f"{'is missing' if shape is None else shape}"
            )
