"""One pass over a program that finds its layers and which of them feed which."""

import math
from collections import Counter
from typing import Any, NamedTuple

from prunejax.network import products
from prunejax.network.contractions import REDUCTIONS
from prunejax.network.coupling import fill
from prunejax.network.elementwise import NAMES as ELEMENTWISE
from prunejax.network.layers import ACTIVATIONS, BARE_ACTIVATIONS, POOLS, Layer
from prunejax.network.program import Op, Program, flatten

INPUT = "input"
SUMS = {"add": "add", "add_any": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}
INSIDE = ELEMENTWISE | {"broadcast_in_dim", "reduce_max", "reduce_sum", "reshape", "squeeze"}
"""What a call may hold that is an activation, softmax among them."""

ABSORBED = ("mul", "div", "sub", "select_n", "max", "min")


class Flow(NamedTuple):
    """Where a value comes from."""

    origin: frozenset[str] = frozenset()  # the last layers before it
    parameters: tuple[str, ...] = ()  # the leaves it is made of, if of them alone
    root: bool = False  # a square root was taken: it normalises
    pool: Op | None = None  # the reduction it comes from, if that is not a layer yet


class Producer(NamedTuple):
    """An axis of a kernel that makes the output channels of a layer."""

    layer: str
    value: int
    axis: int


