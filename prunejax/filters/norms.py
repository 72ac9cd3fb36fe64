"""L1 and L2: the larger a filter's weights, the more it matters."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures, read
from prunejax.filters.precision import measured_in_unit_range, to_unit_range


def l1(features: ChannelFeatures, *, key: PRNGKeyArray | None = None) -> Float[Array, " channels"]:
    """Scores a filter by the sum of its absolute weights (Li et al. 2017, arXiv 1608.08710).

    Args:
      features: of which ``kernel`` is read.
      key: not used.

    Returns:
      One score for each channel, in the unit of the weights (but for weights at the ends of their
      format, see ``precision.measured_in_unit_range``); higher means keep.

    Raises:
      ValueError: the kernel is missing or malformed.
    """
    del key
    kernel = read(features, "kernel", criterion="l1")
    return measured_in_unit_range(_absolute_sums, kernel)


def l2(features: ChannelFeatures, *, key: PRNGKeyArray | None = None) -> Float[Array, " channels"]:
    """Scores a filter by the Euclidean norm of its weights (He et al. 2018, arXiv 1808.06866).

    Args:
      features: of which ``kernel`` is read.
      key: not used.

    Returns:
      One score for each channel, in the unit of the weights (but for weights at the ends of their
      format, see ``precision.measured_in_unit_range``); higher means keep.

    Raises:
      ValueError: the kernel is missing or malformed.
    """
    del key
    kernel = read(features, "kernel", criterion="l2")
    return measured_in_unit_range(_norms, kernel, plain=_plain_norms)


def _absolute_sums(kernel: Float[Array, "... channels"]) -> Float[Array, " channels"]:
    return jnp.sum(jnp.abs(_filters(kernel)), axis=0)


def _plain_norms(kernel: Float[Array, "... channels"]) -> Float[Array, " channels"]:
    return jnp.linalg.norm(_filters(kernel), axis=0)


def _filters(kernel: Float[Array, "... channels"]) -> Float[Array, "weights channels"]:
    return kernel.reshape(-1, kernel.shape[-1])


def _norms(kernel: Float[Array, "... channels"]) -> Float[Array, " channels"]:
    """Each filter is scaled before it is squared: one may be far smaller than the others."""
    filters = _filters(kernel)
    scaled = to_unit_range(filters, (0,))
    unit = jnp.max(jnp.abs(filters), axis=0) / jnp.max(jnp.abs(scaled), axis=0)  # a power of two
    return jnp.where(scaled.any(axis=0), unit, 0) * jnp.linalg.norm(scaled, axis=0)
