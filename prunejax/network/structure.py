"""What tracing a function shows, as data; plans, recordings and tables are functions of it."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import PyTree

from prunejax.network.costs import Convention, Cost, GlobalPool, measure
from prunejax.network.coupling import Coupling
from prunejax.network.flow import Flows
from prunejax.network.groups import Group
from prunejax.network.layers import Layer
from prunejax.network.staying import Frozen, Staying, staying
from prunejax.network.traced import Traced


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Structure:
    """Layers, their connections, and the channels that can be removed.

    Attributes:
      layers: by name, in topological order.
      groups: the coupled channel groups by name, in the order of the layers that produce them.
      channels: for each group the labels of its channels in ``coupling``, [width].
      unknown: primitives that no rule covers; what they touch is frozen.
      apply_fn: the function that was traced.
      variables: its variables as ``jax.ShapeDtypeStruct``s.
      leaves: the same, by path.
      trainable: the paths of the parameters; state such as ``batch_stats`` is left out.
      collections: the names of Flax linen's collections, if the variables are divided so.
      flows: which values of the traced program are the layers' outputs and kernels.
      traced: the program behind it.
      coupling: the labels of that program's channels.
    """

    layers: dict[str, Layer]
    groups: dict[str, Group]
    channels: dict[str, np.ndarray]
    unknown: tuple[str, ...]
    apply_fn: Callable[..., Any]
    variables: PyTree
    leaves: dict[str, Any]
    trainable: frozenset[str]
    collections: frozenset[str]
    flows: Flows
    traced: Traced
    coupling: Coupling

    def cost(self, convention: Convention = "macs", *, global_pool: GlobalPool = "window") -> Cost:
        """Counts parameters and multiply-adds of one forward pass of the traced batch.

        For numbers per image, trace a batch of one.

        Args:
          convention: "macs" counts the multiply-adds of dense layers, convolutions and products
            of activations. "thop" is the convention of the published tables: convolutions
            without biases, dense layers, 4 for each entry of the output of a normalisation
            with parameters (2 without), and average pools over whole images.
          global_pool: how "thop" counts an average pool over a whole image, which depends on the
            class used there: "window" (``nn.AvgPool2d``) 1 for each output, "adaptive"
            (``nn.AdaptiveAvgPool2d``) the size of the window and 1 more.

        Returns:
          The cost of each layer and of the whole.

        Raises:
          ValueError: there is no such convention.
        """
        return measure(self.layers, self.leaves, self.trainable, convention, global_pool)

    @functools.cached_property
    def staying(self) -> Staying:
        """Which channels stay whole, and why; what share of the network that is."""
        return staying(
            self.traced.program,
            self.coupling,
            self.traced.paths,
            self.flows.producers,
            self.channels,
            self.trainable,
        )

    def frozen(self) -> tuple[Frozen, ...]:
        """The channels that cannot be removed, layer by layer, each with its reason.

        Returns:
          One entry per layer and reason; those that the network returns are among them.
        """
        return self.staying.frozen

    @functools.cached_property
    def endings(self) -> dict[str, str]:
        """Leaves by their paths, and by their paths within their collection."""
        ends = {path: path for path in self.leaves}
        for path in sorted(self.leaves, key=lambda path: path not in self.trainable):
            first, _, rest = path.partition("/")
            if first in self.collections and rest:
                ends.setdefault(rest, path)
        return ends

    def fingerprint(self) -> str:
        """A digest of the paths and shapes of the network's leaves."""
        shapes = sorted((path, list(leaf.shape)) for path, leaf in self.leaves.items())
        return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()

    def __copy__(self) -> "Structure":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Structure":
        return self  # nothing of it is ever changed
