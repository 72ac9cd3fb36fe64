"""APoZ: a filter whose activations are mostly zero matters little."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures, read


def apoz(
    features: ChannelFeatures, *, key: PRNGKeyArray | None = None
) -> Float[Array, " channels"]:
    """Scores a filter by minus the fraction of its activations that are 0.

    The average percentage of zeros over all images and places (Hu et al. 2016, arXiv 1607.03250,
    Eq. 1), negated so that higher means keep.

    Args:
      features: of which ``activations`` is read: outputs after the ReLU, also of a dense layer.
      key: not used.

    Returns:
      One score for each channel, float32 in [-1, 0].

    Raises:
      ValueError: the activations are missing or malformed.
    """
    del key
    activations = read(features, "activations", criterion="apoz")
    zeros = activations.reshape(-1, activations.shape[-1]) == 0
    return -jnp.mean(zeros, axis=0, dtype=jnp.float32)
