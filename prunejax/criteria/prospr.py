"""ProsPr: how much a weight's removal changes the loss *after* a few steps of training."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.criteria import prunable
from prunejax.criteria.prunable import LossFn


def prospr(
    params: PyTree,
    masks: PyTree,
    batch: Any,
    *,
    loss_fn: LossFn,
    key: PRNGKeyArray | None = None,
    steps: int = 3,
    learning_rate: float = 0.1,
) -> PyTree:
    """Scores a weight by its meta-gradient, ``|dL(w_k)/dc|`` at c = 1 (Alizadeh et al. 2022).

    c gates the initial weights, ``w_0 = c * w``, and ``w_{i+1} = w_i - rate dL_i/dw_i`` are k
    steps of gradient descent, each on a part of the batch of its own; the loss is taken on the
    last part. The derivative goes through all steps (Hessians included). Parameters that cannot
    be pruned stay as they are.

    Args:
      params: the network's parameters.
      masks: which leaves to score; a pruned weight scores 0 and stays 0 through the steps.
      batch: a pytree of arrays with a common first axis, cut into ``steps + 1`` equal parts (a
        remainder is left out).
      loss_fn: ``(params, batch) -> loss`` or ``(loss, outputs)``. For a network with batch
        normalisation let it normalise by the batch's own statistics.
      key: not used: the batch's order says which part comes when.
      steps: k, the number of steps looked ahead.
      learning_rate: the rate of those steps.

    Returns:
      Scores parallel to ``masks``; higher means keep.

    Raises:
      ValueError: fewer examples than ``steps + 1``, ``steps`` < 1, the masks do not belong to the
        parameters, or the loss is no scalar.
    """
    del key
    if steps < 1:
        raise ValueError(f"prospr looks at least one step ahead, got steps={steps}")
    size = prunable.examples(batch) // (steps + 1)
    if size < 1:
        raise ValueError(
            f"prospr cuts the batch into {steps + 1} parts, but it has only "
            f"{prunable.examples(batch)} examples"
        )
    parts = [
        jax.tree.map(lambda leaf, at=part * size: leaf[at : at + size], batch)
        for part in range(steps + 1)
    ]
    weights = prunable.weights(params, masks)
    gates = jax.tree.map(jnp.ones_like, weights)

    def loss_after_training(gates: PyTree) -> Any:
        trained = jax.tree.map(jnp.multiply, gates, weights)
        for part in parts[:-1]:
            gradient = jax.grad(prunable.loss_of(loss_fn, params, part))(trained)
            trained = jax.tree.map(
                lambda weight, slope, mask: weight - jnp.where(mask, learning_rate * slope, 0),
                trained,
                gradient,
                masks,
            )
        return prunable.loss_of(loss_fn, params, parts[-1])(trained)

    return jax.tree.map(jnp.abs, jax.grad(loss_after_training)(gates))
