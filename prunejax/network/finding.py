"""One pass over a program that finds its layers and which of them feed which."""

import math

from prunejax.network import products
from prunejax.network.contractions import REDUCTIONS
from prunejax.network.coupling import fill
from prunejax.network.elementwise import NAMES as ELEMENTWISE
from prunejax.network.flow import (
    INPUT,
    Draft,
    Flow,
    Flows,
    Producer,
    add,
    change,
    feeding,
    module,
    put_out,
    resolve,
)
from prunejax.network.kernels import aside, convolution, product, ragged, worked
from prunejax.network.layers import ACTIVATIONS, ACTIVITY, BARE_ACTIVATIONS, POOLS, SPIKING
from prunejax.network.program import Body, Op, Program, flatten

SUMS = {"add": "add", "add_any": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}
INSIDE = ELEMENTWISE | {"broadcast_in_dim", "reduce_max", "reduce_sum", "reshape", "squeeze"}
"""What a call may hold that is an activation, softmax among them."""

ABSORBED = ("mul", "div", "sub", "select_n", "max", "min")
"""What a normalisation or an activation may go on with and be one layer still."""


def find_layers(
    program: Program,
    paths: dict[int, str],
    collections: frozenset[str],
    results: tuple[int, ...],
) -> Flows:
    """The layers of a program, in topological order.

    Args:
      program: the program.
      paths: the paths of those of its inputs that are variables; the others are its input.
      collections: names of collections, which are no part of a module's path.
      results: the positions of the outputs that are not updated state.

    Returns:
      The layers and what makes their channels.
    """
    flows = {number: Flow() for number in program.constants}
    for number in program.inputs:
        flows[number] = (
            Flow(parameters=(paths[number],))
            if number in paths
            else Flow(origin=frozenset((INPUT,)))
        )
    wanted = {program.outputs[position] for position in results}
    _want(tuple(program.flat()), wanted)
    draft = Draft(program, collections, wanted, flows)
    _visit(draft, program.ops)
    for position in results:
        resolve(draft, draft.flows[program.outputs[position]])
    return draft.record


def _visit(draft: Draft, ops: tuple[Op, ...]) -> None:
    """Follows the values through operations, and into calls that are no activations."""
    for op in ops:
        if op.body is not None and not _activation(draft, op, op.params.get("name", "")):
            _visit(draft, op.body)
        elif op.loop:
            _loop(draft, op)
        elif op.body is None:
            flow = _step(draft, op) if draft.wanted.intersection(op.outputs) else Flow()
            draft.flows.update(dict.fromkeys(op.outputs, flow))


def _want(ops: tuple[Op, ...], wanted: set[int]) -> None:
    """Adds what wanted values are computed from, and all that a wanted loop computes."""
    for op in reversed(ops):
        if wanted.intersection(op.outputs):
            wanted.update(op.inputs)
            for body in op.loop:
                wanted.update(body.outputs)
                _want(tuple(flatten(body.ops)), wanted)


def _loop(draft: Draft, op: Op) -> None:
    """Follows the values into a loop or into branches; what is inside runs several times."""
    flows = [draft.flows[number] for number in op.inputs]
    fed = frozenset[str]().union(*(resolve(draft, flow) for flow in flows if flow.origin))
    if not draft.wanted.intersection(op.outputs) or not fed:
        work = worked(draft.program, op)
        given = tuple(dict.fromkeys(path for flow in flows for path in flow.parameters))
        if draft.wanted.intersection(op.outputs):
            aside(draft, op, given, work)
        draft.flows.update(dict.fromkeys(op.outputs, Flow(parameters=given)))
        return
    whole = draft.times, draft.note, draft.inside
    draft.inside = True
    results = _branches(draft, op, flows) if op.name == "cond" else _steps(draft, op, flows, fed)
    draft.times, draft.note, draft.inside = whole
    draft.flows.update(zip(op.outputs, results, strict=True))


def _steps(draft: Draft, op: Op, flows: list[Flow], fed: frozenset[str]) -> list[Flow]:
    """A loop: what goes around comes from what the loop is fed with."""
    if op.name == "scan":
        (body,) = op.loop
        first, carried = op.params["num_consts"], op.params["num_carry"]
        draft.times *= op.params["length"]
    else:
        body, (asked, consts) = op.loop[1], (op.params["cond_nconsts"], op.params["body_nconsts"])
        flows, first, carried = flows[asked:], consts, len(flows) - asked - consts
        draft.note = draft.note or "one iteration"
    moved = _fed_carry(body, flows, first, carried)
    around = [
        Flow(fed) if moves and not flow.origin else flow
        for flow, moves in zip(flows[first : first + carried], moved, strict=True)
    ]
    given = [*flows[:first], *around, *flows[first + carried :]]
    draft.flows.update(zip(body.inputs, given, strict=True))
    _visit(draft, body.ops)
    return [draft.flows[number] for number in body.outputs]


