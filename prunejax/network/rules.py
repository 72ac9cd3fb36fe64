"""Which rule covers which primitive, for those whose rules need labels and shapes only."""

from prunejax.network import contractions, indexing, reshaping, shaping
from prunejax.network.labels import Labels
from prunejax.network.layers import ACTIVITY
from prunejax.network.program import Op
from prunejax.network.sets import Shape
from prunejax.network.values import Value, fixed

SAME = frozenset(
    ("optimization_barrier", "sharding_constraint", "name", "pvary", "device_put", ACTIVITY)
)
"""Primitives that give what they are given."""

SILENT = frozenset(("debug_callback", "debug_print"))
"""Primitives that look at values and give nothing."""


def outputs(
    labels: Labels,
    op: Op,
    inputs: list[Value],
    given: list[Shape],
    shapes: list[Shape],
) -> list[Value] | None:
    """The outputs of an operation by a rule that needs labels and shapes only.

    Args:
      labels: the labels so far.
      op: the operation.
      inputs: its operands.
      given: their shapes.
      shapes: the shapes of its results.

    Returns:
      The results; None if there is no such rule.
    """
    if op.name in contractions.REDUCTIONS:
        return [contractions.reduction(labels, op, inputs)]
    if op.name in contractions.CUMULATIONS:
        return [contractions.cumulation(labels, op, inputs)]
    if op.name in contractions.WINDOWS:
        return [contractions.window(labels, op, inputs)]
    if op.name in indexing.SCATTERS:
        return [indexing.scatter(labels, op, inputs, given)]
    if op.name in SAME:
        return inputs
    if op.name in SILENT:
        return [fixed(shape) for shape in shapes]
    match op.name:
        case "dot_general":
            return [contractions.dot_general(labels, op, inputs)]
        case "conv_general_dilated":
            value = contractions.convolution(labels, op, inputs, given)
            return None if value is None else [value]
        case "ragged_dot" | "ragged_dot_general":
            value = indexing.ragged_dot(labels, op, inputs)
            return None if value is None else [value]
        case "psum" | "pmax" | "pmin" if all(type(axis) is int for axis in op.params["axes"]):
            return [contractions.reduction(labels, op, [value]) for value in inputs]
        case "reshape":
            return [reshaping.reshape(labels, inputs[0], given[0], shapes[0])]
        case "broadcast_in_dim":
            return [shaping.broadcast_in_dim(labels, op, inputs, given, shapes[0])]
        case "squeeze":
            return [shaping.squeeze(op, inputs)]
        case "transpose":
            return [shaping.transpose(op, inputs)]
        case "rev":
            return [shaping.reverse(op, inputs)]
        case "concatenate":
            return [shaping.concatenate(labels, op, inputs, given)]
        case "split":
            return shaping.split(labels, op, inputs)
        case "stack":
            return [shaping.stack(labels, op, inputs)]
        case "unstack":
            return shaping.unstack(labels, op, inputs, len(shapes))
        case "tile":
            return [shaping.tile(labels, op, inputs, given)]
        case "slice":
            return [shaping.cut(labels, op, inputs, given)]
        case "pad":
            return [shaping.pad(labels, op, inputs)]
        case "dynamic_slice":
            return [indexing.dynamic_slice(labels, op, inputs, given)]
        case "dynamic_update_slice":
            return [indexing.dynamic_update_slice(labels, inputs, given)]
        case "sort":
            return indexing.sort(labels, op, inputs)
        case "top_k":
            return indexing.top_k(labels, op, inputs, len(shapes))
        case "fft":
            return [indexing.fft(labels, op, inputs)]
    return None
