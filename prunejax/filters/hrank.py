"""HRank: feature maps of high rank carry more."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import ChannelFeatures, read
from prunejax.filters.precision import to_unit_range


def hrank(
    features: ChannelFeatures, *, key: PRNGKeyArray | None = None
) -> Float[Array, " channels"]:
    """Scores a filter by the mean rank of its feature maps (Lin et al. 2020, arXiv 2002.10179).

    The rank counts the singular values above ``max(height, width) eps sigma_max``, as NumPy and
    the authors' framework do. The authors' code reads maps after the ReLU: put those into
    ``maps`` to do the same.

    Args:
      features: of which ``maps`` is read.
      key: not used.

    Returns:
      One score for each channel, float32, from 0 to min(height, width).

    Raises:
      ValueError: the maps are missing or malformed.
    """
    del key
    return _mean_rank(read(features, "maps", criterion="hrank"))


@jax.jit
def _mean_rank(maps: Float[Array, "images height width channels"]) -> Float[Array, " channels"]:
    maps = to_unit_range(maps, (1, 2))  # no map's rank changes
    ranks = jnp.linalg.matrix_rank(maps.transpose(0, 3, 1, 2))
    return jnp.mean(ranks.astype(jnp.float32), axis=0)
