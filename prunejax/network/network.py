"""A network as its traced forward function shows it."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Array, Float, PyTree

from prunejax.network.costs import Convention, Cost, GlobalPool, measure
from prunejax.network.coupling import Coupling
from prunejax.network.flow import Flows
from prunejax.network.groups import Group
from prunejax.network.layers import KERNELS, Layer
from prunejax.network.places import Place, find
from prunejax.network.plan import Plan, complete
from prunejax.network.recording import record
from prunejax.network.table import render
from prunejax.network.traced import Traced


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Network:
    """Layers, their connections, and the channels that can be removed; `trace` makes it.

    `print(network)` gives a table.

    Attributes:
        layers: by name, in topological order.
        groups: the coupled channel groups by name, in the order of the layers that produce them.
        unknown: primitives that no rule covers; what they touch is frozen.
        apply_fn: the function that was traced.
        variables: its variables as `jax.ShapeDtypeStruct`s.
        leaves: the same, by path.
        trainable: the paths of the parameters; state such as `batch_stats` is left out.
        collections: the names of Flax linen's collections, if the variables are divided so.
        traced: the program behind it.
        coupling: the labels of that program's channels.
    """

    layers: dict[str, Layer]
    groups: dict[str, Group]
    unknown: tuple[str, ...]
    apply_fn: Callable[..., Any]
    variables: PyTree
    leaves: dict[str, Any]
    trainable: frozenset[str]
    collections: frozenset[str]
    traced: Traced
    coupling: Coupling

    def plan(
        self,
        keep: Mapping[str, Any],
        *,
        round_to: int | None = None,
        min_channels: int = 1,
    ) -> Plan:
        """Plans which channels stay.

        Args:
            keep: for each group by name a bool array, [width], True for the channels that stay;
                groups that are not named stay whole.
            round_to: the number of channels kept of each group is raised to a multiple of this
                number or to the whole width; the first of the removed channels come back.
            min_channels: at least so many channels of each group stay, or all it has; the first of
                the removed channels come back.

        Returns:
            The plan.

        Raises:
            ValueError: if a group is unknown, if an array is not bool or has another length, if no
                channel of a group would be left, or if a number is below 1.
        """
        return Plan(self, complete(self, keep, round_to=round_to, min_channels=min_channels))

    def cost(self, convention: Convention = "macs", *, global_pool: GlobalPool = "window") -> Cost:
        """Counts parameters and multiply-adds of one forward pass of the traced batch.

        For numbers per image, trace a batch of one.

        Args:
            convention: "macs" counts the multiply-adds of dense layers, convolutions and products
                of activations. "thop" is the convention of the published tables: convolutions
                without biases, dense layers, 4 for each entry of the output of a normalisation
                with parameters (2 without), and average pools over whole images.
            global_pool: how "thop" counts an average pool over a whole image, which depends on the
                class used there: "window" (`nn.AvgPool2d`) 1 for each output, "adaptive"
                (`nn.AdaptiveAvgPool2d`) the size of the window and 1 more.

        Returns:
            The cost of each layer and of the whole.

        Raises:
            ValueError: if there is no such convention.
        """
        return measure(self.layers, self.leaves, self.trainable, convention, global_pool)

    def record(
        self, variables: PyTree, x: PyTree, layers: Sequence[str]
    ) -> dict[str, Float[Array, "..."]]:
        """Evaluates the network and gives what some of its layers put out.

        A convolution's or a dense layer's output has its bias added, that of a normalisation its
        scale and shift. Outside `jax.jit` operations run, and are compiled, one by one: equal
        layers are compiled once, and a value is let go after its last use.

        Args:
            variables: as the network was traced with.
            x: an input, of any batch size that the function takes.
            layers: names of layers; not of average pools, whose sum and division are apart.

        Returns:
            The outputs by the layers' names, in the order given.

        Raises:
            ValueError: if there is no such layer, if its output cannot be told, or if the variables
                are not those of the network.
        """
        return record(self, variables, x, layers)

    def place(self, group: str, layer: str) -> Place:
        """Where the channels of a group are in what a layer puts out, whatever its layout.

        Args:
            group: the name of a group.
            layer: the name of a layer.

        Returns:
            The axis and the indices along it.

        Raises:
            ValueError: if the group's channels do not pass through the layer.
        """
        return find(self, group, layer)

    def following(self, layer: str, kind: str) -> Layer:
        """The next layer of a kind that reads a layer's channels before another kernel does.

        Args:
            layer: the name of a layer.
            kind: see `Layer`, for example "activation" or "norm".

        Returns:
            The layer.

        Raises:
            ValueError: if none does.
        """
        reached = {layer}
        for name, other in self.layers.items():
            if reached.intersection(other.inputs):
                if other.kind == kind:
                    return other
                if other.kind not in KERNELS:
                    reached.add(name)
        raise ValueError(f"no {kind} follows {layer!r}")

    @functools.cached_property
    def flows(self) -> Flows:
        """Which values of the traced program are the layers' outputs and kernels."""
        return self.traced.flows()

    @functools.cached_property
    def endings(self) -> dict[str, str]:
        """Leaves by their paths, and by their paths within their collection."""
        ends = {path: path for path in self.leaves}
        for path in sorted(self.leaves, key=lambda path: path not in self.trainable):
            first, _, rest = path.partition("/")
            if first in self.collections and rest:
                ends.setdefault(rest, path)
        return ends

    def __copy__(self) -> "Network":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        return self  # nothing of it is ever changed

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what was traced; it is traced again. The function must be one that pickles."""
        from prunejax.network.tracing import trace

        return trace, (self.apply_fn, self.variables, self.traced.example)

    def fingerprint(self) -> str:
        """What tells this network from others: a digest of its leaves' paths and shapes."""
        shapes = sorted((path, list(leaf.shape)) for path, leaf in self.leaves.items())
        return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()

    def __str__(self) -> str:
        return render(self)

    def __repr__(self) -> str:
        return f"Network({len(self.layers)} layers, {len(self.groups)} channel groups)"
