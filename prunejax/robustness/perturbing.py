"""A perturbation of a whole network: of the kept weights of every layer that has a mask."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from prunejax import masks as masks_lib
from prunejax.robustness.perturbation import Change, Perturbation
from prunejax.robustness.registry import as_perturbation

Kept = dict[int, Int[Array, "..."] | None]
"""Number of a leaf that has a mask -> where its kept weights are; None: the whole leaf is kept."""


def perturb(
    key: PRNGKeyArray,
    params: PyTree,
    masks: PyTree,
    perturbation: str | Perturbation | Change,
    strength: Any,
) -> PyTree:
    """Perturbs the kept weights of a network.

    Args:
      key: a key from ``jax.random.key``; each leaf gets one of its own.
      params: the network's parameters.
      masks: parallel to ``params``. A leaf without a mask stays as it is: the read-out, say, where
        it is to be left alone. (A ``Plan``'s masks cover biases too, see ``masks.restrict``.)
      perturbation: a name in ``PERTURBATIONS``, or a function ``(key, weights, strength) ->
        weights`` on the kept weights of one layer, a flat vector.
      strength: how strong, the same in every layer; in [0, 1], for noise 0 or more.

    Returns:
      The perturbed parameters; a pruned weight is exactly 0.

    Raises:
      ValueError: an unknown perturbation, a strength out of range, masks that do not belong to the
        parameters or are traced (the kept weights are found outside jit), or parameters that are
        not finite.

    >>> params = {"kernel": jnp.array([3.0, -1.0, 2.0, 4.0])}
    >>> masks = {"kernel": jnp.array([True, True, True, False])}
    >>> perturb(jax.random.key(0), params, masks, "weight_order", 0.4)
    {'kernel': Array([ 0., -1.,  2.,  0.], dtype=float32)}
    """
    chosen = as_perturbation(perturbation)
    if not isinstance(strength, Tracer):
        check_strengths(strength, chosen, perturbation)
    kept = find_kept(params, masks)
    refuse_not_finite(params, kept)
    changed = perturbed_leaves(
        key, params, kept, jnp.asarray(strength, jnp.float32), perturbation=chosen
    )
    return replaced(params, changed)


def find_kept(params: PyTree, masks: PyTree) -> Kept:
    """Where the kept weights of each masked leaf are.

    Raises:
      ValueError: the masks do not belong to the parameters, or are traced.
    """
    masks_lib.validate(params, masks)
    if any(isinstance(mask, Tracer) for mask in jax.tree.leaves(masks)):
        raise ValueError(
            "the masks are traced: robustness finds the kept weights once, outside jit. Close over "
            "the masks instead of passing them as arguments"
        )
    found: Kept = {}
    for number, mask in enumerate(jax.tree.structure(params).flatten_up_to(masks)):
        if mask is not None:
            positions = np.flatnonzero(np.asarray(mask))
            whole = positions.size == mask.size
            found[number] = None if whole else jnp.asarray(positions, jnp.int32)
    return found


@partial(jax.jit, static_argnames="perturbation")
def perturbed_leaves(
    key: PRNGKeyArray,
    params: PyTree,
    kept: Kept,
    strength: Float[Array, ""],
    *,
    perturbation: Perturbation,
) -> dict[int, Array]:
    """The leaves that a perturbation changes, by their number. Drawing costs O(links)."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    changed = {}
    for number, positions in kept.items():
        path, leaf = leaves[number]
        weights = leaf.ravel() if positions is None else leaf.ravel()[positions]
        after = weights
        if weights.size:
            after = perturbation(jax.random.fold_in(key, number), weights, strength)
        if after.shape != weights.shape or after.dtype != weights.dtype:
            raise ValueError(
                f"the perturbation made {after.dtype}{list(after.shape)} of the weights of "
                f"{masks_lib.name(path)!r}, {weights.dtype}{list(weights.shape)}"
            )
        if positions is not None:
            empty = jnp.zeros(leaf.size, leaf.dtype)
            after = empty.at[positions].set(after, indices_are_sorted=True, unique_indices=True)
        changed[number] = after.reshape(leaf.shape)
    return changed


def replaced(params: PyTree, changed: dict[int, Array]) -> PyTree:
    """The parameters with the changed leaves in their places."""
    leaves, structure = jax.tree.flatten(params)
    for number, leaf in changed.items():
        leaves[number] = leaf
    return jax.tree.unflatten(structure, leaves)


def check_strengths(strengths: Any, chosen: Perturbation, given: Any) -> None:
    """Refuses strengths that a perturbation does not take.

    Raises:
      ValueError: one of them is out of range.
    """
    for strength in np.ravel(strengths):
        if not 0 <= float(strength) <= chosen.most or not np.isfinite(strength):
            name = given if isinstance(given, str) else "this perturbation"
            allowed = f"in [0, {chosen.most:g}]" if np.isfinite(chosen.most) else "0 or more"
            raise ValueError(f"strengths of {name} must be {allowed}, got {strength}")


@jax.jit
def _count_not_finite(leaves: dict[str, Array]) -> dict[str, Array]:
    return {
        name: jnp.sum(~jnp.isfinite(leaf), dtype=jnp.int32)
        for name, leaf in leaves.items()
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }


def refuse_not_finite(params: PyTree, kept: Kept) -> None:
    """Refuses parameters that are NaN or infinite, where they are known now.

    What stands under a mask is never read.

    Raises:
      ValueError: one is; the message names its leaf.
    """
    leaves = {}
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
        if isinstance(leaf, Tracer):
            return
        leaf = jnp.asarray(leaf)
        positions = kept.get(number)
        leaves[masks_lib.name(path)] = leaf if positions is None else leaf.ravel()[positions]
    for name, count in jax.device_get(_count_not_finite(leaves)).items():
        if count:
            raise ValueError(f"{count} of {leaves[name].size} weights of {name!r} are not finite")
