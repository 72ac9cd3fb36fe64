"""What the spiking models share: their neurons, and time in the batch."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from prunejax.models import layers
from prunejax.neurons import Surrogate, check_timesteps, fold, lif, neuron, unfold


class SpikingModule(nn.Module):
    """A network of leaky integrate-and-fire neurons, whose logits are means over time.

    It takes images, [batch, height, width, channels], which are the same currents at every step:
    what is before the first neurons is computed once. Or it takes what ``spiking.encode`` gives,
    [time, batch, height, width, channels]. Between neurons time is part of the batch, so that
    batch norm is joint over time.

    Args:
      timesteps: how many steps, T; what is encoded in time brings its own number.
      decay: of the potential, see ``spiking.lif``.
      tau: the time constant, in the place of ``decay``.
      threshold: above it a neuron fires.
      surrogate: a name in ``spiking.SURROGATES``, or a ``Surrogate``.
      reset: "hard" or "soft".
      detach_reset: whether gradients pass the reset by.
    """

    timesteps: int = 5
    decay: float | None = None
    tau: float | None = None
    threshold: float = 0.5
    surrogate: str | Surrogate = "tanh_window"
    reset: str = "hard"
    detach_reset: bool = False

    def __post_init__(self) -> None:
        check_timesteps(self.timesteps)
        neuron(**self.neuron_fields())
        super().__post_init__()

    def neuron_fields(self) -> dict[str, Any]:
        """The arguments of ``spiking.lif``."""
        names = ("decay", "tau", "threshold", "surrogate", "reset", "detach_reset")
        return {name: getattr(self, name) for name in names}

    def begin(self, x: Float[Array, "..."], axes: int) -> tuple[Float[Array, "..."], int | None]:
        """Images, or frames with time in the batch.

        Args:
              x: what the model is given.
          axes: how many axes images have.

        Returns:
          What the first layer takes, and the number of steps in it; None for images.
        """
        if x.ndim == axes + 1:
            return fold(x), x.shape[0]
        return x, None

    def fire(
        self, currents: Float[Array, "..."], frames: int | None
    ) -> tuple[Float[Array, "..."], int]:
        """The spikes of neurons.

        Args:
          currents: with time in the batch, or of images where ``frames`` is None.
          frames: how many steps there are in the batch.

        Returns:
          Spikes, with time in the batch, and how many steps there are in it now.
        """
        if frames is None:
            currents = jnp.broadcast_to(currents, (self.timesteps, *currents.shape))
        else:
            currents = unfold(currents, frames)
        return fold(lif(currents, **self.neuron_fields())[0]), currents.shape[0]

    def pool(self, spikes: Float[Array, "n height width c"]) -> Float[Array, "n h w c"]:
        """The mean of each 2x2 square; an odd last row or column is dropped.

        The sum of a reshaped array is what ``layers.average_pool`` is; XLA's CPU compiler makes
        faster gradients of it (docs/results/speed.md).

        Args:
          spikes: of neurons.

        Returns:
          An array of half the height and width.
        """
        batch, height, width, channels = spikes.shape
        even = spikes[:, : height // 2 * 2, : width // 2 * 2]
        squares = even.reshape(batch, height // 2, 2, width // 2, 2, channels)
        return jnp.sum(squares, axis=(2, 4)) / 4

    def read_out(
        self,
        spikes: Float[Array, "time_batch units"],
        frames: int | None,
        num_classes: int,
        dtype: Any,
    ) -> Float[Array, "batch classes"]:
        """The logits, averaged over time: the last layer is linear, and reads firing rates."""
        rates = jnp.mean(unfold(spikes, frames or self.timesteps), axis=0)
        return layers.classify(rates, num_classes, dtype=dtype)