def _fed_carry(body: Body, flows: list[Flow], first: int, carried: int) -> list[bool]:
    """For each value of a carry whether it depends on what feeds the loop: counters do not."""
    fed = {number for number, flow in zip(body.inputs, flows, strict=True) if flow.origin}
    while True:
        for op in flatten(body.ops):
            if fed.intersection(op.inputs):
                fed.update(op.outputs)
        again = {
            body.inputs[first + place]
            for place in range(carried)
            if body.outputs[place] in fed and body.inputs[first + place] not in fed
        }
        if not again:
            return [body.inputs[first + place] in fed for place in range(carried)]
        fed |= again


def _branches(draft: Draft, op: Op, flows: list[Flow]) -> list[Flow]:
    """Branches, of which one runs: the multiply-adds are those of the costliest."""
    costs = [
        sum(worked(draft.program, inner).multiply_adds for inner in flatten(branch.ops))
        for branch in op.loop
    ]
    dearest, times = costs.index(max(costs)), draft.times
    results: list[list[Flow]] = []
    for position, branch in enumerate(op.loop):
        draft.times = times if position == dearest else 0
        if position == dearest and len({*costs}) > 1:
            draft.note = draft.note or "costliest branch"
        draft.flows.update(zip(branch.inputs, flows[1:], strict=True))
        _visit(draft, branch.ops)
        results.append([draft.flows[number] for number in branch.outputs])
    return [_either(draft, list(each)) for each in zip(*results, strict=True)]


def _either(draft: Draft, flows: list[Flow]) -> Flow:
    fed = [resolve(draft, flow) for flow in flows if flow.origin]
    if not fed:
        return Flow(parameters=tuple(dict.fromkeys(p for flow in flows for p in flow.parameters)))
    return Flow(frozenset[str]().union(*fed))


def _step(draft: Draft, op: Op) -> Flow:
    """What an operation is, and where its output comes from."""
    flows = [draft.flows[number] for number in op.inputs]
    fed = [flow for flow in flows if flow.origin]
    given = [flow for flow in flows if flow.parameters and not flow.origin]
    origin = frozenset[str]().union(*(flow.origin for flow in fed))
    parameters = tuple(dict.fromkeys(path for flow in given for path in flow.parameters))
    root = op.name in ("sqrt", "rsqrt") or any(flow.root for flow in flows)
    work = products.inside(op.name, op.params)
    if not fed:
        aside(draft, op, parameters, work)
        return Flow(parameters=parameters, root=root)
    if work.multiply_adds:
        return add(draft, op, op.name, fed, parameters, **work._asdict())
    if op.name == "conv_general_dilated":
        return convolution(draft, op, flows)
    if op.name == "dot_general":
        return product(draft, op, flows)
    if op.name in ("ragged_dot", "ragged_dot_general"):
        return ragged(draft, op, flows)
    if op.name in POOLS and (op.name.startswith("reduce_window") or not fed[0].pool):
        return _reduction(draft, op, fed[0])
    if op.name == ACTIVITY:
        return add(draft, op, "activation", fed[:1], (), function=SPIKING)
    if op.name in ("concatenate", "stack") and len({flow.origin for flow in fed}) == 1:
        return fed[0]  # the steps of one layer's neurons
    if op.name == "concatenate" and len(fed) > 1:
        return add(draft, op, "concatenate", fed, ())
    if op.name == "gather" and given and not flows[0].origin:
        flow = add(draft, op, "embedding", fed, parameters)
        (name,) = flow.origin
        dimensions = op.params["dimension_numbers"]
        gone = (*dimensions.collapsed_slice_dims, *dimensions.operand_batching_dims)
        for axis in range(len(draft.program.shapes[op.inputs[0]])):
            if axis not in gone:
                draft.record.producers.append(Producer(name, op.inputs[0], axis))
        return flow
    if op.name in ELEMENTWISE:
        if given:
            return _affine(draft, op, fed, origin, parameters, root)
        if len(fed) == 1:
            return _unary(draft, op, fed[0], root)
        return _merge(draft, op, fed, origin, root)
    if len(fed) == 1 or op.name in REDUCTIONS:
        return fed[0]
    if len({flow.origin for flow in fed}) == 1:
        return Flow(origin)
    return add(draft, op, op.name, fed, parameters)


