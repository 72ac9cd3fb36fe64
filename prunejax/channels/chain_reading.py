"""A traced network as the solvers' chain of layers, read off its equations one by one.

Nothing is taken for a layer by its name or by its values on a batch. Between two layers the reader
holds a value as ``scale h + shift``, where h is what the last layer gave; each equation must be one
that keeps this form, or one that is a dense layer, a convolution, a ReLU or a pool of it. Any other
equation is refused by name.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.channels.chain_draft import (
    Draft,
    Held,
    Sign,
    check_precision,
    closed,
    equal,
    fold,
    is_everywhere,
    number_of,
    rectify,
    refuse,
)
from prunejax.channels.chain_layers import kernel_layer, pool_layer
from prunejax.network import Network
from prunejax.network.program import Op, bind
from solvers import layers as solvers_layers

SAME = ("copy", "copy_p", "stop_gradient", "convert_element_type")
AFFINE = ("add", "add_any", "sub", "mul", "div", "neg")
COMPARISONS = ("gt", "ge", "lt", "le")
MOVES = ("reshape", "squeeze", "broadcast_in_dim", "transpose")


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
    return _read(network, variables)


def _read(network: Network, variables: PyTree) -> list[tuple[str, solvers_layers.Layer]]:
    """Follows the equations that the network's output needs, in order."""
    draft, traced = Draft(network), network.traced
    program = traced.program
    free = [number for number in program.inputs if number not in traced.paths]
    if len(free) != 1 or len(program.shapes[free[0]]) < 2:
        raise ValueError("the network must take one array, [batch, ...]")
    draft.known = dict(program.constants)
    leaves = jax.tree.leaves(variables)
    if [np.shape(leaf) for leaf in leaves] != [program.shapes[number] for number in traced.paths]:
        raise ValueError("these are not the variables of the network: their shapes differ")
    draft.known.update(zip(traced.paths, leaves, strict=True))
    draft.held[free[0]] = Held(0, np.float64(1), np.float64(0))
    draft.shape = program.shapes[free[0]][1:]
    wanted = set(program.outputs)
    needed = []
    for op in reversed(list(program.flat())):
        if wanted.intersection(op.outputs):
            wanted.update(op.inputs)
            needed.append(op)
    for op in reversed(needed):
        _step(draft, op)
    return closed(draft, program.outputs[0])


def _step(draft: Draft, op: Op) -> None:
    """Follows one operation: what it gives is known, or held, or refused."""
    if not any(number in draft.held for number in op.inputs):
        results = bind(op, op.params, [draft.known[number] for number in op.inputs])
        draft.known.update(zip(op.outputs, results, strict=True))
        return
    if op.name == "optimization_barrier":  # as many results as operands, one of each
        for given, number in zip(op.inputs, op.outputs, strict=True):
            known = given in draft.known
            (draft.known if known else draft.held)[number] = (
                draft.known[given] if known else draft.held[given]
            )
        return
    check_precision(draft, op)
    value = _value(draft, op) if len(op.outputs) == 1 else None
    if value is None:
        refuse(draft, op)
    for number in op.outputs:
        draft.held[number] = value
        if number in draft.made:
            draft.passed.append(draft.made[number])


def _value(draft: Draft, op: Op) -> Held | Sign | None:
    """What an operation gives; None if it is nothing that a chain can hold."""
    inputs = [draft.held.get(number) for number in op.inputs]
    for held in inputs:
        base = held.of if isinstance(held, Sign) else held
        if base is not None and base.changes != draft.changes:
            return None  # something that an earlier layer gave
    first = inputs[0]
    if op.name in SAME:
        return _same(draft, op, first)
    if op.name in AFFINE:
        return _affine(draft, op, inputs)
    if op.name in COMPARISONS:
        return _compared(draft, op, inputs)
    if op.name in ("max", "select_n", "clamp"):
        return _chosen(draft, op, inputs)
    if op.name in MOVES and isinstance(first, Held):
        return _moved(draft, op, first)
    if any(isinstance(held, Sign) for held in inputs):
        return None
    if op.name in ("dot_general", "conv_general_dilated"):
        return kernel_layer(draft, op)
    if op.name.startswith("reduce_window_") or op.name in ("reduce_sum", "reduce_max"):
        return pool_layer(draft, op)
    return None


def _same(draft: Draft, op: Op, held: Any) -> Held | Sign | None:
    """A value that is passed on as it is."""
    dtype = draft.program.dtypes[op.outputs[0]]
    real = jnp.issubdtype(dtype, jnp.floating)
    return held if real or isinstance(held, Sign) or op.name != "convert_element_type" else None


def _affine(draft: Draft, op: Op, inputs: list[Any]) -> Held | None:
    """A sum or product with something known; a product with a sign may be a ReLU."""
    signs = [held for held in inputs if isinstance(held, Sign)]
    if signs:
        others = [held for held in inputs if isinstance(held, Held)]
        rectifies = op.name == "mul" and len(others) == 1 and signs[0].above
        if rectifies and equal(others[0], signs[0].of):
            return rectify(draft, others[0], op)
        return None
    parts = [
        held if held is not None else Held(draft.changes, np.float64(0), number_of(draft, n))
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


def _compared(draft: Draft, op: Op, inputs: list[Any]) -> Sign | None:
    """Whether a value is above 0."""
    left, right = inputs
    above = op.name in ("gt", "ge")
    if isinstance(left, Held) and right is None and is_everywhere(draft, op.inputs[1], 0):
        return Sign(left, above)
    if isinstance(right, Held) and left is None and is_everywhere(draft, op.inputs[0], 0):
        return Sign(right, not above)
    return None


def _chosen(draft: Draft, op: Op, inputs: list[Any]) -> Held | None:
    """A ReLU, in one of the ways to write it."""
    if op.name == "max":
        (held, other) = (inputs[0], 1) if isinstance(inputs[0], Held) else (inputs[1], 0)
        zero = inputs[other] is None and is_everywhere(draft, op.inputs[other], 0)
        return rectify(draft, held, op) if zero and isinstance(held, Held) else None
    if op.name == "clamp":  # low, value, high
        ends = is_everywhere(draft, op.inputs[0], 0) and is_everywhere(draft, op.inputs[2], np.inf)
        held = inputs[1]
        return rectify(draft, held, op) if ends and isinstance(held, Held) else None
    sign, below, above = (*inputs, None)[:3]
    if not isinstance(sign, Sign) or len(inputs) != 3:
        return None
    chosen, other, place = (above, below, 1) if sign.above else (below, above, 2)
    if not isinstance(chosen, Held) or other is not None or not equal(chosen, sign.of):
        return None
    return rectify(draft, chosen, op) if is_everywhere(draft, op.inputs[place], 0) else None


def _moved(draft: Draft, op: Op, held: Held) -> Held | None:
    """A new shape of the same entries in the same order, the batch first."""
    old, new = (draft.program.shapes[number] for number in (op.inputs[0], op.outputs[0]))
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
        return fold(draft, held, op.inputs[0], op)
    return held
