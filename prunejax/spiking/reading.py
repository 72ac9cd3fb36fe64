"""What a traced spiking network computes: its neurons, and the kernels that their spikes reach."""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax.masks import name
from prunejax.network import KERNELS, Network, traced
from prunejax.network.layers import ACTIVITY
from prunejax.network.program import Op, Program
from prunejax.neurons import Neuron

MOVES = frozenset(
    (
        *("reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "slice", "pad"),
        *("concatenate", "stack", "unstack", "split", "rev", "gather", "dynamic_slice", "copy"),
        *(
            "add",
            "add_any",
            "convert_element_type",
            "reduce_window_sum",
            "reduce_sum",
            "reduce_window_max",
        ),
        *("reduce_max", "stop_gradient", ACTIVITY),
    )
)
"""Operations after which a number of spikes still is one: what moves, adds or picks spikes."""


class Neurons(NamedTuple):
    """A layer of neurons in a program.

    Attributes:
      kind: what they are.
      spikes: the number of the value that holds their spikes.
      membrane: that of their potentials before the reset.
      time: the axis of time in both; the batch is the axis behind it, or the first one where the
        network is mapped over the batch.
      channel: the axis of channels.
    """

    kind: Neuron
    spikes: int
    membrane: int
    time: int
    channel: int


class Kernel(NamedTuple):
    """A product with a kernel in a program.

    Attributes:
      op: the operation.
      side: which of its operands depends on the input.
      spikes: what turns an entry of that operand into a number of spikes; None where entries are
        other numbers, as an image's are.
      parameters: the paths of the leaves that the kernel is computed from.
      examples: how many examples it is applied to, steps counted.
    """

    op: Op
    side: int
    spikes: float | None
    parameters: tuple[str, ...]
    examples: int


@dataclasses.dataclass(frozen=True, eq=False)
class Circuit:
    """A spiking network as a program.

    Attributes:
      program: the program, for one shape of the input.
      paths: of its inputs that are variables.
      neurons: by the names of the layers, in topological order.
      kernels: by the names of the layers, likewise.
    """

    program: Program
    paths: Mapping[int, str]
    neurons: dict[str, Neurons]
    kernels: dict[str, Kernel]


def read(network: Network, x: PyTree) -> Circuit:
    """Reads a network for inputs of some shape; what was read last is kept.

    Args:
      network: the network.
      x: an input, or its shape.

    Returns:
      The circuit.

    Raises:
      ValueError: there are no spiking neurons in it.
    """
    leaves, structure = jax.tree.flatten(traced.describe(x))
    return _read(network, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


@functools.lru_cache(maxsize=16)
def _read(network: Network, structure: Any, described: tuple[Any, ...]) -> Circuit:
    x = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*one) for one in described])
    again = traced.make(network.apply_fn, network.variables, x)
    flows, coupling = again.flows(), again.coupling()
    named = {value: layer for layer, value in flows.values.items()}
    neurons = {}
    for op in again.program.flat():
        if op.name == ACTIVITY and op.outputs[0] in named:
            axes = coupling.axes(op.outputs[0])
            time = op.params["time"]
            free = [
                axis
                for axis in range(len(axes))
                if axis not in (time, batch_axis(time)) and _has_channels(coupling, axes[axis])
            ]
            channel = free[0] if free else len(axes) - 1
            neurons[named[op.outputs[0]]] = Neurons(
                op.params["neuron"], *op.outputs, time=time, channel=channel
            )
    if not neurons:
        raise ValueError(
            "this network has no spiking neurons: no spiking.lif is on the way from its input to "
            "its output"
        )
    counts = _spike_counts(again.program)
    kernels = {}
    for op in again.program.flat():
        layer = flows.layers.get(flows.made.get(op.outputs[0], ""))
        if layer is not None and layer.kind in KERNELS:
            made = {producer.value for producer in flows.producers if producer.layer == layer.name}
            side = next(side for side, number in enumerate(op.inputs) if number not in made)
            kernels[layer.name] = Kernel(
                op, side, counts.get(op.inputs[side]), layer.parameters,
                _examples(op, again.program, side, next(iter(neurons.values()))),
            )  # fmt: skip
    return Circuit(again.program, again.paths, neurons, kernels)


def batch_axis(time: int) -> int:
    """The axis of the batch in what neurons give."""
    return 1 if time == 0 else 0


def channels_last(
    values: Float[Array, "..."], neurons: Neurons
) -> Float[Array, "time batch space channels"]:
    """A layer's spikes or potentials in one layout.

    Args:
      values: as the program has them.
      neurons: the layer.

    Returns:
      The same values, all axes of space in one, of length 1 where there is none.
    """
    batch = batch_axis(neurons.time)
    if values.ndim == 1:
        values, batch = values[:, None], 1
    moved = {neurons.time, batch, neurons.channel}
    if len(moved) < 3:  # neurons without a batch, or without channels
        raise ValueError(
            "spiking neurons need the axes (time, batch, ..., channels) to be measured, got shape "
            f"{values.shape}"
        )
    rest = [axis for axis in range(values.ndim) if axis not in moved]
    ordered = values.transpose(neurons.time, batch, *rest, neurons.channel)
    if jnp.finfo(ordered.dtype).bits < 32:  # sums of many spikes need more
        ordered = ordered.astype(jnp.float32)
    return ordered.reshape(*ordered.shape[:2], -1, ordered.shape[-1])


