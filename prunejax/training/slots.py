"""Optimiser slots: the arrays of an optimiser's state that belong to one parameter each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from prunejax import masks as masks_lib
from prunejax.selecting import is_key


def map_slots(change: Callable[..., Array], params: PyTree, opt_state: Any, *others: Any) -> Any:
    """Changes each slot: an array whose path ends in a parameter's path and that has its shape.

    So momentum, second moments, averages and copies of the parameters are found in the state of any
    optax transformation, in chains, ``MultiSteps`` or ``optax.masked`` too. Adafactor's sums over
    rows and columns belong to no weight and stay.

    Args:
      change: ``(the parameter's path, slot, *those of the others) -> slot``; the shape may be
        another one.
      params: the parameters before the change, or any arrays of their shapes; None for a leaf whose
        slots stay.
      opt_state: the optimiser's state.
      *others: trees parallel to it, whose leaves at a slot's place ``change`` is given too.

    Returns:
      The state.
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def changed(path: jax.tree_util.KeyPath, leaf: Any, *of_others: Any) -> Any:
        for start in range(len(path) + 1):
            of_parameter = path[start:]
            if of_parameter in shapes:
                if shapes[of_parameter] != jnp.shape(leaf):
                    return leaf
                return change(masks_lib.name(of_parameter), leaf, *of_others)
        return leaf

    return jax.tree_util.tree_map_with_path(changed, opt_state, *others)


def reset(state: Any, fresh: Any, changed: PyTree) -> Any:
    """The optimiser's state with the slots of changed weights as they began.

    Args:
      state: the state.
      fresh: the state that the optimiser's ``init`` gives for parameters of 0.
      changed: parallel to the parameters; True for a weight whose slots are reset, None where no
        weight of a leaf is.

    Returns:
      The state.
    """
    leaves = jax.tree_util.tree_leaves_with_path(changed)
    masks = {masks_lib.name(path): mask for path, mask in leaves}
    return map_slots(
        lambda name, slot, begun: jnp.where(masks[name], begun.astype(slot.dtype), slot),
        changed,
        state,
        fresh,
    )


def emptied(state: Any) -> Any:
    """A state with zeros in the place of its arrays; keys stay as they are."""

    def zero(leaf: Array) -> Array:
        return leaf if is_key(leaf) else jnp.zeros_like(leaf)

    return jax.tree.map(zero, state)
