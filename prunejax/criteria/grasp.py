"""GraSP: keep the weights whose removal would weaken the flow of gradients."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from prunejax.criteria import prunable
from prunejax.criteria.prunable import LossFn


def grasp(
    params: PyTree, masks: PyTree, batch: Any, *, loss_fn: LossFn, key: PRNGKeyArray | None = None
) -> PyTree:
    """Scores a weight by ``w (H g)``, gradient signal preservation (Wang et al. 2020, eq. 8).

    g is the loss's gradient and H its Hessian, both over the unpruned prunable weights. The
    published score is the negative, ``-w (H g)``, of which the *highest* are removed. ``H g`` is
    one forward-mode derivative of the gradient; no Hessian is formed.

    Args:
      params: the network's parameters.
      masks: which leaves to score; a pruned weight scores 0.
      batch: the examples on which the loss is taken.
      loss_fn: ``(params, batch) -> loss`` or ``(loss, outputs)``. For a network with batch
        normalisation let it normalise by the batch's own statistics, as the paper does. Divide
        the logits by 200 in it: the authors' code does, and without it the Hessian is led by the
        softmax and the networks that are kept hardly learn (docs/results/digits.md).
      key: not used.

    Returns:
      Scores parallel to ``masks``, of either sign; higher means keep.

    Raises:
      ValueError: the masks do not belong to the parameters, or the loss is no scalar.
    """
    del key
    weights = prunable.weights(params, masks)
    gradient_fn = jax.grad(prunable.loss_of(loss_fn, params, batch))
    direction = jax.tree.map(
        lambda slope, mask: jnp.where(mask, slope, 0), gradient_fn(weights), masks
    )
    _, hessian_gradient = jax.jvp(gradient_fn, (weights,), (direction,))
    return jax.tree.map(jnp.multiply, weights, hessian_gradient)
