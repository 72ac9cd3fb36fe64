"""What the steps of a random program share: where parameters and other values come from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 24
"""The longest axis of a value."""

MOST = 600
"""The most entries of a value."""

WIDTHS = (4, 6, 8, 12, 3, 2)


class Build:
    """The program while it runs; the first time, when no variables are given, it makes them.

    Args:
      seed: of the numbers in parameters and tables.
      variables: what the program is given; None to make them.
    """

    def __init__(self, seed: int, variables: Any = None) -> None:
        self.made: dict[str, dict[str, np.ndarray]] = {"params": {}, "batch_stats": {}}
        self.updated: dict[str, Any] = {}
        self.pool: list[Any] = []
        self.at = 0
        self.dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
        self._seed = seed
        self._given = variables
        self._count = 0

    def param(self, *shape: int, shared: bool = False) -> Any:
        """A parameter of its own, or one for all that ask for the same shape."""
        if shared:
            return self._variable("params", f"shared{'x'.join(map(str, shape))}", shape)
        self._count += 1
        return self._variable("params", f"w{self._count:02d}", shape)

    def stats(self, width: int) -> tuple[str, Any, Any]:
        """A name, and running means and variances."""
        self._count += 1
        name = f"n{self._count:02d}"
        mean = self._variable("batch_stats", f"{name}mean", (width,))
        return name, mean, self._variable("batch_stats", f"{name}var", (width,), positive=True)

    def table(self, shape: tuple[int, ...], number: int = 0) -> np.ndarray:
        """A constant without zeros."""
        numbers = np.random.default_rng((self._seed, number, *shape))
        return numbers.uniform(0.2, 1.5, shape).astype(self.dtype)

    def other(self, value: Any, back: int) -> Any:
        """Another value of the same shape: an earlier one, or one that is made for it."""
        fitting = [
            each
            for place, each in enumerate(self.pool[1:], 1)
            if each.shape == value.shape and place != self.at
        ]
        if fitting and back % 3:
            return fitting[-1 - back % len(fitting)]
        source = pick(self.pool[1:], back)
        source = source.reshape(source.shape[0], -1)
        if source.shape[0] != value.shape[0] or source.shape[1] > 64:
            return jnp.tanh(value) + 1
        made = source @ self.param(source.shape[1], value[0].size)
        return made.reshape(value.shape)

    def scalar(self) -> Any:
        """A number that only the input knows."""
        return self.pool[0].astype(self.dtype).sum()

    def _variable(
        self, collection: str, name: str, shape: tuple[int, ...], *, positive: bool = False
    ) -> Any:
        if self._given is not None:
            bare = "params" not in self._given
            return (self._given if bare else self._given[collection])[name]
        numbers = np.random.default_rng((self._seed, *name.encode()))
        fan_in = max(1.0, np.prod(shape[:-1]) / 2)
        made = numbers.uniform(0.3, 1.2, shape) / np.sqrt(fan_in)
        if not positive:
            made *= numbers.choice([-1, 1], shape)
        self.made[collection][name] = made.astype(self.dtype)
        return jnp.zeros(shape, self.dtype)


def fits(value: Any) -> bool:
    """Whether a value may be read by later steps."""
    shape = value.shape
    return (
        2 <= len(shape) <= 4
        and all(1 <= size <= LARGEST for size in shape)
        and np.prod(shape) <= MOST
        and jnp.issubdtype(value.dtype, jnp.floating)
    )


def pick(options: Any, number: int) -> Any:
    """One of several options, whatever the number."""
    return options[number % len(options)]


def factors(size: int) -> list[tuple[int, int]]:
    """The ways to write a size as a product of two numbers greater than 1."""
    return [(a, size // a) for a in range(2, size) if size % a == 0]
