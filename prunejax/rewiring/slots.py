"""Optimiser slots: the arrays of an optimiser's state that belong to one parameter each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from prunejax import masks as masks_lib


def map_slots(change: Callable[[str, Array], Array], params: PyTree, opt_state: PyTree) -> PyTree:
    """Changes each slot: an array whose path ends in a parameter's path and that has its shape.

    So momentum, second moments, averages and copies of the parameters are found in the state of any
    optax transformation, wrapped or chained. Sums over axes, as Adafactor keeps them, are no slots.

    Args:
      change: ``(the parameter's path, slot) -> slot``; the shape may be another one.
      params: the parameters, before the change.
      opt_state: the optimiser's state.

    Returns:
      The state.
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def changed(path: jax.tree_util.KeyPath, leaf: Any) -> Any:
        for start in range(len(path) + 1):
            of_parameter = path[start:]
            if shapes.get(of_parameter) == jnp.shape(leaf):
                return change(masks_lib.name(of_parameter), leaf)
        return leaf

    return jax.tree_util.tree_map_with_path(changed, opt_state)
