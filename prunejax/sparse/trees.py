"""Whole networks: from links to dense parameters under masks, and back."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from prunejax import names
from prunejax.sparse.links import Links


def to_dense(params: PyTree, links: PyTree) -> tuple[PyTree, PyTree]:
    """Turns the weights of links into dense kernels, and their links into masks.

    Args:
      params: any pytree of arrays; a leaf that has links is [links].
      links: ``Links`` at the paths of leaves of ``params``: a parallel tree with None elsewhere, or
        the collection "links" of linen variables, in which other leaves are missing.

    Returns:
      ``(params, masks)``: each leaf with links is a matrix [inputs, outputs], 0 where no link is,
      and has a mask; other leaves are as they were, without one.

    Raises:
      ValueError: links stand where no parameter is, or their number is another; the message names
        the leaf.
    """
    found = {
        _name(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(links, is_leaf=_is_links)
    }
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    paths = [_name(path) for path, _ in leaves]
    for path, leaf in found.items():
        if path not in paths:
            near = names.suggestion(path, paths)
            raise ValueError(f"there are links for {path!r}, but no parameter of that path{near}")
        if not _is_links(leaf):
            raise ValueError(f"{path!r} must have Links or None, got {type(leaf).__name__}")
    dense, masks = [], []
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        one = found.get(path)
        if one is not None and np.shape(leaf) != (len(one),):
            raise ValueError(
                f"{path!r} has {len(one)} links, but its weights have the shape {np.shape(leaf)}"
            )
        dense.append(leaf if one is None else one.scatter(leaf))
        masks.append(None if one is None else one.to_mask())
    return structure.unflatten(dense), structure.unflatten(masks)


def from_masks(params: PyTree, masks: PyTree) -> tuple[PyTree, PyTree]:
    """Turns masked kernels into the weights of their links; not for use inside jit.

    Args:
      params: any pytree of arrays.
      masks: a tree parallel to ``params``: a bool array [inputs, outputs] for each leaf that
        becomes one of links, None for those that stay as they are.

    Returns:
      ``(params, links)``: each leaf with a mask is [links]; the links are a parallel tree with None
      elsewhere, which linen takes as the collection "links" too.

    Raises:
      ValueError: a mask is not for a matrix, has another shape, keeps nothing, or no parameter is
        there; the message names the leaf.
    """
    found = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(masks)}
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    paths = [_name(path) for path, _ in leaves]
    for path in found:
        if path not in paths:
            near = names.suggestion(path, paths)
            raise ValueError(f"there is a mask for {path!r}, but no parameter of that path{near}")
    weights, links = [], []
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        mask = found.get(path)
        one = None if mask is None else _links_of(path, leaf, mask)
        weights.append(leaf if one is None else one.gather(leaf))
        links.append(one)
    return structure.unflatten(weights), structure.unflatten(links)


def _links_of(path: str, leaf: Any, mask: Any) -> Links:
    if np.ndim(leaf) != 2:
        raise ValueError(
            f"only a matrix [inputs, outputs] can hold its links alone, but {path!r} has the shape "
            f"{np.shape(leaf)}; give None in the place of its mask"
        )
    if np.shape(mask) != np.shape(leaf):
        raise ValueError(f"the mask of {path!r} has shape {np.shape(mask)}, not {np.shape(leaf)}")
    try:
        return Links.from_mask(mask)
    except ValueError as error:
        raise ValueError(f"{path!r}: {error}") from error


def _name(path: jax.tree_util.KeyPath) -> str:
    """A leaf's name, as ``masks.name`` gives it, which this room stands below."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_links(leaf: Any) -> bool:
    return isinstance(leaf, Links)
