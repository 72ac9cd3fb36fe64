"""A chain of layers while it is read off a network: what is known, what is held, what was added.

A value is held as ``scale h + shift``, where h is what the last layer gave.
"""

import dataclasses
from typing import Any, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np

from prunejax.network import KERNELS, Layer, Network
from prunejax.network.program import Op, Program
from solvers import layers as solvers_layers


class Held(NamedTuple):
    """A value as ``scale h + shift``, where h is what the chain gave at some moment.

    Adding a layer changes what the chain gives, and so does folding a bias into its last layer.
    What was held before such a change is outdated.

    Attributes:
      changes: how many changes there had been at that moment.
      scale: one number, or an array that broadcasts to the value.
      shift: likewise.
    """

    changes: int
    scale: Any
    shift: Any


class Sign(NamedTuple):
    """The comparison of a value with 0. Whether 0 itself counts is all the same to a ReLU.

    Attributes:
      of: the value.
      above: True for "is above 0", False for "is below 0".
    """

    of: Held
    above: bool


@dataclasses.dataclass
class Draft:
    """What was read so far.

    Attributes:
      network: the network.
      layers: pairs of a layer's name and the layer as the solvers hold it.
      passed: the names of the network's layers that the chain has passed.
      changes: how often a layer was added, or a bias folded into one.
      shape: the shape of what the last layer gives, without the batch.
      rectified: whether a ReLU came behind the last kernel.
      known: the values that do not depend on the input, by number.
      held: the values that do, by number.
    """

    network: Network
    layers: list[tuple[str, Any]] = dataclasses.field(default_factory=list)
    passed: list[str] = dataclasses.field(default_factory=lambda: ["the input"])
    changes: int = 0
    shape: tuple[int, ...] = ()
    rectified: bool = False
    known: dict[int, Any] = dataclasses.field(default_factory=dict)
    held: dict[int, Held | Sign] = dataclasses.field(default_factory=dict)

    @property
    def program(self) -> Program:
        """The equations of the network."""
        return self.network.traced.program

    @property
    def made(self) -> dict[int, str]:
        """The layers' names by the number of the value that their first operation gives."""
        return self.network.flows.made


def rectify(draft: Draft, held: Held, op: Op) -> Held:
    """Adds a ReLU of a value."""
    place = next(number for number in op.inputs if draft.held.get(number) is not None)
    fold(draft, held, place, op)
    draft.rectified = True
    name = draft.made.get(op.outputs[0], "relu")
    return add(draft, name, solvers_layers.Relu(), draft.shape)


def fold(draft: Draft, held: Held, number: int, op: Op) -> Held:
    """Makes a layer of the scale and the shift, or the bias of the layer before."""
    shape = draft.program.shapes[number]
    scale, shift = (
        by_channel(draft, np.broadcast_to(part, shape), op) for part in (held.scale, held.shift)
    )
    if np.any(shift) and draft.rectified:
        raise ValueError(
            f"the program masks neurons behind their ReLU: it cannot hold the shift behind "
            f"{draft.layers[-1][0]!r}, which a pruned neuron would still add; mode 'decoupled' "
            "takes it"
        )
    if np.any(scale != 1) or np.any(shift):
        name, last = draft.layers[-1] if draft.layers else ("", None)
        kernel = isinstance(last, solvers_layers.Dense | solvers_layers.Conv)
        if kernel and last.bias is None and np.all(scale == 1):
            bias = np.broadcast_to(shift, last.kernel.shape[-1:])
            draft.layers[-1] = (name, dataclasses.replace(last, bias=bias))
        else:
            draft.layers.append((draft.passed[-1], solvers_layers.Affine(scale, shift)))
        draft.changes += 1
    return current(draft)


def by_channel(draft: Draft, values: np.ndarray, op: Op) -> np.ndarray:
    """One number per channel; values that differ within a channel are refused."""
    channels = values.reshape(-1, values.shape[-1])
    if np.ptp(channels, axis=0).any():
        refuse(draft, op)
    return channels[0]


