"""An optimiser's slots of single weights, set to what they were at the start."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


def reset(state: Any, fresh: Any, changed: PyTree) -> Any:
    """The optimiser's state with the slots of changed weights as they began.

    A slot is a part of the state whose path ends in the path of a parameter and that has its shape:
    so it is in every optimiser, inside chains, ``MultiSteps`` or ``optax.masked`` too. Adafactor's
    sums over rows and columns belong to no weight and stay.

    Args:
      state: the state.
      fresh: the state that the optimiser's ``init`` gives for parameters of 0.
      changed: parallel to the parameters; True for a weight whose slots are reset, None where no
        weight of a leaf is.

    Returns:
      The state.
    """
    by_path = dict(jax.tree_util.tree_leaves_with_path(changed))

    def renewed(path: tuple[Any, ...], slot: Any, begun: Any) -> Any:
        mask = _longest(path, by_path)
        if mask is None or getattr(slot, "shape", None) != mask.shape:
            return slot
        return jnp.where(mask, begun.astype(slot.dtype), slot)

    return jax.tree_util.tree_map_with_path(renewed, state, fresh)


def _longest(
    path: tuple[Any, ...], by_path: dict[tuple[Any, ...], Bool[Array, "..."]]
) -> Bool[Array, "..."] | None:
    """What stands at the longest path that this one ends in."""
    ends = (path[start:] for start in range(len(path) + 1))
    return next((by_path[end] for end in ends if end in by_path), None)
