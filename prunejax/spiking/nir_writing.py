"""From a traced network to a NIR graph."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from prunejax.network import KERNELS, Layer, Network
from prunejax.network.layers import SPIKING
from prunejax.network.recording import evaluate
from prunejax.neurons import Neuron
from prunejax.spiking.nir_package import DT, channels_first, check_dt, package
from prunejax.spiking.nir_reading import from_nir
from prunejax.spiking.reading import Circuit, check_variables, images_axis, inputs_of, read


def to_nir(network: Network, variables: PyTree, *, dt: float = DT) -> Any:
    """A chain of layers as a NIR graph; normalisation is folded into kernels.

    Args:
      network: traced in evaluation mode on images, [batch, height, width, channels] or [batch,
        units]: convolutions, dense layers, normalisation, average pools and neurons, one behind the
        other, the logits averaged over time.
      variables: its variables. Masked weights are exported as 0.
      dt: seconds per step.

    Returns:
      A ``nir.NIRGraph``, for ``nir.write``; channels come first in it, as in all of NIR.

    Raises:
      ImportError: the package is not installed.
      ValueError: the network branches, has a layer that NIR does not know, or neurons with a soft
        reset; the layer is named.
    """
    nir = package()
    check_variables(network, variables)
    check_dt(dt)
    example = network.traced.example
    if images_axis(network, example) != 0:
        raise ValueError("trace the network on images: NIR graphs are run step by step")
    shape: tuple[int, ...] = tuple(example.shape[1:])
    sample = jnp.zeros((1, *shape), example.dtype)
    circuit = read(network, sample)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(channels_first(shape))})}
    chain, behind, folded = _chain(network), "input", set[str]()
    edges: list[tuple[str, str]] = []

    def add(name: str, node: Any) -> None:
        nonlocal behind
        nodes[name] = node
        edges.append((behind, name))
        behind = name

    for place, layer in enumerate(chain):
        if layer.kind in KERNELS:
            after = chain[place + 1] if place + 1 < len(chain) else None
            last = after if after is not None and after.kind in ("norm", "affine") else layer
            weight, bias = _affine(circuit, network, variables, sample, layer, last)
            folded.add(last.name)
            if layer.kind == "dense" and weight.shape[0] != math.prod(shape):
                raise ValueError(f"NIR has no dense layer on each position, as {layer.name!r} is")
            if layer.kind == "dense" and len(shape) == 3:
                order = np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
                weight = weight[order]
                add(f"flatten_{layer.name}", nir.Flatten(
                    {"input": np.array(channels_first(shape))}, start_dim=0, end_dim=-1
                ))  # fmt: skip
            if layer.kind == "dense":
                add(layer.name, nir.Affine(np.ascontiguousarray(weight.T), bias))
                shape = (weight.shape[1],)
            else:
                padding = [low for low, high in layer.padding if low == high]
                if layer.kind != "conv" or len(padding) != 2:
                    raise ValueError(f"NIR has no convolution like {layer.name!r}")
                add(layer.name, nir.Conv2d(
                    input_shape=shape[:2],
                    weight=np.ascontiguousarray(weight.transpose(3, 2, 0, 1)),
                    stride=layer.strides,
                    padding=tuple(padding),
                    dilation=layer.dilation,
                    groups=layer.feature_groups,
                    bias=bias,
                ))  # fmt: skip
                shape = tuple(layer.output_shape[1:])
        elif layer.function == SPIKING:
            kind = circuit.neurons[layer.name].kind
            add(layer.name, _neurons(nir, kind, channels_first(shape), dt, layer.name))
        elif (pool := _pooling(layer, shape)) is not None:
            add(layer.name, nir.AvgPool2d(*(np.array(given) for given in pool)))
            sides = layer.output_shape[1:3] if len(layer.output_shape) > 2 else (1, 1)
            shape = (*sides, shape[-1])
        elif layer.kind == "avg_pool" and _over_time(layer):
            continue  # the graph is run step by step, and its outputs are averaged
        elif layer.name not in folded:
            raise ValueError(f"NIR has no layer like {layer.name!r}, of kind {layer.kind!r}")
    nodes["output"] = nir.Output({"output": np.array(channels_first(shape))})
    edges.append((behind, "output"))
    # the package finds grouped convolutions to have too few inputs
    grouped = any(layer.feature_groups > 1 for layer in chain)
    graph = nir.NIRGraph(nodes, edges, type_check=not grouped)
    _compare(graph, network, variables, circuit, dt)
    return graph


def _compare(graph: Any, network: Network, variables: PyTree, circuit: Circuit, dt: float) -> None:
    """Refuses a graph that computes something else: elementwise operations are no layers.

    Raises:
      ValueError: it does, on most of five random images.
    """
    one = next(iter(circuit.neurons.values()))
    steps = circuit.program.shapes[one.spikes][one.time]
    apply, own = from_nir(graph, steps, dt=dt)
    example = network.traced.example
    images = jax.random.normal(jax.random.key(0), (5, *example.shape[1:]), example.dtype)
    wanted = np.asarray(network.apply_fn(variables, images)).reshape(5, -1)
    found = np.asarray(apply(own, images)).reshape(5, -1)
    scale = max(float(np.abs(wanted).max()), 1e-6)
    # a potential that rounding moves over the threshold changes an image, not most of them
    if wanted.shape != found.shape or np.median(np.abs(wanted - found).max(axis=1)) > 1e-3 * scale:
        raise ValueError(
            "this network does more than its layers say (scaling, sums in the place of means, "
            "another normalisation or read-out): NIR has no node for it"
        )


def _chain(network: Network) -> list[Layer]:
    layers, behind = [], "input"
    for layer in network.layers.values():
        if layer.inputs != (behind,):
            raise ValueError(
                f"NIR graphs are made of chains: {layer.name!r} reads {', '.join(layer.inputs)}, "
                f"not {behind} alone"
            )
        layers.append(layer)
        behind = layer.name
    return layers


def _affine(
    circuit: Circuit,
    network: Network,
    variables: PyTree,
    sample: Array,
    layer: Layer,
    last: Layer,
) -> tuple[np.ndarray, np.ndarray]:
    """A kernel, [..., inputs, outputs], and a bias, with what scales and shifts them behind it."""
    kernel = circuit.kernels[layer.name]
    inputs = inputs_of(circuit, variables, sample)
    number, made = kernel.op.inputs[1 - kernel.side], kernel.op.outputs[0]
    weight = np.asarray(evaluate(circuit.program, inputs, [number])[0], np.float64)
    flows = network.traced.flows(circuit.program)

    def scaled(product: Array) -> Array:
        return evaluate(circuit.program, inputs, [flows.values[last.name]], {made: product})[0]

    nothing = jnp.zeros(circuit.program.shapes[made], circuit.program.dtypes[made])
    shift, gain = jax.jvp(scaled, (nothing,), (jnp.ones_like(nothing),))
    outputs = weight.shape[-1]
    gains, shifts = (np.asarray(x, np.float64).reshape(-1, outputs)[0] for x in (gain, shift))
    return (weight * gains).astype(np.float32), shifts.astype(np.float32)


def _pooling(layer: Layer, shape: tuple[int, ...]) -> tuple[Any, Any, Any] | None:
    """Window, strides and padding of an average pool over images, None for other layers."""
    if layer.kind != "avg_pool" or len(shape) != 3:
        return None
    if len(layer.strides) == 2:
        if any(low != high for low, high in layer.padding):
            raise ValueError(f"NIR has no pool that pads one side more, as {layer.name!r} does")
        return layer.window[1:3], layer.strides, [low for low, _ in layer.padding]
    squares = (layer.window[2], layer.window[4]) if len(layer.window) == 6 else None
    whole = layer.window[1:3] if len(layer.window) == 4 else None  # over whole images
    window = squares or whole
    return None if window is None else (window, window, (0, 0))


def _over_time(layer: Layer) -> bool:
    return len(layer.input_shape) == len(layer.output_shape) + 1


def _neurons(nir: Any, kind: Neuron, shape: tuple[int, ...], dt: float, name: str) -> Any:
    if kind.reset != "hard":
        raise ValueError(f"NIR has no soft reset, which {name!r} has")
    full = np.ones(shape, np.float32)
    threshold = full * np.float32(kind.threshold)
    if kind.decay == 1:
        return nir.IF(r=full * np.float32(kind.gain / dt), v_threshold=threshold, v_reset=0 * full)
    tau = dt / (1 - kind.decay)
    return nir.LIF(
        tau=full * np.float32(tau),
        r=full * np.float32(kind.gain * tau / dt),
        v_leak=0 * full,
        v_threshold=threshold,
        v_reset=0 * full,
    )
