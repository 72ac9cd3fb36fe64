"""FPGM: filters near the geometric median of their layer can be replaced by the others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures, read
from prunejax.filters.precision import SMALLEST_APART, measured_in_unit_range


def fpgm(
    features: ChannelFeatures, *, key: PRNGKeyArray | None = None
) -> Float[Array, " channels"]:
    """Scores a filter by the sum of its distances to all filters of its layer.

    ``sum_j ||F_i - F_j||_2``: it is lowest at the filter nearest to being the layer's geometric
    median (He et al. 2019, arXiv 1811.00250).

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
    kernel = read(features, "kernel", criterion="fpgm")
    filters = kernel.reshape(-1, kernel.shape[-1])
    return measured_in_unit_range(_distances, filters, smallest=SMALLEST_APART)


@jax.jit
def _distances(filters: Float[Array, "weights channels"]) -> Float[Array, " channels"]:
    """Distances from differences: inner products would lose all digits of close filters."""

    def total(one: Array) -> Array:
        return jnp.sum(jnp.linalg.norm(filters - one[:, None], axis=0))

    return jax.lax.map(total, filters.T)
