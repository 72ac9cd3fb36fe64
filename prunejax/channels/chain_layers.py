"""Operations of a network that are a dense layer, a convolution or a pool of a chain."""

from typing import Any

import numpy as np

from prunejax.channels.chain_draft import Draft, Held, add, fold, next_name, number_of
from prunejax.network.program import Op
from solvers import layers as solvers_layers

LAYOUT = (
    "the layers read off the network do not compute what it does: either its kernels are not laid "
    "out as Flax's, [height, width, inputs, filters] and [inputs, units], or it computes something "
    "between its layers (inputs that are scaled inside, say); mode 'decoupled' takes both"
)
"""What is said of kernels laid out otherwise, and of chains that compute something else."""


def kernel_layer(draft: Draft, op: Op) -> Held | None:
    """A dense layer or a convolution."""
    if op.inputs[0] not in draft.held or op.inputs[1] in draft.held:
        if all(number in draft.held for number in op.inputs):
            return None
        raise ValueError(LAYOUT)
    held, kernel = draft.held[op.inputs[0]], number_of(draft, op.inputs[1])
    assert isinstance(held, Held)
    shape = draft.program.shapes[op.inputs[0]]
    name = draft.made.get(op.outputs[0], op.name)
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
    fold(draft, held, op.inputs[0], op)
    if op.name != "dot_general" and shape[1:] != draft.shape:
        return None
    draft.rectified = False
    return add(draft, name, layer, draft.program.shapes[op.outputs[0]][1:])


def pool_layer(draft: Draft, op: Op) -> Held | None:
    """A pool, over windows or over whole images."""
    shape, held = draft.program.shapes[op.inputs[0]], draft.held[op.inputs[0]]
    if len(shape) != 4 or not isinstance(held, Held):
        return None
    params = op.params
    if op.name.startswith("reduce_window_"):
        sizes, steps = params["window_dimensions"], params["window_strides"]
        gaps = (*params["base_dilation"], *params["window_dilation"])
        if any(sum(pad) for pad in params["padding"]):
            raise ValueError(
                f"the program cannot hold the padding of the pool {next_name(draft)!r}"
            )
        inside = (sizes[0], sizes[3], steps[0], steps[3]) == (1, 1, 1, 1)
        if not inside or any(gap != 1 for gap in gaps):
            return None
        window, strides = _pair(sizes[1:3]), _pair(steps[1:3])
        result = draft.program.shapes[op.outputs[0]][1:]
    else:
        if tuple(params["axes"]) != (1, 2):
            return None
        window = strides = _pair(shape[1:3])
        result = (1, 1, shape[3])
    fold(draft, held, op.inputs[0], op)
    if shape[1:] != draft.shape:
        return None
    name = draft.made.get(op.outputs[0], op.name)
    if op.name in ("reduce_window_max", "reduce_max"):
        return add(draft, name, solvers_layers.MaxPool(window, strides), result)
    if op.name in ("reduce_window_sum", "reduce_sum"):
        mean = add(draft, name, solvers_layers.AveragePool(window, strides), result)
        return mean._replace(scale=np.float64(window[0] * window[1]))
    return None


def _pair(numbers: Any) -> tuple[int, int]:
    return (int(numbers[0]), int(numbers[1]))
