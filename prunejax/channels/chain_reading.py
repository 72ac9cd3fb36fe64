"""A traced network as the solvers' chain of layers, read off its equations one by one.

Nothing is taken for a layer by its name or by its values on a batch. Between two layers the reader
holds a value as ``scale h + shift``, where h is what the last layer gave; each equation must be one
that keeps this form, or one that is a dense layer, a convolution, a ReLU or a pool of it. Any other
equation is refused by name.
"""

import dataclasses
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.network import KERNELS, Layer, Network
from prunejax.network.program import Op
from prunejax.network.resizing import bind
from solvers import layers as solvers_layers

LAYOUT = (
    "the layers read off the network do not compute what it does: either its kernels are not laid "
    "out as Flax's, [height, width, inputs, filters] and [inputs, units], or it computes something "
    "between its layers (inputs that are scaled inside, say); mode 'decoupled' takes both"
)

SAME = ("copy", "copy_p", "stop_gradient", "convert_element_type")
AFFINE = ("add", "add_any", "sub", "mul", "div", "neg")
COMPARISONS = ("gt", "ge", "lt", "le")
MOVES = ("reshape", "squeeze", "broadcast_in_dim", "transpose")


class Held(NamedTuple):
    """``scale h + shift``, h being what the chain gave after ``changes`` changes of its layers.

    Folding a bias into a layer is a change too: what is held of the layer without it is outdated.
    """

    changes: int
    scale: Any
    shift: Any


class Sign(NamedTuple):
    """Whether a value is above 0, or below it; what it is at 0 makes no difference to a ReLU."""

    of: Held
    above: bool


def describe(network: Network, variables: PyTree) -> list[tuple[str, solvers_layers.Layer]]:
    """The layers of a network as the solvers hold them, proved from its equations.

    Args:
      network: a chain of layers.
      variables: its variables.

    Returns:
      Pairs of the layer's name and its arrays, in order.

    Raises:
      ValueError: a layer of a kind that the program cannot hold, or not in a chain.
    """
    before = "input"
    for layer in network.layers.values():
        if layer.kind == "parameters":  # the input takes no part in it
            continue
        if layer.inputs != (before,):
            raise ValueError(
                f"the program holds chains of layers only: {layer.name!r} reads "
                f"{', '.join(layer.inputs)}, not {before} alone"
            )
        before = layer.name
    return _Reader(network).layers(variables)


