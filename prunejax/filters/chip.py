"""CHIP: a channel that the others cannot make up for is independent of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures, read
from prunejax.filters.precision import measured_in_unit_range

HALVINGS = 30
"""Steps of the bisection: one in 2^30 of the gap between two singular values is left."""


def chip(
    features: ChannelFeatures, *, key: PRNGKeyArray | None = None
) -> Float[Array, " channels"]:
    """Scores a filter by its channel independence (Sui et al. 2021, arXiv 2110.13981).

    ``||A||_* - ||M_i A||_*``, the mean over images: A is [channels, height x width], one image's
    maps as rows, ``M_i A`` is A with row i set to 0, and the nuclear norm is the sum of the
    singular values. In float32 it is right to four digits, to three in a layer with dead
    channels. The authors' code reads maps after the ReLU: put those into ``maps`` to do the same.

    Args:
      features: of which ``maps`` is read.
      key: not used.

    Returns:
      One score for each channel, in the unit of the maps (but for maps at the ends of their format,
      see ``precision.measured_in_unit_range``), none negative; higher means keep.

    Raises:
      ValueError: the maps are missing or malformed.
    """
    del key
    return measured_in_unit_range(_independence, read(features, "maps", criterion="chip"))


@jax.jit
def _independence(maps: Float[Array, "images height width channels"]) -> Float[Array, " channels"]:
    images, _, _, channels = maps.shape
    matrices = maps.reshape(images, -1, channels).transpose(0, 2, 1)
    return jnp.mean(jax.lax.map(_nuclear_norm_without, matrices), axis=0)


def _nuclear_norm_without(matrix: Float[Array, "channels places"]) -> Float[Array, " channels"]:
    """By how much the nuclear norm falls when each row in turn is set to 0.

    One decomposition ``A = U S V^T`` serves all rows. Without row i the squares of the singular
    values are the eigenvalues of ``S^2 - z z^T`` with ``z = S U[i]``, the roots of
    ``1 - sum_j z_j^2 / (s_j^2 - x^2)``, one between each two neighbours of S (Golub 1973). The
    falls ``s_k - x_k`` themselves are bisected: their sum loses no digits to cancellation.
    """
    channels, places = matrix.shape
    if places > channels:
        # A rotation of the places changes nothing: R^T of A^T = Q R stands for A.
        matrix = jnp.linalg.qr(matrix.T, mode="r").T
    directions, values, _ = jnp.linalg.svd(matrix, full_matrices=False)
    numerators = (directions * values) ** 2
    differences = values - values[:, None]
    next_lower = jnp.append(values[1:], jnp.zeros((), values.dtype))

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        least, most = bracket
        fall = (least + most) / 2
        remaining = (values - fall)[..., None]
        gaps = (differences + fall[..., None]) * (values + remaining)
        too_little = jnp.sum(numerators[:, None] / gaps, axis=-1) > 1
        return jnp.where(too_little, fall, least), jnp.where(too_little, most, fall)

    bracket = (jnp.zeros_like(numerators), jnp.broadcast_to(values - next_lower, numerators.shape))
    falls, _ = jax.lax.fori_loop(0, HALVINGS, halve, bracket)
    if channels <= places:
        # One row fewer than singular values: the last is exactly 0, where a root is ill-placed.
        falls = falls.at[:, -1].set(values[-1])
    return jnp.sum(falls, axis=-1)
