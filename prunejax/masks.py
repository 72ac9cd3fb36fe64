"""Masks: which weights of a network are still there, as a tree parallel to its parameters.

A mask tree has a bool array (True: kept) wherever a leaf can be pruned and ``None`` elsewhere. It
is ordinary traced data: changing it never recompiles anything. Any pytree of parameters will do:
Flax linen's nested dicts, ``nnx.to_pure_dict(state)``, an Equinox module, a bare dict.
"""

import io
import os
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax.files import read_arrays, write_atomically
from prunejax.names import choose
from prunejax.packing import pack, unpack
from prunejax.selecting import (
    Select,
    describe,
    is_floating,
    select_leaves,
    warn_of_biases,
    warn_of_others,
)


def make(params: PyTree, select: Select | None = None) -> PyTree:
    """Makes masks that keep every weight of the leaves selected for pruning.

    Args:
      params: any pytree of arrays (or of ``jax.ShapeDtypeStruct``).
      select: which leaves can be pruned: a regular expression that is searched for in the leaf's
        path (``"encoder/Dense_0/kernel"``), several of them, or ``(path, leaf) -> bool``. By
        default every kernel: a leaf called ``kernel``, ``weight`` or ``w`` of two or more axes. A
        warning names other weights of two or more axes, which are left out: Equinox's recurrent
        ``weight_hh``, say, or complex kernels. Another warning names biases and scales that a
        pattern takes along with kernels (``"layers_1"``).

    Returns:
      A tree parallel to ``params``: ``ones(shape, bool)`` where selected, else ``None``; ``None``
      too for a leaf without entries, in which there is nothing to prune.

    Raises:
      ValueError: a pattern matches nothing, is no regular expression, or selects a leaf that is
        not floating point.

    >>> params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}}
    >>> make(params)["dense"]["bias"] is None
    True
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [name(path) for path, _ in leaves]
    chosen = select_leaves(names, [leaf for _, leaf in leaves], select)
    for leaf_name, (_, leaf), picked in zip(names, leaves, chosen, strict=True):
        if picked and not is_floating(leaf):
            raise ValueError(
                f"only floating point arrays can be pruned, but {leaf_name!r} was selected: "
                f"{describe(leaf)}"
            )
    if select is not None:
        warn_of_biases(names, chosen, select)
    else:
        warn_of_others(names, [leaf for _, leaf in leaves], chosen)
    masks = [
        jnp.ones(leaf.shape, bool) if picked and np.size(leaf) else None
        for (_, leaf), picked in zip(leaves, chosen, strict=True)
    ]
    if all(mask is None for mask in masks):
        raise ValueError("the leaves selected hold no weights: each has an axis of length 0")
    return jax.tree_util.tree_unflatten(structure, masks)


def of_nonzeros(params: PyTree, select: Select | None = None) -> PyTree:
    """Reads masks off a network that is sparse already: a weight of exactly 0 counts as pruned.

    Args:
      params: any pytree of arrays, pruned by whatever tool.
      select: which leaves have a mask, as in ``make``.

    Returns:
      Masks parallel to ``params``. Can be called inside jit.

    Raises:
      ValueError: as ``make``.

    >>> of_nonzeros({"kernel": jnp.array([[0.0, 2.0]])})
    {'kernel': Array([[False,  True]], dtype=bool)}
    """
    return jax.tree.map(
        lambda mask, leaf: None if mask is None else _is_nonzero(leaf),
        make(params, select),
        params,
        is_leaf=lambda leaf: leaf is None,
    )


def _is_nonzero(leaf: Any) -> Any:
    """Where a leaf is not exactly 0; XLA takes denormal numbers for 0, their bits do not."""
    if isinstance(leaf, np.ndarray):
        return jnp.asarray(leaf != 0)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[leaf.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(leaf, unsigned)
    return bits << np.array(1, unsigned) != 0  # the sign does not count


def apply(params: PyTree, masks: PyTree) -> PyTree:
    """Sets every pruned weight to exactly 0: ``where(mask, weight, 0)``.

    Args:
      params: any pytree of arrays.
      masks: parallel to ``params``; ``None`` leaves a parameter as it is.

    Returns:
      A tree like ``params``. The gradient of a pruned weight through it is 0.

    Raises:
      ValueError: the trees differ in structure, or a mask in shape or dtype.

    >>> apply({"kernel": jnp.array([1.0, 2.0])}, {"kernel": jnp.array([True, False])})
    {'kernel': Array([1., 0.], dtype=float32)}
    """
    validate(params, masks)
    return jax.tree.map(
        lambda weight, mask: weight if mask is None else jnp.where(mask, weight, 0), params, masks
    )


def combine(*trees: PyTree, using: Literal["and", "or"] = "and") -> PyTree:
    """Combines masks weight by weight.

    Args:
      *trees: one or more mask trees of one structure.
      using: "and" keeps what all of them keep, "or" what any of them keeps.

    Returns:
      A mask tree of the same structure.

    Raises:
      ValueError: no tree is given, ``using`` is neither word, or the trees do not match.
    """
    operations = {"and": jnp.logical_and, "or": jnp.logical_or}
    if not trees:
        raise ValueError("combine needs at least one tree of masks")
    operation = operations[choose("using", using, operations)]
    combined, *others = trees
    for other in others:
        validate(combined, other)
        combined = jax.tree.map(operation, combined, other)
    return combined


def restrict(masks: PyTree, prunable: PyTree) -> PyTree:
    """Drops the masks of leaves that another tree of masks does not prune.

    A ``Plan``'s masks cover biases and normalisation too. Restricted, they can be compared with the
    masks of a criterion, which prunes kernels alone.

    Args:
      masks: the masks.
      prunable: a parallel tree with ``None`` for each leaf to leave out.

    Returns:
      The masks, ``None`` where ``prunable`` has ``None``.
    """
    return jax.tree.map(
        lambda wanted, mask: None if wanted is None else mask,
        prunable,
        masks,
        is_leaf=lambda leaf: leaf is None,
    )


def sparsity(masks: PyTree) -> Float[Array, ""]:
    """The fraction of all prunable weights that is pruned, in [0, 1], as a float32 scalar.

    Raises:
      ValueError: the tree holds no mask.
    """
    _, leaves = _named_leaves(masks)
    total = sum(mask.size for mask in leaves)
    pruned = sum(jnp.sum(~mask) for mask in leaves)
    return jnp.asarray(pruned, jnp.float32) / jnp.float32(total)


def sparsities(masks: PyTree) -> dict[str, Float[Array, ""]]:
    """The fraction pruned of each leaf that has a mask, by the leaf's path.

    Raises:
      ValueError: the tree holds no mask.
    """
    names, leaves = _named_leaves(masks)
    return {
        key: jnp.sum(~mask, dtype=jnp.float32) / max(mask.size, 1)
        for key, mask in zip(names, leaves, strict=True)
    }


def count(masks: PyTree) -> int:
    """How many weights the masks keep; not for use inside jit.

    Raises:
      ValueError: the tree holds no mask.
    """
    return sum(int(np.count_nonzero(mask)) for mask in _named_leaves(masks)[1])


def empty(masks: PyTree) -> list[str]:
    """The paths of the leaves of which nothing is kept; not for use inside jit.

    Raises:
      ValueError: the tree holds no mask.
    """
    names, leaves = _named_leaves(masks)
    return [key for key, mask in zip(names, leaves, strict=True) if mask.size and not np.any(mask)]


def name(path: jax.tree_util.KeyPath) -> str:
    """A leaf's name, its path: ``"Conv_0/kernel"``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def validate(params: PyTree, masks: PyTree) -> None:
    """Checks that a tree of masks belongs to a tree of parameters.

    Args:
      params: any pytree of arrays, or another mask tree.
      masks: the masks to check against it.

    Raises:
      ValueError: the structures differ, or a mask is not a bool array of its parameter's shape;
        the message names the leaf.
    """
    shapes = {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    named_masks = {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(masks)}
    if not named_masks:
        raise ValueError("the masks are empty: every leaf is None (make them with masks.make)")
    for key, mask in named_masks.items():
        if key not in shapes:
            raise ValueError(f"there is a mask for {key!r}, but no parameter of that path")
        if not hasattr(mask, "dtype") or mask.dtype != np.bool_:
            raise ValueError(f"the mask of {key!r} must be a bool array, got {describe(mask)}")
        if mask.shape != np.shape(shapes[key]):
            raise ValueError(
                f"the mask of {key!r} has shape {mask.shape}, its parameter {np.shape(shapes[key])}"
            )
    try:
        jax.tree_util.tree_structure(params).flatten_up_to(masks)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"the masks are not parallel to the parameters (None must stand where a leaf has no "
            f"mask): {error}"
        ) from error


