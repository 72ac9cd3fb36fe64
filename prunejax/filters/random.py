"""Random scores: what every other criterion has to beat."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax.filters.features import SHAPES, ChannelFeatures, read


def random(features: ChannelFeatures, *, key: PRNGKeyArray | None) -> Float[Array, " channels"]:
    """Scores filters at random, uniformly.

    Args:
      features: of which the number of channels is read; any member will do.
      key: a key of ``jax.random``.

    Returns:
      One score for each channel, float32 in [0, 1).

    Raises:
      ValueError: no key, or no member.
    """
    if key is None:
        raise ValueError("the criterion 'random' needs a key (jax.random.key(seed))")
    for member in SHAPES:
        if getattr(features, member) is not None:
            channels = read(features, member, criterion="random").shape[-1]
            return jax.random.uniform(key, (channels,), jnp.float32)
    raise ValueError("the criterion 'random' needs a member of ChannelFeatures to count channels")