class _Reader:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._program = network.traced.program
        self._made = network.flows.made
        self._passed = ["the input"]
        self._found: list[tuple[str, Any]] = []
        self._changes = 0  # how often a layer was added, or a bias folded into one
        self._shape: tuple[int, ...] = ()  # of what the last layer gives, but for the batch
        self._rectified = False  # a ReLU came behind the last kernel
        self._known: dict[int, Any] = {}  # what the input takes no part in
        self._held: dict[int, Held | Sign] = {}

    def layers(self, variables: PyTree) -> list[tuple[str, solvers_layers.Layer]]:
        program, traced = self._program, self._network.traced
        free = [number for number in program.inputs if number not in traced.paths]
        if len(free) != 1 or len(program.shapes[free[0]]) < 2:
            raise ValueError("the network must take one array, [batch, ...]")
        self._known = dict(program.constants)
        leaves = jax.tree.leaves(variables)
        if [np.shape(leaf) for leaf in leaves] != [
            program.shapes[number] for number in traced.paths
        ]:
            raise ValueError("these are not the variables of the network: their shapes differ")
        self._known.update(zip(traced.paths, leaves, strict=True))
        self._held[free[0]] = Held(0, np.float64(1), np.float64(0))
        self._shape = program.shapes[free[0]][1:]
        wanted = set(program.outputs)
        needed = []
        for op in reversed(list(program.flat())):
            if wanted.intersection(op.outputs):
                wanted.update(op.inputs)
                needed.append(op)
        for op in reversed(needed):
            self._step(op)
        return self._closed(program.outputs[0])

    def _step(self, op: Op) -> None:
        if not any(number in self._held for number in op.inputs):
            results = bind(op, op.params, [self._known[number] for number in op.inputs])
            self._known.update(zip(op.outputs, results, strict=True))
            return
        if op.name == "optimization_barrier":  # as many results as operands, one of each
            for given, number in zip(op.inputs, op.outputs, strict=True):
                known = given in self._known
                (self._known if known else self._held)[number] = (
                    self._known[given] if known else self._held[given]
                )
            return
        self._check_precision(op)
        found = self._value(op) if len(op.outputs) == 1 else None
        if found is None:
            self._refuse(op)
        for number in op.outputs:
            self._held[number] = found
            if number in self._made:
                self._passed.append(self._made[number])

    def _value(self, op: Op) -> Held | Sign | None:
        """What an operation gives; None if it is nothing that a chain can hold."""
        inputs = [self._held.get(number) for number in op.inputs]
        for held in inputs:
            base = held.of if isinstance(held, Sign) else held
            if base is not None and base.changes != self._changes:
                return None  # something that an earlier layer gave
        first = inputs[0]
        if op.name in SAME:
            return self._same(op, first)
        if op.name in AFFINE:
            return self._affine(op, inputs)
        if op.name in COMPARISONS:
            return self._compared(op, inputs)
        if op.name in ("max", "select_n", "clamp"):
            return self._chosen(op, inputs)
        if op.name in MOVES and isinstance(first, Held):
            return self._moved(op, first)
        if any(isinstance(held, Sign) for held in inputs):
            return None
        if op.name in ("dot_general", "conv_general_dilated"):
            return self._kernel(op)
        if op.name.startswith("reduce_window_") or op.name in ("reduce_sum", "reduce_max"):
            return self._pooled(op)
        return None

    def _same(self, op: Op, held: Any) -> Held | Sign | None:
        dtype = self._program.dtypes[op.outputs[0]]
        real = jnp.issubdtype(dtype, jnp.floating)
        return held if real or isinstance(held, Sign) or op.name != "convert_element_type" else None

    def _affine(self, op: Op, inputs: list[Any]) -> Held | None:
        signs = [held for held in inputs if isinstance(held, Sign)]
        if signs:
            others = [held for held in inputs if isinstance(held, Held)]
            rectifies = op.name == "mul" and len(others) == 1 and signs[0].above
            if rectifies and _equal(others[0], signs[0].of):
                return self._rectify(others[0], op)
            return None
        parts = [
            held if held is not None else Held(self._changes, np.float64(0), self._number(n))
            for held, n in zip(inputs, op.inputs, strict=True)
        ]
        left, right = parts[0], parts[-1]
        match op.name:
            case "neg":
                return left._replace(scale=-left.scale, shift=-left.shift)
            case "add" | "add_any":
                return left._replace(scale=left.scale + right.scale, shift=left.shift + right.shift)
            case "sub":
                return left._replace(scale=left.scale - right.scale, shift=left.shift - right.shift)
            case "mul" if inputs[0] is None or inputs[1] is None:
                held, other = (left, right) if inputs[1] is None else (right, left)
                return held._replace(scale=held.scale * other.shift, shift=held.shift * other.shift)
            case "div" if inputs[1] is None:
                return left._replace(scale=left.scale / right.shift, shift=left.shift / right.shift)
        return None

    def _compared(self, op: Op, inputs: list[Any]) -> Sign | None:
        left, right = inputs
        above = op.name in ("gt", "ge")
        if isinstance(left, Held) and right is None and self._is(op.inputs[1], 0):
            return Sign(left, above)
        if isinstance(right, Held) and left is None and self._is(op.inputs[0], 0):
            return Sign(right, not above)
        return None

    def _chosen(self, op: Op, inputs: list[Any]) -> Held | None:
        """A ReLU, in one of the ways to write it."""
        if op.name == "max":
            (held, other) = (inputs[0], 1) if isinstance(inputs[0], Held) else (inputs[1], 0)
            zero = inputs[other] is None and self._is(op.inputs[other], 0)
            return self._rectify(held, op) if zero and isinstance(held, Held) else None
        if op.name == "clamp":  # low, value, high
            ends = self._is(op.inputs[0], 0) and self._is(op.inputs[2], np.inf)
            held = inputs[1]
            return self._rectify(held, op) if ends and isinstance(held, Held) else None
        sign, below, above = (*inputs, None)[:3]
        if not isinstance(sign, Sign) or len(inputs) != 3:
            return None
        chosen, other, place = (above, below, 1) if sign.above else (below, above, 2)
        if not isinstance(chosen, Held) or other is not None or not _equal(chosen, sign.of):
            return None
        return self._rectify(chosen, op) if self._is(op.inputs[place], 0) else None

    def _moved(self, op: Op, held: Held) -> Held | None:
        """A new shape of the same entries in the same order, the batch first."""
        old, new = (self._program.shapes[number] for number in (op.inputs[0], op.outputs[0]))
        order = [size for size in old[1:] if size != 1]
        kept = [size for size in new[1:] if size != 1] == order
        if op.name == "transpose":
            places = [axis for axis in op.params["permutation"] if old[axis] != 1 or axis == 0]
            kept = kept and places == sorted(places) and op.params["permutation"][0] == 0
        elif op.name == "broadcast_in_dim":
            places = op.params["broadcast_dimensions"]
            kept = kept and bool(places) and places[0] == 0 and list(places) == sorted(places)
        elif op.name == "squeeze":
            kept = kept and 0 not in op.params["dimensions"]
        else:
            flat = len(new) == 2 and new[1] == np.prod(old[1:], dtype=int)
            kept = (kept or flat) and op.params.get("dimensions") is None
        if not kept or len(new) < 2 or new[0] != old[0]:
            return None
        if np.ndim(held.scale) or np.ndim(held.shift):
            return self._layer(held, op.inputs[0], op)
        return held

    def _kernel(self, op: Op) -> Held | None:
        if op.inputs[0] not in self._held or op.inputs[1] in self._held:
            if all(number in self._held for number in op.inputs):
                return None
            raise ValueError(LAYOUT)
        held, kernel = self._held[op.inputs[0]], self._number(op.inputs[1])
        assert isinstance(held, Held)
        shape = self._program.shapes[op.inputs[0]]
        name = self._made.get(op.outputs[0], op.name)
        if op.name == "dot_general":
            sums, batches = op.params["dimension_numbers"]
            if batches != ((), ()) or len(shape) != 2 or kernel.ndim != 2:
                return None
            if sums != ((1,), (0,)):
                raise ValueError(LAYOUT)
            layer: Any = solvers_layers.Dense(kernel, None, name)
        else:
            spec = op.params["dimension_numbers"]
            plain = not any(step != 1 for step in op.params["lhs_dilation"])
            if len(shape) != 4 or not plain or op.params["batch_group_count"] != 1:
                return None
            if (spec.lhs_spec, spec.rhs_spec, spec.out_spec) != (
                (0, 3, 1, 2),
                (3, 2, 0, 1),
                (0, 3, 1, 2),
            ):
                raise ValueError(LAYOUT)
            layer = solvers_layers.Conv(
                kernel,
                None,
                strides=_pair(op.params["window_strides"]),
                padding=(_pair(op.params["padding"][0]), _pair(op.params["padding"][1])),
                dilation=_pair(op.params["rhs_dilation"]),
                groups=op.params["feature_group_count"],
                name=name,
            )
        self._layer(held, op.inputs[0], op)
        if op.name != "dot_general" and shape[1:] != self._shape:
            return None
        self._rectified = False
        return self._add(name, layer, self._program.shapes[op.outputs[0]][1:])

    def _pooled(self, op: Op) -> Held | None:
        shape, held = self._program.shapes[op.inputs[0]], self._held[op.inputs[0]]
        if len(shape) != 4 or not isinstance(held, Held):
            return None
        params = op.params
        if op.name.startswith("reduce_window_"):
            sizes, steps = params["window_dimensions"], params["window_strides"]
            gaps = (*params["base_dilation"], *params["window_dilation"])
            if any(sum(pad) for pad in params["padding"]):
                raise ValueError(
                    f"the program cannot hold the padding of the pool {self._next_name()!r}"
                )
            inside = (sizes[0], sizes[3], steps[0], steps[3]) == (1, 1, 1, 1)
            if not inside or any(gap != 1 for gap in gaps):
                return None
            window, strides = _pair(sizes[1:3]), _pair(steps[1:3])
            result = self._program.shapes[op.outputs[0]][1:]
        else:
            if tuple(params["axes"]) != (1, 2):
                return None
            window = strides = _pair(shape[1:3])
            result = (1, 1, shape[3])
        self._layer(held, op.inputs[0], op)
        if shape[1:] != self._shape:
            return None
        name = self._made.get(op.outputs[0], op.name)
        if op.name in ("reduce_window_max", "reduce_max"):
            return self._add(name, solvers_layers.MaxPool(window, strides), result)
        if op.name in ("reduce_window_sum", "reduce_sum"):
            mean = self._add(name, solvers_layers.AveragePool(window, strides), result)
            return mean._replace(scale=np.float64(window[0] * window[1]))
        return None

    def _rectify(self, held: Held, op: Op) -> Held:
        place = next(number for number in op.inputs if self._held.get(number) is not None)
        self._layer(held, place, op)
        self._rectified = True
        name = self._made.get(op.outputs[0], "relu")
        return self._add(name, solvers_layers.Relu(), self._shape)

    def _layer(self, held: Held, number: int, op: Op) -> Held:
        """Makes a layer of the scale and the shift, or the bias of the layer before."""
        shape = self._program.shapes[number]
        scale, shift = (
            self._by_channel(np.broadcast_to(part, shape), op) for part in (held.scale, held.shift)
        )
        if np.any(shift) and self._rectified:
            raise ValueError(
                f"the program masks neurons behind their ReLU: it cannot hold the shift behind "
                f"{self._found[-1][0]!r}, which a pruned neuron would still add; mode 'decoupled' "
                "takes it"
            )
        if np.any(scale != 1) or np.any(shift):
            name, last = self._found[-1] if self._found else ("", None)
            kernel = isinstance(last, solvers_layers.Dense | solvers_layers.Conv)
            if kernel and last.bias is None and np.all(scale == 1):
                bias = np.broadcast_to(shift, last.kernel.shape[-1:])
                self._found[-1] = (name, dataclasses.replace(last, bias=bias))
            else:
                self._found.append((self._passed[-1], solvers_layers.Affine(scale, shift)))
            self._changes += 1
        return self._current()

    def _by_channel(self, values: np.ndarray, op: Op) -> np.ndarray:
        channels = values.reshape(-1, values.shape[-1])
        if np.ptp(channels, axis=0).any():
            self._refuse(op)
        return channels[0]

    def _add(self, name: str, layer: Any, shape: tuple[int, ...]) -> Held:
        self._found.append((name, layer))
        self._shape = tuple(shape)
        self._changes += 1
        return self._current()

    def _current(self) -> Held:
        """What the layers found so far give, as it is."""
        return Held(self._changes, np.float64(1), np.float64(0))

    def _closed(self, number: int) -> list[tuple[str, solvers_layers.Layer]]:
        """The layers, the last of which gives the logits."""
        held = self._held.get(number)
        if not isinstance(held, Held) or held.changes != self._changes:
            raise ValueError("the network's output does not come from its last layer")
        name, last = self._found[-1] if self._found else ("", None)
        if isinstance(last, solvers_layers.Dense) and len(self._program.shapes[number]) == 2:
            scale, shift = (
                np.broadcast_to(part, self._program.shapes[number]) for part in held[1:]
            )
            if np.ptp(scale, axis=0).any() or np.ptp(shift, axis=0).any():
                raise ValueError("what follows the last layer depends on the place in the batch")
            bias = shift[0] if last.bias is None else last.bias * scale[0] + shift[0]
            self._found[-1] = (
                name,
                dataclasses.replace(last, kernel=last.kernel * scale[0], bias=bias),
            )
        elif np.any(held.scale != 1) or np.any(held.shift != 0):
            self._found.append(("output", solvers_layers.Affine(held.scale, held.shift)))
        return self._found

    def _number(self, number: int) -> np.ndarray:
        return np.asarray(self._known[number], np.float64)

    def _is(self, number: int, wanted: int | float) -> bool:
        """Whether every entry of a known value is one number."""
        return number in self._known and bool(np.all(self._number(number) == wanted))

    def _check_precision(self, op: Op) -> None:
        for number in (*op.inputs, *op.outputs):
            dtype = self._program.dtypes[number]
            low = jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits < 32
            if low and (number in self._held or number in op.outputs):
                raise ValueError(
                    f"the network computes in {dtype}, whose precision is too low for bounds on "
                    "its outputs: give float32 variables and inputs, and trace it with them; mode "
                    "'decoupled' takes it as it is"
                )

    def _next(self) -> Layer | None:
        left = [
            layer
            for name, layer in self._network.layers.items()
            if name not in self._passed and layer.kind != "parameters"
        ]
        return left[0] if left else None

    def _next_name(self) -> str:
        layer = self._next()
        return layer.name if layer else "behind the last layer"

    def _refuse(self, op: Op) -> NoReturn:
        layer = self._next()
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
        where = f"between {self._passed[-1]!r} and {layer.name!r}" if layer else "at its end"
        raise ValueError(
            f"the program cannot hold what the network computes {where}: {op.name!r} makes it no "
            "ReLU, no pool and nothing affine by channel; mode 'decoupled' takes it"
        )


def _equal(left: Held, right: Held) -> bool:
    return (
        left.changes == right.changes
        and bool(np.all(left.scale == right.scale))
        and bool(np.all(left.shift == right.shift))
    )


def _pair(numbers: Any) -> tuple[int, int]:
    return (int(numbers[0]), int(numbers[1]))
