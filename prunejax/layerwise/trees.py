"""From trees of parameters to kernels by name, and back."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from prunejax.layerwise import layouts
from prunejax.layerwise.reading import Kernel, Reading
from prunejax.masks import name
from prunejax.network import Structure


def params_of(network: Structure, variables: PyTree) -> PyTree:
    """The parameters among the variables: linen's ``params``, or all of them."""
    return variables["params"] if "params" in network.collections else variables


def with_params(network: Structure, variables: PyTree, params: PyTree) -> PyTree:
    """The variables with other parameters."""
    return {**variables, "params": params} if "params" in network.collections else params


def leaves_by_name(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by their paths."""
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def parallel_to(params: PyTree, leaves: Mapping[str, Any]) -> PyTree:
    """A tree like the parameters with some leaves, by path, and None elsewhere."""
    return jax.tree_util.tree_map_with_path(lambda path, _: leaves.get(name(path)), params)


def replaced(params: PyTree, leaves: Mapping[str, Any]) -> PyTree:
    """The parameters with other leaves in some places."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaves.get(name(path), leaf), params)


def chosen(reading: Reading, paths: Iterable[str] | None) -> dict[str, Kernel]:
    """The kernels to prune: those of some leaves, or all that are covered.

    Args:
      reading: the network's kernels.
      paths: of the leaves, or None.

    Returns:
      The kernels by name, in the order of the network.

    Raises:
      ValueError: there is none, or a leaf is not covered; the message says why.
    """
    if paths is None:
        if not reading.kernels:
            raise ValueError(
                f"no layer of this network multiplies activations by a kernel{_why(reading)}"
            )
        return dict(reading.kernels)
    wanted = list(paths)
    covered = {kernel.leaf for kernel in reading.kernels.values()}
    for path in wanted:
        if path not in covered:
            reason = reading.left_out.get(path, "no product with activations reads it")
            raise ValueError(
                f"layer-wise criteria do not cover {path!r}: {reason}. Leave it out: "
                "masks.make(params, select=...) says which leaves are pruned"
            )
    return {key: kernel for key, kernel in reading.kernels.items() if kernel.leaf in wanted}


def cut(leaves: Mapping[str, Any], kernel: Kernel) -> Array:
    """A kernel's entries of the leaf that it is a part of, [groups, inputs, outputs]."""
    return layouts.gather(leaves[kernel.leaf], kernel.places, kernel.in_order)


def put(leaf: Any, kernel: Kernel, values: Array) -> Array:
    """The leaf with a kernel's entries in their places, in the leaf's type."""
    return layouts.scatter(jnp.asarray(leaf), kernel.places, kernel.in_order, values)


def joined(
    kernels: Mapping[str, Kernel], values: Mapping[str, Array], shapes: Mapping[str, Any]
) -> dict[str, Array]:
    """Leaves from the values of their kernels.

    Args:
      kernels: by name.
      values: for each an array, [groups, inputs, outputs].
      shapes: arrays of the leaves' shapes, by path.

    Returns:
      The leaves by path.
    """
    leaves: dict[str, Array] = {}
    for key, kernel in kernels.items():
        path = kernel.leaf
        empty = jnp.zeros(shapes[path].shape, values[key].dtype)
        leaves[path] = put(leaves.get(path, empty), kernel, values[key])
    return leaves


def _why(reading: Reading) -> str:
    reasons = [f"{path}: {reason}" for path, reason in list(reading.left_out.items())[:3]]
    return f" ({'; '.join(reasons)})" if reasons else ""
