"""Layers of a network as NumPy arrays."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from solvers import checks


@dataclass(frozen=True, eq=False)
class Dense:
    """``outputs = inputs kernel + bias``, on flattened inputs.

    Attributes:
      kernel: [inputs, units].
      bias: [units], or None.
      name: of the layer, in messages and answers.
    """

    kernel: np.ndarray
    bias: np.ndarray | None = None
    name: str = ""

    def __post_init__(self) -> None:
        _as_arrays(self, self.name or "a dense layer")
        if self.kernel.ndim != 2 or not self.kernel.size:
            raise ValueError(
                f"{self.name or 'a dense layer'} must have a kernel [inputs, units], got shape "
                f"{list(self.kernel.shape)}"
            )


@dataclass(frozen=True, eq=False)
class Conv:
    """A two-dimensional convolution as networks have it: the kernel is not flipped.

    Attributes:
      kernel: [height, width, inputs / groups, filters].
      bias: [filters], or None.
      strides: of the window, vertically and horizontally.
      padding: zeros before and behind, vertically and horizontally.
      dilation: the distance between the kernel's taps.
      groups: into how many groups the channels are divided.
      name: of the layer, in messages and answers.
    """

    kernel: np.ndarray
    bias: np.ndarray | None = None
    strides: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        name = self.name or "a convolution"
        _as_arrays(self, name)
        if self.kernel.ndim != 4 or not self.kernel.size:
            raise ValueError(
                f"{name} must have a kernel [height, width, inputs / groups, filters], got shape "
                f"{list(self.kernel.shape)}"
            )
        checks.pair(self.strides, f"the strides of {name}", 1)
        checks.pair(self.dilation, f"the dilation of {name}", 1)
        checks.padding(self.padding, f"the padding of {name}")
        if not checks.is_whole(self.groups) or self.groups < 1:
            raise ValueError(
                f"the groups of {name} must be a whole number from 1 on, got {self.groups!r}"
            )


@dataclass(frozen=True, eq=False)
class Affine:
    """``outputs = inputs scale + shift``, channel by channel: batch normalisation in evaluation.

    Attributes:
      scale: [channels].
      shift: [channels].
    """

    scale: np.ndarray
    shift: np.ndarray

    def __post_init__(self) -> None:
        _as_arrays(self, "an affine layer")

    @classmethod
    def batch_norm(
        cls,
        mean: np.ndarray,
        variance: np.ndarray,
        scale: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        epsilon: float = 1e-5,
    ) -> "Affine":
        """Batch normalisation with its running statistics.

        Args:
          mean: running mean, [channels].
          variance: running variance, [channels].
          scale: [channels]; None is 1.
          bias: [channels]; None is 0.
          epsilon: is added to the variance.

        Returns:
          ``scale (inputs - mean) / sqrt(variance + epsilon) + bias`` as an affine layer.
        """
        factor = np.asarray(1.0 if scale is None else scale) / np.sqrt(
            np.asarray(variance, np.float64) + epsilon
        )
        return cls(factor, np.asarray(0.0 if bias is None else bias) - mean * factor)


@dataclass(frozen=True)
class Relu:
    """``outputs = max(inputs, 0)``."""


@dataclass(frozen=True)
class AveragePool:
    """The mean of each window.

    Attributes:
      window: height and width; None is the whole image.
      strides: of the window; None is the window's size.
    """

    window: tuple[int, int] | None = None
    strides: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.window is not None:
            checks.pair(self.window, "the window of an average pool", 1)
        if self.strides is not None:
            checks.pair(self.strides, "the strides of an average pool", 1)


@dataclass(frozen=True)
class AdaptiveAveragePool:
    """The mean of each of a given number of windows, which have nearly the same size.

    Output i of n averages the inputs from ``floor(i size / n)`` up to ``ceil((i + 1) size / n)``.

    Attributes:
      output: how many windows there are, vertically and horizontally.
    """

    output: tuple[int, int]

    def __post_init__(self) -> None:
        checks.pair(self.output, "the output of an adaptive average pool", 1)


@dataclass(frozen=True)
class MaxPool:
    """The maximum of each window.

    Attributes:
      window: height and width.
      strides: of the window; None is the window's size.
    """

    window: tuple[int, int]
    strides: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        checks.pair(self.window, "the window of a max pool", 1)
        if self.strides is not None:
            checks.pair(self.strides, "the strides of a max pool", 1)


def _as_arrays(layer: Any, name: str) -> None:
    """Converts a layer's numbers to float64; NaN is a ValueError."""
    for field in ("kernel", "bias", "scale", "shift"):
        values = getattr(layer, field, None)
        if hasattr(layer, field) and (values is not None or field != "bias"):
            object.__setattr__(layer, field, checks.array(values, f"the {field} of {name}"))


Layer: TypeAlias = Dense | Conv | Affine | Relu | AveragePool | AdaptiveAveragePool | MaxPool
