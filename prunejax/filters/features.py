"""The arrays that criteria read of one layer."""

from typing import NamedTuple

from jaxtyping import Array, Float

from prunejax.filters import checks
from prunejax.filters.precision import at_least_single

SHAPES = {
    "kernel": (2, "[..., inputs, channels]"),
    "scale": (1, "[channels]"),
    "maps": (4, "[images, height, width, channels]"),
    "activations": (2, "[images, ..., channels]"),
}
"""Member -> the number of its axes (at least so many where its shape has dots), its shape."""


class ChannelFeatures(NamedTuple):
    """The arrays of a layer's channels; leave out what the criterion does not read.

    Attributes:
      kernel: the weights, [height, width, inputs, channels]; those of a dense layer or of another
        number of dimensions will do.
      scale: the factors of the batch normalisation that follows.
      maps: the outputs, bias included, before normalisation and activation, in evaluation mode.
      activations: the outputs after normalisation and activation (ReLU).
    """

    kernel: Float[Array, "... inputs channels"] | None = None
    scale: Float[Array, " channels"] | None = None
    maps: Float[Array, "images height width channels"] | None = None
    activations: Float[Array, "images ... channels"] | None = None


def read(features: ChannelFeatures, member: str, *, criterion: str) -> Array:
    """Takes a member that a criterion needs.

    Args:
      features: what is known.
      member: the member's name.
      criterion: who asks, for the message.

    Returns:
      The member, in float32 at least.

    Raises:
      ValueError: it is missing, has another rank, is not floating point or not finite.
    """
    value = getattr(features, member)
    if value is None:
        raise ValueError(f"the criterion {criterion!r} needs ChannelFeatures({member}=...)")
    axes, shape = SHAPES[member]
    checks.array(member, value, axes=axes, of=shape, more="..." in shape)
    return at_least_single(value)
