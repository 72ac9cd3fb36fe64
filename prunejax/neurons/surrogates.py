"""Surrogates of the step function: smooth ones, whose derivative stands for that of a spike.

Each is a function of the distance d = u - threshold. Its derivative is what back-propagation uses
(and what criticality is in the paper); its primitive, which rises from 0 to 1, is what criticality
is in the code that was released.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prunejax import names

Function = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A surrogate of one shape.

    Attributes:
      name: a key of ``SURROGATES``, or a name of your own.
      shape: the number that its width or steepness is, above 0.
      of_derivative: ``(distance, shape) -> its derivative``.
      of_primitive: ``(distance, shape) -> its primitive``.

    Raises:
      ValueError: the shape is not a positive number.
    """

    name: str
    shape: float
    of_derivative: Callable[[Array, float], Array] = dataclasses.field(repr=False)
    of_primitive: Callable[[Array, float], Array] = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.shape < math.inf:
            raise ValueError(
                f"the shape of {self.name} must be a positive number, got {self.shape}"
            )

    def derivative(self, distance: Float[Array, "..."]) -> Float[Array, "..."]:
        """What stands for the derivative of a spike.

        Args:
          distance: u - threshold.

        Returns:
          An array of the same shape, not below 0.
        """
        return self.of_derivative(distance, self.shape)

    def primitive(self, distance: Float[Array, "..."]) -> Float[Array, "..."]:
        """What stands for a spike: from 0 far below the threshold to 1 far above it.

        Args:
          distance: u - threshold.

        Returns:
          An array of the same shape, in [0, 1].
        """
        return self.of_primitive(distance, self.shape)


def tanh_window(k: float = 3.0) -> Surrogate:
    """A hyperbolic tangent, cut to a window of width 1 around the threshold.

    ``k sech^2(k d) / (2 tanh(k / 2))`` for |d| <= 1/2, and 0 outside; its primitive is
    ``(tanh(k d) + tanh(k / 2)) / (2 tanh(k / 2))``. Source: Chen et al. 2025.
    """
    return Surrogate("tanh_window", k, _window_derivative, _window_primitive)


def atan(alpha: float = 2.0) -> Surrogate:
    """An arc tangent: ``(alpha / 2) / (1 + (pi alpha d / 2)^2)``. Source: Fang et al. 2021."""
    return Surrogate("atan", alpha, _atan_derivative, _atan_primitive)


def sigmoid(alpha: float = 4.0) -> Surrogate:
    """A logistic function s of ``alpha d``: ``alpha s (1 - s)``. Source: Zenke & Ganguli 2018."""
    return Surrogate("sigmoid", alpha, _sigmoid_derivative, _sigmoid_primitive)


def triangle(width: float = 1.0) -> Surrogate:
    """A triangle of half-width ``width`` and area 1. Source: Bellec et al. 2018."""
    return Surrogate("triangle", width, _triangle_derivative, _triangle_primitive)


def rectangle(width: float = 1.0) -> Surrogate:
    """A rectangle of that width and area 1. Source: Wu et al. 2018, Eq. 24."""
    return Surrogate("rectangle", width, _rectangle_derivative, _rectangle_primitive)


def _window_derivative(d: Array, k: float) -> Array:
    inside = k / (2 * math.tanh(k / 2)) * (1 - jnp.tanh(k * d) ** 2)
    return jnp.where(jnp.abs(d) <= 0.5, inside, jnp.zeros_like(d))


def _window_primitive(d: Array, k: float) -> Array:
    edge = math.tanh(k / 2)
    return (jnp.tanh(k * jnp.clip(d, -0.5, 0.5)) + edge) / (2 * edge)


def _atan_derivative(d: Array, alpha: float) -> Array:
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * d) ** 2)


def _atan_primitive(d: Array, alpha: float) -> Array:
    return jnp.arctan(math.pi / 2 * alpha * d) / math.pi + 0.5


def _sigmoid_derivative(d: Array, alpha: float) -> Array:
    value = jax.nn.sigmoid(alpha * d)
    return alpha * value * (1 - value)


def _sigmoid_primitive(d: Array, alpha: float) -> Array:
    return jax.nn.sigmoid(alpha * d)


def _triangle_derivative(d: Array, width: float) -> Array:
    return jnp.maximum(1 - jnp.abs(d) / width, 0) / width


def _triangle_primitive(d: Array, width: float) -> Array:
    x = jnp.clip(d / width, -1, 1)
    return 0.5 + x - jnp.sign(x) * x**2 / 2


def _rectangle_derivative(d: Array, width: float) -> Array:
    return jnp.where(jnp.abs(d) <= width / 2, jnp.full_like(d, 1 / width), jnp.zeros_like(d))


def _rectangle_primitive(d: Array, width: float) -> Array:
    return jnp.clip(d / width + 0.5, 0, 1)


SURROGATES: dict[str, Surrogate] = {
    made.name: made for made in (tanh_window(), atan(), sigmoid(), triangle(), rectangle())
}
"""Name -> surrogate of its usual shape; ``tanh_window(k=5)`` and its kin make other shapes."""


def choose(given: str | Surrogate) -> Surrogate:
    """The surrogate that a name stands for, or the one that is given.

    Raises:
      ValueError: there is none of that name.
    """
    if isinstance(given, Surrogate):
        return given
    return SURROGATES[names.choose("surrogate", given, SURROGATES)]
