"""The inverse of a layer's Hessian, as the triangular factor that SparseGPT reads."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

MOST = 1.0
"""Dampening beyond the mean of the diagonal would leave nothing of the Hessian."""

LEAST = 1e-4
"""What dampening begins with where none was wanted and the Hessian cannot be factored."""


class InverseFactor(NamedTuple):
    """A factor of an inverse Hessian.

    Attributes:
      upper: U, upper triangular, with ``H^-1 = U^T U``. Row j holds, divided by ``U_jj``, what the
        removal of input j changes in the inputs behind it; ``U_jj^2`` is ``[H_j:^-1]_00``, where
        ``H_j:`` is the Hessian of input j and those behind it.
      dead: inputs that were always 0.
      dampening: what was added to the diagonal, as a fraction of its mean.
    """

    upper: Float[Array, "groups inputs inputs"]
    dead: Bool[Array, "groups inputs"]
    dampening: float


def inverse_factor(
    gram: Float[Array, "groups inputs inputs"], dampening: float, name: str
) -> InverseFactor:
    """Factors the inverse of a Gram matrix, with more dampening where it must be.

    Where the factor is not finite, dampening is raised tenfold, from 0.0001 at least, up to 1.

    Args:
      gram: ``X X^T``.
      dampening: is added to the diagonal, as a fraction of the mean over inputs that are not dead.
      name: of the kernel, for the message.

    Returns:
      The factor.

    Raises:
      ValueError: dampening as large as the mean of the diagonal does not help.
    """
    tried = dampening
    while True:
        upper, dead, finite = _factored(gram, jnp.asarray(tried, gram.dtype))
        if bool(finite):
            return InverseFactor(upper, dead, tried)
        if tried >= MOST:
            raise ValueError(
                f"the Hessian of {name!r} cannot be factored, even with dampening {tried:g}: look "
                "at what the layer takes in (input_statistics)"
            )
        tried = min(max(10 * tried, LEAST), MOST)


@jax.jit
def _factored(
    gram: Float[Array, "groups inputs inputs"], dampening: Float[Array, ""]
) -> tuple[Array, Array, Array]:
    size = gram.shape[-1]
    diagonal = jnp.diagonal(gram, axis1=1, axis2=2)
    dead = diagonal == 0
    alive = jnp.maximum(jnp.sum(~dead, axis=1), 1).astype(gram.dtype)
    mean = jnp.sum(diagonal, axis=1) / alive
    mean = jnp.where(mean > 0, mean, 1)[:, None]
    # A dead input shares nothing with others, and its weight is 0: any number will do.
    added = jnp.where(dead, mean, dampening * mean)
    hessian = gram + added[:, :, None] * jnp.eye(size, dtype=gram.dtype)
    # With R upper triangular, H = R R^T gives H^-1 = (R^-1)^T R^-1: one Cholesky factorisation, of
    # H with its inputs in reverse, in the place of the authors' two and an inverse.
    backwards = jnp.linalg.cholesky(hessian[:, ::-1, ::-1])
    root = backwards[:, ::-1, ::-1]
    identity = jnp.broadcast_to(jnp.eye(size, dtype=gram.dtype), gram.shape)
    upper = jax.scipy.linalg.solve_triangular(root, identity, lower=False)
    return upper, dead, jnp.all(jnp.isfinite(upper))
