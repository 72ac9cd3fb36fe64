"""Network slimming: the factor of a channel in batch normalisation says what it weighs."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures, read


def bn_scale(
    features: ChannelFeatures, *, key: PRNGKeyArray | None = None
) -> Float[Array, " channels"]:
    """Scores a filter by ``|scale|`` of the normalisation after it (Liu et al. 2017).

    It is meant for networks trained with an L1 penalty on the scales (arXiv 1708.06519).

    Args:
      features: of which ``scale`` is read.
      key: not used.

    Returns:
      One score for each channel; higher means keep.

    Raises:
      ValueError: the scale is missing or malformed.
    """
    del key
    return jnp.abs(read(features, "scale", criterion="bn_scale"))