def add(draft: Draft, name: str, layer: Any, shape: tuple[int, ...]) -> Held:
    """Adds a layer that gives arrays of a shape, which does not count the batch."""
    draft.layers.append((name, layer))
    draft.shape = tuple(shape)
    draft.changes += 1
    return current(draft)


def current(draft: Draft) -> Held:
    """What the layers so far give: scale 1, shift 0."""
    return Held(draft.changes, np.float64(1), np.float64(0))


def number_of(draft: Draft, number: int) -> np.ndarray:
    """A known value, in float64."""
    return np.asarray(draft.known[number], np.float64)


def is_everywhere(draft: Draft, number: int, wanted: int | float) -> bool:
    """Whether every entry of a known value is one number."""
    return number in draft.known and bool(np.all(number_of(draft, number) == wanted))


def next_layer(draft: Draft) -> Layer | None:
    """The next layer of the network that the chain has not passed yet."""
    left = [
        layer
        for name, layer in draft.network.layers.items()
        if name not in draft.passed and layer.kind != "parameters"
    ]
    return left[0] if left else None


def next_name(draft: Draft) -> str:
    """What messages call the next layer."""
    layer = next_layer(draft)
    return layer.name if layer else "behind the last layer"


def refuse(draft: Draft, op: Op) -> NoReturn:
    """Says by name what the program cannot hold."""
    layer = next_layer(draft)
    if layer is not None and layer.kind in ("norm", "affine"):
        raise ValueError(
            f"the program cannot hold {layer.name!r}, which is not affine by channel: "
            f"{op.name!r} has no place in it"
        )
    if layer is not None and layer.kind not in KERNELS:
        raise ValueError(
            f"the program cannot hold the layer {layer.name!r}, a "
            f"{layer.function or layer.kind}: {op.name!r} makes it no ReLU and no pool"
        )
    where = f"between {draft.passed[-1]!r} and {layer.name!r}" if layer else "at its end"
    raise ValueError(
        f"the program cannot hold what the network computes {where}: {op.name!r} makes it no "
        "ReLU, no pool and nothing affine by channel; mode 'decoupled' takes it"
    )


def check_precision(draft: Draft, op: Op) -> None:
    """Refuses values of less than single precision."""
    for number in (*op.inputs, *op.outputs):
        dtype = draft.program.dtypes[number]
        low = jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits < 32
        if low and (number in draft.held or number in op.outputs):
            raise ValueError(
                f"the network computes in {dtype}, whose precision is too low for bounds on "
                "its outputs: give float32 variables and inputs, and trace it with them; mode "
                "'decoupled' takes it as it is"
            )


def closed(draft: Draft, number: int) -> list[tuple[str, solvers_layers.Layer]]:
    """The finished chain: its last layer gives the logits, which are the value of this number."""
    held = draft.held.get(number)
    if not isinstance(held, Held) or held.changes != draft.changes:
        raise ValueError("the network's output does not come from its last layer")
    name, last = draft.layers[-1] if draft.layers else ("", None)
    if isinstance(last, solvers_layers.Dense) and len(draft.program.shapes[number]) == 2:
        scale, shift = (np.broadcast_to(part, draft.program.shapes[number]) for part in held[1:])
        if np.ptp(scale, axis=0).any() or np.ptp(shift, axis=0).any():
            raise ValueError("what follows the last layer depends on the place in the batch")
        bias = shift[0] if last.bias is None else last.bias * scale[0] + shift[0]
        draft.layers[-1] = (
            name,
            dataclasses.replace(last, kernel=last.kernel * scale[0], bias=bias),
        )
    elif np.any(held.scale != 1) or np.any(held.shift != 0):
        draft.layers.append(("output", solvers_layers.Affine(held.scale, held.shift)))
    return draft.layers


def equal(left: Held, right: Held) -> bool:
    """Whether two values are held as the same."""
    return (
        left.changes == right.changes
        and bool(np.all(left.scale == right.scale))
        and bool(np.all(left.shift == right.shift))
    )
