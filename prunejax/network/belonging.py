"""Which leaf of a network a leaf of another tree belongs to, and how it loses the same channels.

The state of an optimiser holds, beside moments in the shape of the parameters, histories of them,
maxima over rows and columns, and means over them. A leaf that is no moment is recognised by its
shape and by the class of the state that holds it.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import core
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.names import listed
from prunejax.network.resizing import shrink
from prunejax.network.structure import Structure

Kept = Mapping[str, list[np.ndarray]]
"""For each leaf that loses channels, by path: for each axis which indices stay."""

MEANS = ("FactoredState",)
"""States whose arrays are means over entries that would go: not those of a smaller network."""

MAXIMA = ("ScaleBySM3State",)
"""States with an array for each axis of a parameter, the maximum over the others."""

PARTS = ("real", "imaginary")
"""What ``optax.contrib.split_real_and_imaginary`` divides a parameter into."""


def find(ends: Mapping[str, str], path: str) -> str | None:
    """The leaf of a network that a path of another tree ends with; the longest wins.

    Args:
      ends: the network's leaves by the ends of their paths.
      path: a path.

    Returns:
      The leaf's path, or None.
    """
    parts = path.split("/")
    for start in range(len(parts)):
        leaf = ends.get("/".join(parts[start:]))
        if leaf is not None:
            return leaf
    return None


def sliced(
    tree: PyTree,
    ends: Mapping[str, str],
    leaves: Mapping[str, Any],
    kept: Kept,
    *,
    donate: bool = False,
) -> PyTree:
    """Leaves the removed channels out of a tree; see ``Plan.slice``.

    Args:
      tree: variables, gradients, or the state of an optimiser.
      ends: the network's leaves by the ends of their paths.
      leaves: its leaves by path.
      kept: what stays.
      donate: frees each array as soon as what stays of it is made.

    Returns:
      The same tree with smaller leaves.

    Raises:
      ValueError: a leaf belongs to the network and cannot be sliced; it is named.
    """
    if donate:  # what cannot be sliced is found before anything is freed
        sliced(jax.tree.map(_described, tree), ends, leaves, kept)
    # one array may stand at several places, at some of which it stays as it is
    uses = Counter(id(leaf) for leaf in jax.tree.leaves(tree)) if donate else Counter()

    def freed(leaf: Any, made: Any) -> Any:
        if donate and made is not leaf and _concrete(leaf):
            uses[id(leaf)] -= 1
            if not uses[id(leaf)]:
                leaf.delete()
        return made

    def smaller(path: jax.tree_util.KeyPath, leaf: Any) -> Any:
        kind = type(leaf).__name__
        if kind in MEANS or kind in MAXIMA:
            inner = _maximum if kind in MAXIMA else _mean
            return jax.tree_util.tree_map_with_path(
                lambda below, part: freed(part, inner(name((*path, *below)), part)), leaf
            )
        return freed(leaf, _one(name(path), leaf))

    def _one(path: str, leaf: Any) -> Any:
        owner, shape = find(ends, path), np.shape(leaf)
        if owner is None:
            return _inside(path, leaf)
        if owner not in kept:
            return leaf
        wanted = tuple(leaves[owner].shape)
        if shape == wanted:
            return shrink(leaf, kept[owner])
        if math.prod(shape) <= 1:  # nothing, or one number for the whole leaf
            return leaf
        if shape[1:] == wanted:  # a history of the last steps
            return shrink(leaf, [np.ones(shape[0], bool), *kept[owner]])
        raise ValueError(
            f"cannot slice {path!r}: its shape is {shape}, but the network was traced with {wanted}"
        )

    def _inside(path: str, leaf: Any) -> Any:
        """Slices a leaf whose path goes on below one of the network's; any other stays as it is."""
        shape, parts = np.shape(leaf), path.split("/")
        if not kept or math.prod(shape) <= 1:
            return leaf
        for end in range(len(parts) - 1, 0, -1):
            above = find(ends, "/".join(parts[:end]))
            # a list's positions name nothing in the middle of a path
            if above is None or above not in kept or above.replace("/", "").isdigit():
                continue
            if parts[-1] in PARTS and shape == tuple(leaves[above].shape):
                return shrink(leaf, kept[above])
            raise ValueError(
                f"cannot slice {path!r}: it belongs to {above!r}, but in what way is not known. "
                "Begin the optimiser's state anew: tx.init(plan.slice(params))"
            )
        return leaf

    def _maximum(path: str, leaf: Any) -> Any:
        head, _, last = path.rpartition("/")
        owner = find(ends, path) if not last.isdigit() else find(ends, head)
        if owner is None or owner not in kept:
            return _one(path, leaf)
        wanted = tuple(leaves[owner].shape)
        if not last.isdigit() or np.shape(leaf) == wanted != (wanted[int(last)],):
            return _one(path, leaf)
        axis = int(last)
        if np.shape(leaf) != (wanted[axis],):
            raise ValueError(f"cannot slice {path!r}: its shape is {np.shape(leaf)}")
        return shrink(leaf, [kept[owner][axis]])

    def _mean(path: str, leaf: Any) -> Any:
        owner = find(ends, path)
        if owner is None or owner not in kept:
            return leaf
        wanted, shape = tuple(leaves[owner].shape), np.shape(leaf)
        if shape == wanted or shape == (1,):  # one number stands for what is not held
            return shrink(leaf, kept[owner]) if shape == wanted else leaf
        raise ValueError(
            f"cannot slice {path!r}: Adafactor holds means over the rows and columns of {owner!r} "
            "there, those that go included. Begin its state anew, tx.init(plan.slice(params)), or "
            "do not factor (min_dim_size_to_factor)"
        )

    return jax.tree_util.tree_map_with_path(
        smaller, tree, is_leaf=lambda node: type(node).__name__ in (*MEANS, *MAXIMA)
    )


def _described(leaf: Any) -> Any:
    """An array's shape; anything else as it is."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if _concrete(leaf) else leaf


def _concrete(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not isinstance(leaf, core.Tracer)


def refuse_vectors(tree: PyTree, leaves: Mapping[str, Any]) -> None:
    """Refuses states that hold all parameters in one vector.

    Args:
      tree: any tree.
      leaves: the network's leaves by path.

    Raises:
      ValueError: it holds such a vector.
    """
    total = sum(math.prod(leaf.shape) for leaf in leaves.values())
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if len(leaves) > 1 and np.shape(leaf) == (total,):
            raise ValueError(
                f"cannot slice {name(path)!r}, a vector of {total} numbers, as many as the "
                "network's leaves have together: a state of optax.flatten does not say what "
                "belongs to which leaf"
            )


def refuse_foreign(tree: PyTree, network: Structure) -> None:
    """Refuses a tree that holds the variables of another network.

    Args:
      tree: variables, parameters alone, gradients, or the state of an optimiser.
      network: the network that they should belong to.

    Raises:
      ValueError: no leaf belongs to the network, or some of the variables do not.
    """
    paths = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    ends, collections = network.endings, network.collections
    if not any(find(ends, path) for path in paths):
        raise ValueError(
            f"no leaf belongs to the network: it has {listed(network.leaves, 12)}, "
            f"the tree {listed(paths, 12)}"
        )
    # parameters alone, or the leaves of a bare tree: nothing but the network's
    alone = any(path in ends for path in paths) and not any(
        path.split("/")[0] in collections for path in paths
    )
    foreign = [
        path
        for path in paths
        if find(ends, path) is None and (alone or path.split("/")[0] in collections)
    ]
    if foreign:
        raise ValueError(
            f"these are the variables of another network: this one has no {listed(foreign, 12)}"
        )
