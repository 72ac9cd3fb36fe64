"""From a NIR graph to a function in JAX."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax.neurons import Surrogate, fold, lif, unfold
from prunejax.spiking.nir_package import DT, check_dt, package


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
    nir = package()
    if timesteps < 1:
        raise ValueError(f"timesteps must be at least 1, got {timesteps}")
    check_dt(dt)
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
