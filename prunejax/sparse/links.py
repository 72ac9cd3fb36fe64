"""Links: the weights of one layer that are still there, as two arrays of indices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, Shaped

MOST = np.iinfo(np.int32).max
"""How many pairs of neurons a layer can have: a pair's number must fit into 32 bits."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Links:
    """The links of one layer, sorted by target and then by source, without duplicates.

    A link's weight, its gradient and its optimiser slots are one number each, in this order. The
    indices are traced data of fixed length: other links, as many, recompile nothing.

    Attributes:
      sources: the input neuron of each link, int32, [links].
      targets: the output neuron of each link, int32, [links].
      shape: (inputs, outputs) of the layer.
    """

    # Any: JAX builds trees of axes, shapes and None with this class, and stacks links under vmap
    sources: Any
    targets: Any
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    @classmethod
    def from_mask(cls, mask: Any, *, size: int | None = None) -> "Links":
        """The links that a mask keeps.

        Args:
          mask: bool, [inputs, outputs], as Flax stores kernels.
          size: how many there are; needed inside jit alone, where it cannot be counted.

        Returns:
          The links.

        Raises:
          ValueError: the mask is not a bool array of two axes, keeps nothing, has too many pairs
            for 32 bits, or keeps another number than ``size``.

        >>> links = Links.from_mask(jnp.array([[True, False], [True, True]]))
        >>> links.sources.tolist(), links.targets.tolist()
        ([0, 1, 1], [0, 0, 1])
        """
        if getattr(mask, "ndim", None) != 2 or mask.dtype != np.bool_:
            given = f"{mask.dtype}, shape {mask.shape}" if hasattr(mask, "dtype") else type(mask)
            raise ValueError(f"links need a mask, a bool array [inputs, outputs]; got {given}")
        shape = _checked(mask.shape)
        if not isinstance(mask, Tracer):
            kept = int(np.count_nonzero(mask))
            if kept == 0:
                raise ValueError("the mask keeps no link")
            if size is not None and size != kept:
                raise ValueError(f"the mask keeps {kept} links, not {size}")
            targets, sources = np.nonzero(np.asarray(mask).T)
            return cls(jnp.asarray(sources, jnp.int32), jnp.asarray(targets, jnp.int32), shape)
        if size is None:
            raise ValueError("inside jit from_mask needs size=, the number of links")
        if not 1 <= size <= mask.size:
            raise ValueError(f"a layer of shape {shape} has 1 to {mask.size} links, not {size}")
        targets, sources = jnp.nonzero(jnp.asarray(mask).T, size=size)
        return cls(sources.astype(jnp.int32), targets.astype(jnp.int32), shape)

    @classmethod
    def from_numbers(cls, numbers: Int[Array, " links"], shape: tuple[int, int]) -> "Links":
        """The links of these numbers, see ``numbers``; in any order, all different."""
        inputs, _ = _checked(shape)
        numbers = jnp.sort(numbers.astype(jnp.int32))
        return cls(numbers % inputs, numbers // inputs, shape)

    def __len__(self) -> int:
        return self.sources.shape[-1]

    @property
    def numbers(self) -> Int[Array, " links"]:
        """The number of each link's pair, ``target * inputs + source``, ascending, int32."""
        return self.targets * np.int32(self.shape[0]) + self.sources

    def to_mask(self) -> Bool[Array, "inputs outputs"]:
        """The mask that keeps these links."""
        return jnp.zeros(self.shape, bool).at[self.sources, self.targets].set(True)

    def scatter(self, values: Shaped[Array, " links"]) -> Shaped[Array, "inputs outputs"]:
        """The matrix that holds one value for each link, and 0 elsewhere."""
        empty = jnp.zeros(self.shape, values.dtype)
        return empty.at[self.sources, self.targets].set(
            values, indices_are_sorted=False, unique_indices=True
        )

    def gather(self, matrix: Shaped[Array, "inputs outputs"]) -> Shaped[Array, " links"]:
        """What stands in a matrix at each link."""
        return matrix[self.sources, self.targets]

    def in_degrees(self) -> Int[Array, " outputs"]:
        """How many links lead to each output neuron."""
        return jnp.zeros(self.shape[1], jnp.int32).at[self.targets].add(1)

    def out_degrees(self) -> Int[Array, " inputs"]:
        """How many links leave each input neuron."""
        return jnp.zeros(self.shape[0], jnp.int32).at[self.sources].add(1)


def _checked(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape of a layer that links can be numbered in.

    Raises:
      ValueError: it has too many pairs of neurons.
    """
    inputs, outputs = shape
    if inputs * outputs > MOST:
        raise ValueError(f"a layer of links has at most {MOST} pairs of neurons, got {shape}")
    return inputs, outputs
