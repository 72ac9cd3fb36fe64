"""Time in the batch: layers without a state see all steps at once."""

from typing import Any

from jaxtyping import Array, Shaped


def check_timesteps(timesteps: Any) -> None:
    """Refuses what is no number of steps.

    Raises:
      ValueError: it is not a whole number of at least 1.
    """
    if isinstance(timesteps, bool) or not hasattr(timesteps, "__index__") or timesteps < 1:
        raise ValueError(f"timesteps must be a whole number of at least 1, got {timesteps!r}")


def fold(x: Shaped[Array, "time batch ..."]) -> Shaped[Array, "time_batch ..."]:
    """Puts time into the batch, for what has no state: kernels, pools, normalisation, flattening.

    Args:
      x: with time on the first axis.

    Returns:
      The same values, the first two axes in one, time slowest.
    """
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def unfold(x: Shaped[Array, "time_batch ..."], timesteps: int) -> Shaped[Array, "time batch ..."]:
    """Takes time out of the batch again, for the neurons.

    Args:
      x: what ``fold`` gave, or a layer made of it.
      timesteps: how many steps there are.

    Returns:
      The same values.

    Raises:
      ValueError: the first axis is no multiple of the number of steps.
    """
    if timesteps < 1 or x.shape[0] % timesteps:
        raise ValueError(f"{x.shape[0]} entries are no batches of {timesteps} steps")
    return x.reshape(timesteps, x.shape[0] // timesteps, *x.shape[1:])