def save(path: str | os.PathLike[str], masks: PyTree) -> Path:
    """Writes masks to a ``.npz`` file, eight weights per byte, in one atomic step.

    Args:
      path: the file; an existing one is replaced.
      masks: the masks.

    Returns:
      The path written.

    Raises:
      OSError: the file cannot be written; what stood there before is unchanged.
      ValueError: the tree holds no mask, or a leaf that is none.
    """
    names, leaves = _named_leaves(masks)
    arrays: dict[str, np.ndarray] = {}
    for key, mask in zip(names, leaves, strict=True):
        arrays[f"bits:{key}"], arrays[f"shape:{key}"] = pack(mask)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return write_atomically(path, buffer.getvalue())


def load(path: str | os.PathLike[str], params: PyTree) -> PyTree:
    """Reads masks that ``save`` wrote, for the parameters they belong to.

    Args:
      path: the file.
      params: the parameters, for the tree's structure; a leaf without a saved mask gets ``None``.

    Returns:
      A mask tree parallel to ``params``.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no mask file, or its masks belong to other parameters.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [name(leaf_path) for leaf_path, _ in leaves]
    # bits, and a shape of eight bytes an axis, of every leaf at most
    most = sum(np.size(leaf) // 8 + 1 + 8 * np.ndim(leaf) for _, leaf in leaves) + 1024
    try:
        stored = read_arrays(path, most_bytes=most)
        saved = {
            key.removeprefix("bits:"): unpack(bits, stored["shape:" + key.removeprefix("bits:")])
            for key, bits in stored.items()
            if key.startswith("bits:")
        }
        if not saved:
            raise ValueError("it holds no masks")
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged or no mask file: {error}") from error
    if unknown := sorted(set(saved) - set(names)):
        raise ValueError(f"{path} has masks for {unknown}, which the parameters do not have")
    masks = [saved.get(key) for key in names]
    tree = jax.tree_util.tree_unflatten(structure, masks)
    validate(params, tree)
    return tree


def _named_leaves(masks: PyTree) -> tuple[list[str], list[Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(masks)
    if not leaves:
        raise ValueError("the masks are empty: every leaf is None (make them with masks.make)")
    names = [name(path) for path, _ in leaves]
    for key, (_, leaf) in zip(names, leaves, strict=True):
        if getattr(leaf, "dtype", None) != np.bool_:
            raise ValueError(
                f"the mask of {key!r} must be a bool array, got {describe(leaf)} (sparse.to_dense "
                "makes masks of links)"
            )
    if len(set(names)) < len(names):
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"two leaves have the path {twice!r}: rename one")
    return names, [leaf for _, leaf in leaves]
