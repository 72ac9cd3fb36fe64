"""A network as its traced forward function shows it, with what can be done with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Array, Float, PyTree

from prunejax.network.layers import Layer, following
from prunejax.network.places import Place, place
from prunejax.network.plan import Plan, plan
from prunejax.network.recording import record
from prunejax.network.structure import Structure
from prunejax.network.table import render


class Network(Structure):
    """Layers, their connections, and the channels that can be removed; ``trace`` makes it.

    ``print(network)`` gives a table. Every method is a function of the ``Structure`` that it holds.
    """

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
          min_channels: how many channels of each group stay at least, or all if it has fewer; the
            first of the removed channels come back.

        Returns:
          The plan.

        Raises:
          ValueError: a group is unknown, an array is not bool or has another length, no
            channel of a group would be left, or a number is below 1.
        """
        return plan(self, keep, round_to=round_to, min_channels=min_channels)

    def record(
        self, variables: PyTree, x: PyTree, layers: Sequence[str]
    ) -> dict[str, Float[Array, "..."]]:
        """Evaluates the network and gives what some of its layers put out.

        A convolution's or a dense layer's output has its bias added, that of a normalisation its
        scale and shift. Outside ``jax.jit`` operations run, and are compiled, one by one: equal
        layers are compiled once, and a value is freed after its last use.

        Args:
          variables: as the network was traced with.
          x: an input, of any batch size that the function takes.
          layers: names of layers; not of average pools, whose sum and division are separate
            operations.

        Returns:
          The outputs by the layers' names, in the order given.

        Raises:
          ValueError: there is no such layer, its output cannot be read off its equations, or the
            variables are not those of the network.
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
          ValueError: the group's channels do not pass through the layer.
        """
        return place(self, group, layer)

    def following(self, layer: str, kind: str) -> Layer:
        """The next layer of a kind that reads a layer's channels before another kernel does.

        Args:
          layer: the name of a layer.
          kind: see ``Layer``, for example "activation" or "norm".

        Returns:
          The layer.

        Raises:
          ValueError: no such layer follows.
        """
        return following(self.layers, layer, kind)

    def __str__(self) -> str:
        return render(self)

    def __repr__(self) -> str:
        return f"Network({len(self.layers)} layers, {len(self.groups)} channel groups)"