class Flows:
    """The layers of a program, in topological order.

    Args:
        program: the program.
        paths: the paths of those of its inputs that are variables; the others are its input.
        collections: names of collections, which are no part of a module's path.
        results: the positions of the outputs that are not updated state.

    Attributes:
        layers: by name.
        producers: in the same order.
        values: for each layer the number of the value that it puts out; none for average pools.
        made: the layers by the number of the value that their first operation gives.
    """

    def __init__(
        self,
        program: Program,
        paths: dict[int, str],
        collections: frozenset[str],
        results: list[int],
    ) -> None:
        self.layers: dict[str, Layer] = {}
        self.producers: list[Producer] = []
        self.values: dict[str, int] = {}
        self.made: dict[int, str] = {}
        self._program = program
        self._collections = collections
        self._counts: Counter[str] = Counter()
        self._pools: dict[int, str] = {}
        self._flows: dict[int, Flow] = {number: Flow() for number in program.constants}
        for number in program.inputs:
            self._flows[number] = (
                Flow(parameters=(paths[number],))
                if number in paths
                else Flow(origin=frozenset((INPUT,)))
            )
        wanted = {program.outputs[position] for position in results}
        for op in reversed(list(program.flat())):
            if wanted.intersection(op.outputs):
                wanted.update(op.inputs)
        self._wanted = wanted
        self._visit(program.ops)
        for position in results:
            self._resolve(self._flows[program.outputs[position]])

    def _visit(self, ops: tuple[Op, ...]) -> None:
        for op in ops:
            if op.body is not None and not self._activation(op, op.params.get("name", "")):
                self._visit(op.body)
            elif op.body is None:
                flow = self._step(op) if self._wanted.intersection(op.outputs) else Flow()
                self._flows.update(dict.fromkeys(op.outputs, flow))

    def _step(self, op: Op) -> Flow:
        flows = [self._flows[number] for number in op.inputs]
        fed = [flow for flow in flows if flow.origin]
        given = [flow for flow in flows if flow.parameters and not flow.origin]
        origin = frozenset[str]().union(*(flow.origin for flow in fed))
        parameters = tuple(dict.fromkeys(path for flow in given for path in flow.parameters))
        root = op.name in ("sqrt", "rsqrt") or any(flow.root for flow in flows)
        work = products.inside(op.name, op.params)
        if not fed:
            self._aside(op, parameters, work)
            return Flow(parameters=parameters, root=root)
        if work.multiply_adds:
            return self._add(op, op.name, fed, parameters, **work._asdict())
        if op.name == "conv_general_dilated":
            return self._convolution(op, flows)
        if op.name == "dot_general":
            return self._product(op, flows)
        if op.name in POOLS and (op.name.startswith("reduce_window") or not fed[0].pool):
            return self._reduction(op, fed[0])
        if op.name == "concatenate" and len(fed) > 1:
            return self._add(op, "concatenate", fed, ())
        if op.name == "gather" and given and not flows[0].origin:
            flow = self._add(op, "embedding", fed, parameters)
            (name,) = flow.origin
            dimensions = op.params["dimension_numbers"]
            gone = (*dimensions.collapsed_slice_dims, *dimensions.operand_batching_dims)
            for axis in range(len(self._program.shapes[op.inputs[0]])):
                if axis not in gone:
                    self.producers.append(Producer(name, op.inputs[0], axis))
            return flow
        if op.name in ELEMENTWISE:
            if given:
                return self._affine(op, fed, origin, parameters, root)
            if len(fed) == 1:
                return self._unary(op, fed[0], root)
            return self._merge(op, fed, origin, root)
        if len(fed) == 1 or op.name in REDUCTIONS:
            return fed[0]
        if len({flow.origin for flow in fed}) == 1:
            return Flow(origin)
        return self._add(op, op.name, fed, parameters)

    def _affine(
        self,
        op: Op,
        fed: list[Flow],
        origin: frozenset[str],
        parameters: tuple[str, ...],
        root: bool,
    ) -> Flow:
        """A sum or product with parameters: a bias, part of a normalisation, or a layer."""
        if len(origin) == 1 and not any(flow.pool for flow in fed):
            (name,) = origin
            layer = self.layers.get(name)
            modules = {self.module(path) for path in (layer.parameters if layer else ())}
            if layer and self.module(parameters[0]) in modules:
                kind = "norm" if root and layer.kind == "affine" else layer.kind
                joined = tuple(dict.fromkeys((*layer.parameters, *parameters)))
                self._change(name, kind=kind, parameters=joined)
                self._put_out(name, op)
                return Flow(origin)
        flow = self._add(op, "norm" if root else "affine", fed, parameters)
        if root:  # the scale of a normalisation, whose size is that of what it scales
            (name,) = flow.origin
            shapes = [layer.output_shape for layer in self._feeding(name)]
            if shapes and math.prod(shapes[0]) > math.prod(self.layers[name].output_shape):
                self._change(name, input_shape=shapes[0], output_shape=shapes[0])
                del self.values[name]
        return flow

    def _unary(self, op: Op, fed: Flow, root: bool) -> Flow:
        """A function of one value, constants aside: an activation if it is known for one."""
        if op.name in ("sqrt", "rsqrt"):
            return Flow(fed.origin, root=True)
        if op.name == "max" and len(op.inputs) == 2:
            (other,) = (number for number in op.inputs if self._flows[number] is not fed)
            if fill(self._program.constants.get(other)) == 0:
                self._activation(op, "relu")
        elif op.name in BARE_ACTIVATIONS:
            self._activation(op, BARE_ACTIVATIONS[op.name])
        return self._flows.get(op.outputs[0], fed._replace(root=root))

    def _merge(self, op: Op, fed: list[Flow], origin: frozenset[str], root: bool) -> Flow:
        """Several values in one: part of a normalisation or of an activation, or a layer."""
        if len({flow.origin for flow in fed}) == 1:
            return Flow(origin, root=root)
        for name in origin:
            layer = self.layers.get(name)
            part = layer is not None and layer.kind in ("norm", "activation")
            if layer and part and origin - {name} <= set(layer.inputs) and op.name in ABSORBED:
                self._put_out(name, op)
                return Flow(frozenset((name,)))
        return self._add(op, SUMS.get(op.name, op.name), fed, ())

    def _activation(self, op: Op, function: str) -> bool:
        """Records an activation if its operand is what a layer, or the input, gave."""
        flows = [self._flows[number] for number in op.inputs]
        fed = [flow for flow in flows if flow.origin]
        if function not in ACTIVATIONS or len(fed) != 1 or not self._wanted & {*op.outputs}:
            return False
        if op.body is not None and not _is_function(op, flows):
            return False
        sources = [self.layers[name] for name in fed[0].origin if name in self.layers]
        shape = self._program.shapes[op.outputs[0]]
        size = math.prod(shape)
        if fed[0].pool or any(math.prod(source.output_shape) != size for source in sources):
            return False
        if any(source.kind == "activation" for source in sources) and op.body is None:
            return False
        self._flows[op.outputs[0]] = self._add(op, "activation", fed, (), function=function)
        return True

    def _convolution(self, op: Op, flows: list[Flow]) -> Flow:
        numbers, params = op.params["dimension_numbers"], op.params
        left, kernel = (self._program.shapes[number] for number in op.inputs)
        result = self._program.shapes[op.outputs[0]]
        transposed = any(step != 1 for step in params["lhs_dilation"])
        flow = self._add(
            op,
            "conv_transpose" if transposed else "conv",
            [flow for flow in flows if flow.origin],
            flows[1].parameters,
            kernel_shape=kernel,
            strides=tuple(params["lhs_dilation" if transposed else "window_strides"]),
            padding=tuple((int(low), int(high)) for low, high in params["padding"]),
            dilation=tuple(params["rhs_dilation"]),
            groups=params["feature_group_count"],
            multiply_adds=products.convolution(params, left, kernel, result),
        )
        (name,) = flow.origin
        self.producers.append(Producer(name, op.inputs[1], numbers.rhs_spec[0]))
        return flow

    def _product(self, op: Op, flows: list[Flow]) -> Flow:
        sums, batches = op.params["dimension_numbers"]
        shapes = [self._program.shapes[number] for number in op.inputs]
        result = self._program.shapes[op.outputs[0]]
        dense = [side for side, flow in enumerate(flows) if not flow.origin and flow.parameters]
        flow = self._add(
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
                    self.producers.append(Producer(name, op.inputs[side], axis))
        return flow

    def _aside(self, op: Op, parameters: tuple[str, ...], work: products.Work) -> None:
        """Records a product in which the input takes no part, and which is computed all the same.

        It feeds no layer: what reads it takes it for parameters.
        """
        shapes = [self._program.shapes[number] for number in (*op.inputs, *op.outputs)]
        if op.name == "conv_general_dilated":
            work = products.Work(products.convolution(op.params, *shapes), "")
        elif op.name == "dot_general":
            work = products.Work(products.product(op.params, shapes[0], shapes[-1]), "")
        if work.multiply_adds:
            self._counts["parameters"] += 1
            name = f"parameters_{self._counts['parameters']}"
            self.layers[name] = Layer(
                name,
                "parameters",
                parameters=parameters,
                input_shape=shapes[0],
                output_shape=self._program.shapes[op.outputs[0]],
                **work._asdict(),
            )

    def _reduction(self, op: Op, fed: Flow) -> Flow:
        """A pool; a sum or maximum over whole axes is one only if no normalisation uses it."""
        if not op.name.startswith("reduce_window"):
            return Flow(fed.origin, pool=op)
        shape = self._program.shapes[op.inputs[0]]
        moves = [axis for axis, size in enumerate(op.params["window_dimensions"]) if size > 1]
        return self._add(
            op,
            POOLS[op.name],
            [fed],
            (),
            input_shape=shape,
            window=tuple(op.params["window_dimensions"]),
            strides=tuple(op.params["window_strides"][axis] for axis in moves),
            padding=tuple(tuple(op.params["padding"][axis]) for axis in moves),
        )

    def _resolve(self, flow: Flow) -> frozenset[str]:
        """The layers a value comes from, after its pool has become one of them."""
        if flow.pool is None:
            return flow.origin
        after = flow.pool.outputs[0]
        if after not in self._pools:
            kind, shape = POOLS[flow.pool.name], self._program.shapes[flow.pool.inputs[0]]
            axes = flow.pool.params["axes"]
            name = self._name(kind, ())
            self.layers[name] = Layer(
                name,
                kind,
                inputs=tuple(sorted(flow.origin)),
                input_shape=shape,
                output_shape=self._program.shapes[after],
                window=tuple(size if axis in axes else 1 for axis, size in enumerate(shape)),
            )
            self._pools[after] = name
        return frozenset((self._pools[after],))

    def _add(
        self, op: Op, kind: str, fed: list[Flow], parameters: tuple[str, ...], **details: Any
    ) -> Flow:
        inputs = tuple(dict.fromkeys(name for flow in fed for name in sorted(self._resolve(flow))))
        name = self._name(details.get("function", kind), parameters)
        details.setdefault("input_shape", self._program.shapes[op.inputs[0]])
        self.layers[name] = Layer(
            name,
            kind,
            parameters=parameters,
            inputs=inputs,
            output_shape=self._program.shapes[op.outputs[0]],
            **details,
        )
        self.made[op.outputs[0]] = name
        if kind != "avg_pool":
            self._put_out(name, op)
        return Flow(frozenset((name,)))

    def _put_out(self, name: str, op: Op) -> None:
        """Takes what an operation gives for a layer's output, if it has its shape."""
        if self._program.shapes[op.outputs[0]] == self.layers[name].output_shape:
            self.values[name] = op.outputs[0]

    def _change(self, name: str, **changes: Any) -> None:
        self.layers[name] = Layer(**{**vars(self.layers[name]), **changes})

    def _feeding(self, name: str) -> list[Layer]:
        return [self.layers[other] for other in self.layers[name].inputs if other in self.layers]

    def module(self, path: str) -> str:
        """The path of the module that a parameter belongs to, "" if it stands at the top."""
        parts = path.split("/")
        if parts[0] in self._collections:
            parts = parts[1:]
        return "/".join(parts[:-1])

    def _name(self, kind: str, parameters: tuple[str, ...]) -> str:
        wanted = kind
        if parameters:
            wanted = self.module(parameters[0]) or parameters[0].split("/")[-1]
        self._counts[wanted] += 1
        count = self._counts[wanted]
        if parameters:
            return wanted if count == 1 else f"{wanted}#{count}"
        return f"{wanted}_{count}"


def _is_function(call: Op, flows: list[Flow]) -> bool:
    """Whether a call that is named like an activation can be one: no kernel, no variable in it."""
    known = all(not flow.parameters for flow in flows)
    inside = all(op.name in INSIDE for op in flatten(call.body or ()))
    return known and inside and len(call.outputs) == 1
