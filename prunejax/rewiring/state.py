"""What an update of the topology takes and gives, and its layers by their paths."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from prunejax import masks as masks_lib
from prunejax import names
from prunejax.rewiring.layouts import Topology
from prunejax.sparse import Links


class State(NamedTuple):
    """What an update of the topology changes.

    Attributes:
      params: the parameters. Where a layer holds only its links, its kernel is their weights.
      topology: ``Links`` or a mask at the paths of kernels that are rewired: a tree parallel to
        ``params`` with ``None`` elsewhere, or the collection "links" of linen variables, in which
        other leaves are missing.
      opt_state: the optimiser's state, ``()`` without.
    """

    params: PyTree
    topology: PyTree
    opt_state: PyTree = ()


class Info(NamedTuple):
    """What an update did, by the paths of the layers' kernels.

    Attributes:
      removed: links that the removal rule took.
      swept: links of disconnected neurons.
      regrown: links that went and came back.
      settled: whether the removal rule takes nothing from a layer from now on, see ``settle_at``.
    """

    removed: dict[str, Int[Array, ""]]
    swept: dict[str, Int[Array, ""]]
    regrown: dict[str, Int[Array, ""]]
    settled: dict[str, Bool[Array, ""]]


def named(tree: PyTree) -> dict[str, Any]:
    """A tree's arrays by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {masks_lib.name(path): leaf for path, leaf in leaves}


def layers_of(state: State) -> dict[str, Topology]:
    """The layers that have links, by the paths of their kernels, in the order of the parameters.

    Raises:
      ValueError: links stand where no parameter is, or no layer has any.
    """
    found = {
        masks_lib.name(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.topology, is_leaf=_is_links)
    }
    paths = list(named(state.params))
    for path in found:
        if path not in paths:
            near = names.suggestion(path, paths)
            raise ValueError(f"there are links for {path!r}, but no parameter of that path{near}")
    if not found:
        raise ValueError("no layer has links: every leaf of the topology is None")
    return {path: found[path] for path in paths if path in found}


def counted(layers: dict[str, Topology]) -> tuple[int, ...]:
    """How many links each layer has.

    Raises:
      ValueError: masks are traced, and cannot be counted.
    """
    for name, topology in layers.items():
        if isinstance(topology, Tracer):
            raise ValueError(
                f"inside jit the links that the mask of {name!r} keeps cannot be counted, which "
                "link prediction needs: hold the layer's links as Links, or call evolve outside"
            )
    return tuple(
        len(each) if isinstance(each, Links) else int(np.count_nonzero(each))
        for each in layers.values()
    )


def bias_of(kernel: str) -> str:
    """The path of the bias of a kernel."""
    return "/".join([*kernel.split("/")[:-1], "bias"])


def replaced(tree: PyTree, by_path: dict[str, Any]) -> PyTree:
    """The tree with other values at some paths."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: by_path.get(masks_lib.name(path), leaf),
        tree,
        is_leaf=_is_links,
    )


def _is_links(node: Any) -> bool:
    return isinstance(node, Links)
