"""L1 and L2: the larger a filter's weights, the more it matters."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from prunejax.filters.features import ChannelFeatures, read


def l1(features: ChannelFeatures, *, key: Any = None) -> Float[Array, " channels"]:
    """Scores a filter by the sum of its absolute weights (Li et al. 2017, arXiv 1608.08710).

    Args:
      features: of which ``kernel`` is read.
      key: not used.

    Returns:
      One score for each channel; higher means keep.

    Raises:
      ValueError: the kernel is missing or malformed.
    """
    del key
    kernel = read(features, "kernel", criterion="l1")
    return jnp.sum(jnp.abs(kernel.reshape(-1, kernel.shape[-1])), axis=0)


def l2(features: ChannelFeatures, *, key: Any = None) -> Float[Array, " channels"]:
    """Scores a filter by the Euclidean norm of its weights (He et al. 2018, arXiv 1808.06866).

    Args:
      features: of which ``kernel`` is read.
      key: not used.

    Returns:
      One score for each channel; higher means keep.

    Raises:
      ValueError: the kernel is missing or malformed.
    """
    del key
    kernel = read(features, "kernel", criterion="l2")
    return jnp.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