def _affine(
    draft: Draft,
    op: Op,
    fed: list[Flow],
    origin: frozenset[str],
    parameters: tuple[str, ...],
    root: bool,
) -> Flow:
    """A sum or product with parameters: a bias, part of a normalisation, or a layer."""
    if len(origin) == 1 and not any(flow.pool for flow in fed):
        (name,) = origin
        layer = draft.record.layers.get(name)
        modules = {module(draft, path) for path in (layer.parameters if layer else ())}
        if layer and module(draft, parameters[0]) in modules:
            kind = "norm" if root and layer.kind == "affine" else layer.kind
            joined = tuple(dict.fromkeys((*layer.parameters, *parameters)))
            change(draft, name, kind=kind, parameters=joined)
            put_out(draft, name, op)
            return Flow(origin)
    flow = add(draft, op, "norm" if root else "affine", fed, parameters)
    if root:  # the scale of a normalisation, whose size is that of what it scales
        (name,) = flow.origin
        shapes = [layer.output_shape for layer in feeding(draft, name)]
        if shapes and math.prod(shapes[0]) > math.prod(draft.record.layers[name].output_shape):
            change(draft, name, input_shape=shapes[0], output_shape=shapes[0])
            del draft.record.values[name]
    return flow


def _unary(draft: Draft, op: Op, fed: Flow, root: bool) -> Flow:
    """A function of one value, constants aside: an activation if it is known for one."""
    if op.name in ("sqrt", "rsqrt"):
        return Flow(fed.origin, root=True)
    if op.name == "max" and len(op.inputs) == 2:
        (other,) = (number for number in op.inputs if draft.flows[number] is not fed)
        if fill(draft.program.constants.get(other)) == 0:
            _activation(draft, op, "relu")
    elif op.name in BARE_ACTIVATIONS:
        _activation(draft, op, BARE_ACTIVATIONS[op.name])
    return draft.flows.get(op.outputs[0], fed._replace(root=root))


def _merge(draft: Draft, op: Op, fed: list[Flow], origin: frozenset[str], root: bool) -> Flow:
    """Several values in one: part of a normalisation or of an activation, or a layer."""
    if len({flow.origin for flow in fed}) == 1:
        return Flow(origin, root=root)
    for name in origin:
        layer = draft.record.layers.get(name)
        part = layer is not None and layer.kind in ("norm", "activation")
        if layer and part and origin - {name} <= set(layer.inputs) and op.name in ABSORBED:
            put_out(draft, name, op)
            return Flow(frozenset((name,)))
    return add(draft, op, SUMS.get(op.name, op.name), fed, ())


def _activation(draft: Draft, op: Op, function: str) -> bool:
    """Records an activation if its operand is what a layer, or the input, gave."""
    flows = [draft.flows[number] for number in op.inputs]
    fed = [flow for flow in flows if flow.origin]
    if function not in ACTIVATIONS or len(fed) != 1 or not draft.wanted & {*op.outputs}:
        return False
    if op.body is not None and not _is_function(op, flows):
        return False
    sources = [draft.record.layers[name] for name in fed[0].origin if name in draft.record.layers]
    shape = draft.program.shapes[op.outputs[0]]
    size = math.prod(shape)
    if fed[0].pool or any(math.prod(source.output_shape) != size for source in sources):
        return False
    if any(source.kind == "activation" for source in sources) and op.body is None:
        return False
    draft.flows[op.outputs[0]] = add(draft, op, "activation", fed, (), function=function)
    return True


def _reduction(draft: Draft, op: Op, fed: Flow) -> Flow:
    """A pool; a sum or maximum over whole axes is one only if no normalisation uses it."""
    if not op.name.startswith("reduce_window"):
        return Flow(fed.origin, pool=op)
    shape = draft.program.shapes[op.inputs[0]]
    moves = [axis for axis, size in enumerate(op.params["window_dimensions"]) if size > 1]
    return add(
        draft,
        op,
        POOLS[op.name],
        [fed],
        (),
        input_shape=shape,
        window=tuple(op.params["window_dimensions"]),
        strides=tuple(op.params["window_strides"][axis] for axis in moves),
        padding=tuple(tuple(op.params["padding"][axis]) for axis in moves),
    )


def _is_function(call: Op, flows: list[Flow]) -> bool:
    """Whether a call that is named like an activation can be one: no kernel, no variable in it."""
    known = all(not flow.parameters for flow in flows)
    inside = all(op.name in INSIDE for op in flatten(call.body or ()))
    return known and inside and len(call.outputs) == 1