def inputs_of(circuit: Circuit, variables: PyTree, x: PyTree) -> list[Any]:
    """The inputs of a circuit's program, whatever order the variables stand in."""
    leaves = {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    own = [leaves[circuit.paths[n]] for n in circuit.program.inputs if n in circuit.paths]
    return [*own, *jax.tree.leaves(x)]


def images_axis(network: Network, images: Any) -> int:
    """The axis that counts images: 0, or 1 where time comes first.

    Args:
      network: the network.
      images: one array of images, or of frames.

    Returns:
      The axis of the neurons' batch in it.
    """
    return _images_axis(network, tuple(np.shape(images)[2:]), np.ndim(images), images.dtype)


@functools.lru_cache(maxsize=64)
def _images_axis(network: Network, rest: tuple[int, ...], axes: int, dtype: Any) -> int:
    if axes < 3:
        return 0
    try:  # two and three entries: which of them are images, neurons show
        circuit = read(network, jax.ShapeDtypeStruct((2, 3, *rest), dtype))
    except ValueError:
        return 0
    one = next(iter(circuit.neurons.values()))
    return int(circuit.program.shapes[one.spikes][batch_axis(one.time)] == 3)


def in_batches(network: Network, images: Any, batch_size: int) -> Iterator[Array]:
    """Images, or frames of images, some at a time.

    Raises:
      ValueError: ``batch_size`` is below 1, or there are no images.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not np.size(images):
        raise ValueError("there are no images")
    axis = images_axis(network, images)
    for start in range(0, images.shape[axis], batch_size):
        chosen = (slice(None),) * axis + (slice(start, start + batch_size),)
        yield jnp.asarray(images[chosen])


def check_variables(network: Network, variables: PyTree) -> None:
    """Refuses variables that are not those of the network.

    Raises:
      ValueError: paths or shapes differ; the first is named.
    """
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    given = {name(path): (*np.shape(leaf), jnp.dtype(leaf.dtype).name) for path, leaf in leaves}
    shapes = {path: (*leaf.shape, leaf.dtype.name) for path, leaf in network.leaves.items()}
    for path in dict.fromkeys((*shapes, *given)):
        if given.get(path) != shapes.get(path):
            raise ValueError(
                f"these are not the variables of the network: {path!r} is "
                f"{given.get(path, 'missing')}, traced {shapes.get(path, 'without it')}"
            )


def _has_channels(coupling: Any, axis: Any) -> bool:
    return coupling.labels.free(axis)


def _examples(op: Op, program: Program, side: int, neurons: Neurons) -> int:
    """Examples, steps counted: of a dense layer on images the other axes are positions."""
    shape = program.shapes[op.inputs[side]]
    if op.name == "conv_general_dilated":
        return int(shape[op.params["dimension_numbers"].lhs_spec[0]])
    contracted = op.params["dimension_numbers"][0][side]
    left = [size for axis, size in enumerate(shape) if axis not in contracted]
    of_spikes = program.shapes[neurons.spikes]
    steps, images = of_spikes[neurons.time], of_spikes[batch_axis(neurons.time)]
    if len(left) > 1 and left[:2] in ([steps, images], [images, steps]):
        return int(left[0] * left[1])
    return int(left[0]) if left else 1


def _spike_counts(program: Program) -> dict[int, float]:
    """What turns entries of values into numbers of spikes, for the values that are such numbers."""
    found: dict[int, float] = {}
    constants = collections.ChainMap({}, program.constants)
    for op in program.flat():
        if op.name == ACTIVITY:
            found[op.outputs[0]] = 1.0
            continue
        given = [found[number] for number in op.inputs if number in found]
        if not given or len(set(given)) != 1:
            continue
        rest = [number for number in op.inputs if number not in found]
        if op.name in MOVES and all(_zeros(program, number) for number in rest):
            found.update(dict.fromkeys(op.outputs, given[0]))
        elif op.name in ("div", "mul") and len(rest) == 1 and rest[0] in constants:
            factor = _number(constants[rest[0]])
            first = op.inputs[0] in found
            if factor and (first or op.name == "mul"):
                scale = factor if op.name == "div" else 1 / factor
                found[op.outputs[0]] = given[0] * scale
    return found


def _zeros(program: Program, number: int) -> bool:
    """Whether a value adds no spikes: padding, a pool's start, an index."""
    if not np.issubdtype(program.dtypes[number], np.inexact):
        return True
    value = program.constants.get(number)
    return value is not None and _number(value) in (0, -math.inf)


def _number(value: Any) -> float | None:
    array = np.asarray(value)
    return float(array.reshape(-1)[0]) if array.size and np.all(array == array.flat[0]) else None
