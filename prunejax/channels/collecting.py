"""What a network shows of each group of channels: kernels, scales, feature maps, activations."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from prunejax.filters import ChannelFeatures
from prunejax.masks import name
from prunejax.network import KERNELS, Layer, Network
from prunejax.network.elementwise import NAMES as ELEMENTWISE
from prunejax.network.layers import SPIKING

CHUNK = 2**29
"""How many bytes of outputs are held at once, if no single layer has more."""


class Collected(NamedTuple):
    """What is known of the channels of a group.

    Attributes:
      group: the group's name.
      layer: the name of the layer that stands for it.
      features: one entry per channel of the group along the last axis of each array.
    """

    group: str
    layer: str
    features: ChannelFeatures


def collect(
    network: Network,
    variables: PyTree,
    images: PyTree,
    chosen: dict[str, Layer],
    members: Sequence[str],
    *,
    on_group: Callable[[int, int], None] | None = None,
) -> Iterator[Collected]:
    """Reads what criteria need of some groups, group by group.

    Where spiking neurons follow a layer, its feature maps are the neurons' firing rates.

    Outputs are recorded for as many layers at once as half a gigabyte holds; the network is
    evaluated again for the next ones.

    Args:
      network: the network, traced in evaluation mode.
      variables: its variables.
      images: the input; the first axis counts images.
      chosen: from ``deciding_layers``.
      members: names of members of ``ChannelFeatures``.
      on_group: told (done, of) after each group.

    Yields:
      What is known of each group.

    Raises:
      ValueError: this is called inside of a transformation; outputs are NaN or infinite (the layer
        is named); or a member does not exist for a layer: no normalisation or no activation
        follows it.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((variables, images))):
        raise ValueError(
            "channels are scored outside of jax.jit and other transformations, since plans have "
            "fixed shapes; a criterion of filters.FILTER_CRITERIA alone may be called inside"
        )
    leaves = {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    count = len(jax.tree.leaves(images)[0]) if images is not None else 0
    done = 0
    for part in _chunks(network, chosen, members, count):
        wanted = dict.fromkeys(layer for _, readings in part for layer in readings.values())
        outputs = network.record(variables, images, list(wanted)) if wanted else {}
        for group, readings in part:
            members_read = {
                member: _channels_last(network, group, layer, outputs[layer], member)
                for member, layer in readings.items()
            }
            if "kernel" in members:
                members_read["kernel"] = _kernel(network, group, chosen[group], leaves)
            if "scale" in members:
                members_read["scale"] = _scale(network, group, chosen[group], leaves)
            yield Collected(group, chosen[group].name, ChannelFeatures(**members_read))
            done += 1
            if on_group is not None:
                on_group(done, len(chosen))


def _chunks(
    network: Network, chosen: dict[str, Layer], members: Sequence[str], images: int
) -> Iterator[list[tuple[str, dict[str, str]]]]:
    """Groups and the layers to record for them, in parts that fit into memory."""
    part: list[tuple[str, dict[str, str]]] = []
    held = 0
    for group, layer in chosen.items():
        readings = {}
        if "maps" in members:
            fired = neurons_after(network, layer.name)
            readings["maps"] = layer.name if fired is None else fired.name
        if "activations" in members:
            readings["activations"] = network.following(layer.name, "activation").name
        size = sum(
            4 * images * math.prod(network.layers[reading].output_shape[1:])
            for reading in readings.values()
        )
        if part and held + size > CHUNK:
            yield part
            part, held = [], 0
        part.append((group, readings))
        held += size
    yield part


def _channels_last(network: Network, group: str, layer: str, output: Array, member: str) -> Array:
    """The channels of a group in a layer's output, [images, ..., channels]."""
    # not by the extremes: XLA's maximum of a large array on a CPU loses a NaN
    if not jnp.all(jnp.isfinite(output)):
        raise ValueError(f"what {layer!r} puts out has values that are NaN or infinite")
    place = network.place(group, layer)
    values = jnp.moveaxis(output, place.axis, -1)
    if network.layers[layer].function == SPIKING:
        values = jnp.mean(values, axis=0)  # spikes of all steps: firing rates
    if place.every.shape[1] > 1:  # the entries of a head are as many positions
        values = jnp.moveaxis(values[..., place.every], -1, -2)
    elif place.indices.tolist() != list(range(values.shape[-1])):
        values = values[..., place.indices]
    if member == "maps":
        # lines and volumes become pictures: [images, first axis, the rest, channels]
        height = values.shape[1] if values.ndim > 2 else 1
        width = math.prod(values.shape[2:-1])
        values = values.reshape(values.shape[0], height, width, values.shape[-1])
    return values


def neurons_after(network: Network, layer: str) -> Layer | None:
    """The spiking neurons that a layer's channels drive, None where there are none."""
    reached = {layer}
    for other in network.layers.values():
        if reached.intersection(other.inputs) and other.kind not in KERNELS:
            if other.function == SPIKING:
                return other
            reached.add(other.name)
    return None


def _kernel(network: Network, group: str, layer: Layer, leaves: dict[str, Any]) -> Array:
    """The weights that make the channels of a group, [..., channels]."""
    axes = [
        member
        for member in network.groups[group].members
        if member.path in layer.parameters and leaves[member.path].ndim > 1
    ]
    # a layer may read the channels that it makes, with another axis of the same kernel
    made = {
        leaf_axis(network, producer.value, producer.axis)
        for producer in network.flows.producers
        if producer.layer == layer.name
    }
    axes = [member for member in axes if (member.path, member.axis) in made] or axes
    if not axes:
        raise ValueError(f"no kernel of {layer.name!r} holds the channels of group {group!r}")
    member = axes[-1]
    moved = jnp.asarray(leaves[member.path])
    if member.axis != moved.ndim - 1:  # an axis that is the last one need not be compiled
        moved = jnp.moveaxis(moved, member.axis, -1)
    width = moved.shape[-1]
    if member.indices.shape[1] == 1:
        if np.array_equal(member.indices[:, 0], np.arange(width)):
            return moved  # all of them: nothing to compile for the shape
        return moved[..., member.indices[:, 0]]
    return jnp.moveaxis(moved[..., member.indices], -1, -2)  # all weights of a head


def leaf_axis(network: Network, value: int, axis: int) -> tuple[str, int] | None:
    """The leaf, and its axis, that a kernel's axis comes from by casts, scaling, transposition."""
    program, paths = network.traced.program, network.traced.paths
    waiting = [(value, axis)]
    while waiting:
        value, axis = waiting.pop()
        op = program.makers.get(value)
        if value in paths:
            return paths[value], axis
        if op is not None and op.name == "transpose":
            waiting.append((op.inputs[0], op.params["permutation"][axis]))
        elif op is not None and op.name in ELEMENTWISE:
            shapes = program.shapes
            waiting += [(one, axis) for one in op.inputs if shapes[one] == shapes[value]]
    return None


def _scale(network: Network, group: str, layer: Layer, leaves: dict[str, Any]) -> Array:
    """The scale of the next normalisation: the first of two vectors, or one whose name says so."""
    norm = network.following(layer.name, "norm")
    vectors = [path for path in norm.parameters if path in network.trainable]
    if len(vectors) == 1 and vectors[0].split("/")[-1] not in ("scale", "weight", "gamma", "w"):
        vectors = []
    for member in network.groups[group].members:
        if vectors and member.path == vectors[0]:
            scales = jnp.asarray(leaves[member.path])[member.indices]
            return scales[:, 0] if scales.shape[1] == 1 else jnp.abs(scales).mean(axis=1)
    raise ValueError(f"the normalisation {norm.name!r} after {layer.name!r} has no scale")


def warn_of_dead(layer: str, dead: np.ndarray) -> None:
    """Warns of filters whose maps are constant: they are redundant to each other.

    Args:
      layer: the layer's name.
      dead: bool, [channels].
    """
    if dead.any():
        warnings.warn(
            f"{int(dead.sum())} of {len(dead)} filters of {layer!r} put out one constant value: "
            "their entropy is 0, and their hashes say no more than its sign",
            stacklevel=3,
        )
