"""Networks to and from NIR, the neuromorphic intermediate representation (Pedersen et al. 2024).

The package ``nir`` is needed: ``pip install 'prunejax[nir]'``. Its graphs are in continuous time; a
time step lasts ``dt`` seconds there: a leaky neuron's ``tau`` is ``dt / (1 - decay)``.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax.network import KERNELS, Layer, Network
from prunejax.network.layers import SPIKING
from prunejax.network.recording import evaluate
from prunejax.neurons import Neuron, Surrogate, fold, lif, unfold
from prunejax.spiking.reading import Circuit, check_variables, images_axis, inputs_of, read

DT = 1e-4


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
    nir = _nir()
    check_variables(network, variables)
    if not 0 < dt < math.inf:
        raise ValueError(f"dt must be a positive number of seconds, got {dt}")
    example = network.traced.example
    if images_axis(network, example) != 0:
        raise ValueError("trace the network on images: NIR graphs are run step by step")
    shape: tuple[int, ...] = tuple(example.shape[1:])
    sample = jnp.zeros((1, *shape), example.dtype)
    circuit = read(network, sample)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(_channels_first(shape))})}
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
                    {"input": np.array(_channels_first(shape))}, start_dim=0, end_dim=-1
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
            add(layer.name, _neurons(nir, kind, _channels_first(shape), dt, layer.name))
        elif (pool := _pooling(layer, shape)) is not None:
            add(layer.name, nir.AvgPool2d(*(np.array(given) for given in pool)))
            sides = layer.output_shape[1:3] if len(layer.output_shape) > 2 else (1, 1)
            shape = (*sides, shape[-1])
        elif layer.kind == "avg_pool" and _over_time(layer):
            continue  # the graph is run step by step, and its outputs are averaged
        elif layer.name not in folded:
            raise ValueError(f"NIR has no layer like {layer.name!r}, of kind {layer.kind!r}")
    nodes["output"] = nir.Output({"output": np.array(_channels_first(shape))})
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


def from_nir(
    graph: Any,
    timesteps: int,
    *,
    dt: float = DT,
    surrogate: str | Surrogate = "tanh_window",
) -> tuple[Callable[[PyTree, Array], Array], dict[str, Any]]:
    """A NIR graph as a function in JAX, which can be traced, trained and pruned as any other.

    Args:
      graph: a ``nir.NIRGraph`` of Affine, Linear, Conv2d, LIF, IF, AvgPool2d, SumPool2d, Flatten,
        Input and Output nodes; several edges into a node are added.
      timesteps: how many steps images are shown for.
      dt: seconds per step.
      surrogate: what stands for the derivative of a spike, of which NIR says nothing.

    Returns:
      ``(variables, x) -> logits``, averaged over time, and the variables. x is [batch, height,
      width, channels] (or [batch, units]), or has time in front of these axes.

    Raises:
      ImportError: the package is not installed.
      ValueError: a node of another kind, numbers that differ between the neurons of a node, a
        reset to another value than 0, or edges in a circle. The node is named.
    """
    nir = _nir()
    if timesteps < 1:
        raise ValueError(f"timesteps must be at least 1, got {timesteps}")
    if not 0 < dt < math.inf:
        raise ValueError(f"dt must be a positive number of seconds, got {dt}")
    order, feeds = _ordered(graph)
    shapes: dict[str, tuple[int, ...]] = {}
    steps: dict[str, Callable[[Any, Array], Array]] = {}
    variables: dict[str, Any] = {}
    for name in order:
        node, before = graph.nodes[name], [shapes[other] for other in feeds[name]]
        shape = before[0] if before else _channels_last(node.input_type["input"])
        made = _node(nir, name, node, shape, dt, surrogate)
        steps[name], shapes[name], own = made
        if own:
            variables[name] = own
    first, last = order[0], order[-1]
    axes = len(shapes[first])

    def apply(variables: PyTree, x: Array) -> Array:
        still = x.ndim == axes + 1  # what is before the first neurons is the same at every step
        frames = timesteps if still else x.shape[0]
        values = {first: x if still else fold(x)}
        moving = {first: not still}

        def at_each_step(name: str) -> Array:
            if moving[name]:
                return values[name]
            return fold(jnp.broadcast_to(values[name], (frames, *values[name].shape)))

        for name in order[1:]:
            before = feeds[name]
            fires = isinstance(graph.nodes[name], (nir.LIF, nir.IF))
            moving[name] = fires or any(moving[other] for other in before)
            given = [at_each_step(one) if moving[name] else values[one] for one in before]
            total = sum(given[1:], given[0])
            if fires:
                values[name] = fold(steps[name](None, unfold(total, frames)))
            else:
                values[name] = steps[name](variables.get(name), total)
        return jnp.mean(unfold(at_each_step(last), frames), axis=0)

    return apply, variables


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise ImportError(
            "exchanging networks needs the package nir: pip install 'prunejax[nir]'"
        ) from error
    return nir


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


def _node(
    nir: Any,
    name: str,
    node: Any,
    shape: tuple[int, ...],
    dt: float,
    surrogate: str | Surrogate,
) -> tuple[Callable[[Any, Array], Array], tuple[int, ...], dict[str, Any]]:
    """What a node computes on [time and batch, ...], channels last; its shape; its variables."""
    if isinstance(node, (nir.Input, nir.Output)):
        return (lambda _, x: x), shape, {}
    if isinstance(node, (nir.Affine, nir.Linear)):
        own = {"kernel": jnp.asarray(np.asarray(node.weight).T)}
        if isinstance(node, nir.Affine):
            own["bias"] = jnp.asarray(node.bias)
        return _dense, (own["kernel"].shape[1],), own
    if isinstance(node, nir.Conv2d):
        return _convolution(name, node, shape)
    if isinstance(node, nir.Flatten):
        if int(node.start_dim) != 0 or int(node.end_dim) not in (-1, len(shape) - 1):
            raise ValueError(f"{name!r} must flatten all of an example's axes")
        # its numbers are in the order channels, height, width
        return (lambda _, x: _flattened(x)), (math.prod(shape),), {}
    if isinstance(node, (nir.AvgPool2d, nir.SumPool2d)):
        return _pool(nir, name, node, shape)
    if isinstance(node, (nir.LIF, nir.IF)):
        settings, gain = _settings(nir, name, node, dt)

        def fires(_: Any, currents: Float[Array, "time batch ..."]) -> Array:
            return lif(gain * currents, surrogate=surrogate, **settings)[0]

        return fires, shape, {}
    raise ValueError(f"the node {name!r} is a {type(node).__name__}, which has no counterpart here")


def _dense(own: Any, x: Array) -> Array:
    y = x @ own["kernel"]
    return y + own["bias"] if "bias" in own else y


def _convolution(name: str, node: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(node.padding, str):
        raise ValueError(f"the padding of {name!r} must be numbers, got {node.padding!r}")
    strides, padding, dilation = (
        tuple(int(one) for one in np.broadcast_to(np.asarray(given), (2,)))
        for given in (node.stride, node.padding, node.dilation)
    )
    groups = int(node.groups)
    kernel = np.asarray(node.weight).transpose(2, 3, 1, 0)
    bias = np.zeros(kernel.shape[3], kernel.dtype) if node.bias is None else node.bias
    own = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}

    def convolved(own: Any, x: Array) -> Array:
        y = jax.lax.conv_general_dilated(
            x,
            own["kernel"],
            strides,
            [(one, one) for one in padding],
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y + own["bias"]

    size = tuple(
        (side + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for side, pad, spread, taps, step in zip(
            shape[:2], padding, dilation, kernel.shape[:2], strides, strict=True
        )
    )
    return convolved, (*size, kernel.shape[3]), own


def _pool(nir: Any, name: str, node: Any, shape: tuple[int, ...]) -> Any:
    window, strides, padding = (
        tuple(int(one) for one in np.broadcast_to(np.asarray(given), (2,)))
        for given in (node.kernel_size, node.stride, node.padding)
    )
    divisor = math.prod(window) if isinstance(node, nir.AvgPool2d) else 1
    pads = ((0, 0), *((one, one) for one in padding), (0, 0))

    def pooled(_: Any, x: Array) -> Array:
        zero = np.array(0, x.dtype)
        summed = jax.lax.reduce_window(
            x, zero, jax.lax.add, (1, *window, 1), (1, *strides, 1), pads
        )
        return summed / np.array(divisor, x.dtype)

    size = tuple(
        (side + 2 * pad - taps) // step + 1
        for side, pad, taps, step in zip(shape[:2], padding, window, strides, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"nothing is left behind the pool {name!r}")
    return pooled, (*size, shape[2]), {}


def _flattened(x: Array) -> Array:
    moved = jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x
    return moved.reshape(x.shape[0], -1)


def _settings(nir: Any, name: str, node: Any, dt: float) -> tuple[dict[str, Any], float]:
    """The arguments of ``lif``, and what currents are multiplied by."""
    if np.any(np.asarray(node.v_reset)) or np.any(np.asarray(getattr(node, "v_leak", 0))):
        raise ValueError(f"the neurons of {name!r} must rest at 0 and be reset to 0")
    threshold, r = _single(name, "v_threshold", node), _single(name, "r", node)
    if isinstance(node, nir.IF):
        return {"decay": 1.0, "threshold": threshold}, r * dt
    tau = _single(name, "tau", node)
    if tau < dt * (1 - 1e-6):
        raise ValueError(f"tau of {name!r} is {tau:g} s, shorter than a step of {dt:g} s")
    share = min(dt / tau, 1.0)
    return {"decay": 1 - share, "threshold": threshold}, r * share


def _single(name: str, what: str, node: Any) -> float:
    values = np.unique(np.asarray(getattr(node, what), np.float64))
    if len(values) != 1:
        raise ValueError(f"{what} of {name!r} must be the same for all of its neurons")
    # what was written in float32 is read as the short number that it stands for
    return float(np.format_float_positional(np.float32(values[0]), unique=True, trim="-"))


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def _channels_last(shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in np.asarray(shape).ravel())
    return (*sizes[1:], sizes[0]) if len(sizes) == 3 else sizes


def _ordered(graph: Any) -> tuple[list[str], dict[str, list[str]]]:
    """The nodes in an order in which each comes behind those that feed it."""
    feeds: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        feeds[target].append(source)
    order: list[str] = []
    while len(order) < len(feeds):
        ready = [
            name
            for name, before in feeds.items()
            if name not in order and all(other in order for other in before)
        ]
        if not ready:
            raise ValueError("the edges of this graph form a circle")
        order += ready
    first = [name for name in order if not feeds[name]]
    last = [name for name in order if all(name not in before for before in feeds.values())]
    if len(first) != 1 or len(last) != 1:
        raise ValueError(
            f"a graph needs one input and one output, got {', '.join(first)} and {', '.join(last)}"
        )
    return [*first, *(name for name in order if name not in (*first, *last)), *last], feeds
