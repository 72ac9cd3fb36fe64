"""A decision for a whole batch: a branch that stays one under ``jax.vmap``."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


@jax.custom_batching.custom_vmap
def in_any(decision: Bool[Array, ""]) -> Bool[Array, ""]:
    """The decision itself; under ``jax.vmap``, whether any member of the batch decides so.

    A ``lax.cond`` on a decision of each member's own becomes a select, which computes both branches
    always. On this one it stays a branch, in which each member can look at its own decision.
    """
    return decision


@in_any.def_vmap
def _in_any_of_batch(
    axis_size: int, in_batched: list[bool], decision: Bool[Array, " members"]
) -> tuple[Bool[Array, ""], bool]:
    del axis_size
    # Called again for a vmap around this one.
    return in_any(jnp.any(decision) if in_batched[0] else decision), False
