"""Layers that multiply by a kernel, and products that do not depend on the input."""

import math

from prunejax.network import products
from prunejax.network.flow import Draft, Flow, Producer, add
from prunejax.network.layers import Layer
from prunejax.network.program import Op, Program, flatten


def convolution(draft: Draft, op: Op, flows: list[Flow]) -> Flow:
    """A convolution; its kernel's output axis makes channels."""
    numbers, params = op.params["dimension_numbers"], op.params
    left, kernel = (draft.program.shapes[number] for number in op.inputs)
    result = draft.program.shapes[op.outputs[0]]
    transposed = any(step != 1 for step in params["lhs_dilation"])
    flow = add(
        draft,
        op,
        "conv_transpose" if transposed else "conv",
        [flow for flow in flows if flow.origin],
        flows[1].parameters,
        kernel_shape=kernel,
        strides=tuple(params["lhs_dilation" if transposed else "window_strides"]),
        padding=tuple((int(low), int(high)) for low, high in params["padding"]),
        dilation=tuple(params["rhs_dilation"]),
        feature_groups=params["feature_group_count"],
        multiply_adds=products.convolution(params, left, kernel, result),
    )
    (name,) = flow.origin
    draft.record.producers.append(Producer(name, op.inputs[1], numbers.rhs_spec[0]))
    return flow


def product(draft: Draft, op: Op, flows: list[Flow]) -> Flow:
    """A dense layer, or a product of two activations."""
    sums, batches = op.params["dimension_numbers"]
    shapes = [draft.program.shapes[number] for number in op.inputs]
    result = draft.program.shapes[op.outputs[0]]
    dense = [side for side, flow in enumerate(flows) if not flow.origin and flow.parameters]
    flow = add(
        draft,
        op,
        "dense" if dense else "matmul",
        [flow for flow in flows if flow.origin],
        tuple(path for flow in flows for path in flow.parameters),
        kernel_shape=shapes[dense[0]] if dense else (),
        input_shape=shapes[1 - dense[0]] if dense else shapes[0],
        multiply_adds=products.product(op.params, shapes[0], result),
    )
    (name,) = flow.origin
    for side in dense:
        used = {*sums[side], *batches[side]}
        for axis in range(len(shapes[side])):
            if axis not in used:
                draft.record.producers.append(Producer(name, op.inputs[side], axis))
    return flow


def ragged(draft: Draft, op: Op, flows: list[Flow]) -> Flow:
    """A dense layer with a kernel for each group of rows: [m, k], [groups, k, n] to [m, n]."""
    left, kernel = (draft.program.shapes[number] for number in op.inputs[:2])
    flow = add(
        draft,
        op,
        "dense" if flows[1].parameters and not flows[1].origin else "matmul",
        [flow for flow in flows if flow.origin],
        tuple(path for flow in flows for path in flow.parameters),
        kernel_shape=kernel,
        input_shape=left,
        multiply_adds=math.prod(left) * kernel[-1],
    )
    (name,) = flow.origin
    if not flows[1].origin:
        draft.record.producers.append(Producer(name, op.inputs[1], len(kernel) - 1))
    return flow


def worked(program: Program, op: Op) -> products.Work:
    """The multiply-adds of an operation with the program's shapes, also of what is left of it.

    Args:
      program: the program, at full size or as ``resizing.Resized.described`` gives it.
      op: one of its operations that is no call.

    Returns:
      The count; that of loops as ``products.inside`` counts them.
    """
    shapes = [program.shapes[number] for number in (*op.inputs, *op.outputs)]
    if op.name == "conv_general_dilated":
        return products.Work(products.convolution(op.params, *shapes), "")
    if op.name == "dot_general":
        return products.Work(products.product(op.params, shapes[0], shapes[-1]), "")
    if not op.loop:
        return products.inside(op.name, op.params)
    bodies = [[worked(program, inner) for inner in flatten(body.ops)] for body in op.loop]
    counts = [sum(each.multiply_adds for each in body) for body in bodies]
    note = next((each.note for body in bodies for each in body if each.note), "")
    if op.name == "scan":
        return products.Work(op.params["length"] * counts[0], note)
    if op.name == "cond":
        return products.Work(max(counts), note or "costliest branch" * (len({*counts}) > 1))
    return products.Work(sum(counts), "one iteration" if any(counts) else note)


def aside(draft: Draft, op: Op, parameters: tuple[str, ...], work: products.Work) -> None:
    """Records a product that does not depend on the input, but is computed in every pass.

    It feeds no layer: whatever reads it treats it as parameters.
    """
    shapes = [draft.program.shapes[number] for number in (*op.inputs, *op.outputs)]
    if op.name in ("conv_general_dilated", "dot_general"):
        work = worked(draft.program, op)
    if work.multiply_adds:
        draft.counts["parameters"] += 1
        name = f"parameters_{draft.counts['parameters']}"
        draft.record.layers[name] = Layer(
            name,
            "parameters",
            parameters=parameters,
            input_shape=shapes[0],
            output_shape=draft.program.shapes[op.outputs[0]],
            **work._asdict(),
        )
