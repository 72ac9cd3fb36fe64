"""From images to what a spiking network is given at each time step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from prunejax import names
from prunejax.neurons.time import check_timesteps

CODINGS = ("direct", "rate", "latency")


def encode(
    images: Float[Array, "batch ..."],
    timesteps: int,
    coding: str = "direct",
    key: PRNGKeyArray | None = None,
) -> Float[Array, "time batch ..."]:
    """Codes images in time.

    Args:
      images: any real numbers for "direct", intensities in [0, 1] for the others (checked outside
        of jit).
      timesteps: how many steps, T.
      coding: "direct": the same currents at every step, which the first layer turns into spikes;
        "rate": a spike at each step with the intensity for its probability; "latency": one spike
        per pixel, at step ``floor((1 - x) T)``, the last step at latest, and none where the
        intensity is 0.
      key: draws the spikes of "rate".

    Returns:
      With time on the first axis, in the images' type. The models take it in the place of images.

    Raises:
      ValueError: T < 1, another coding, no key for "rate", or intensities outside [0, 1].
    """
    check_timesteps(timesteps)
    names.choose("coding", coding, CODINGS)
    steps = (int(timesteps), *images.shape)
    if coding == "direct":
        return jnp.broadcast_to(images, steps)
    _check_intensities(images, coding)
    if coding == "rate":
        if key is None:
            raise ValueError("rate coding draws spikes: give it a key")
        drawn = jax.random.uniform(key, steps, images.dtype)
        return (drawn < images).astype(images.dtype)
    at = jnp.minimum(jnp.floor((1 - images) * timesteps), timesteps - 1).astype(jnp.int32)
    step = jax.lax.broadcasted_iota(jnp.int32, steps, 0)
    return ((step == at) & (images > 0)).astype(images.dtype)


def _check_intensities(images: Any, coding: str) -> None:
    if isinstance(images, Tracer) or images.size == 0:
        return
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{coding} coding takes intensities in [0, 1], got values from {low:g} to {high:g}: "
            "load images with normalize=False and divide them by their maximum"
        )
