"""Which kernels of a traced network multiply activations, and where in its program they do."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PyTree

from prunejax import names
from prunejax.layerwise import layouts
from prunejax.network import Structure, traced
from prunejax.network.program import Op, Program, bind

MOVES = frozenset(
    (
        *("reshape", "transpose", "squeeze", "broadcast_in_dim", "slice", "split", "unstack"),
        *("rev", "copy", "copy_p", "convert_element_type", "optimization_barrier"),
    )
)
"""Operations after which a kernel's entries are the same, in other places."""

AS_IT_IS = frozenset(("convert_element_type", "optimization_barrier", "copy", "copy_p"))
"""Those after which the places are the same too: the places themselves are no floats."""


class Use(NamedTuple):
    """A product of a kernel with activations.

    Attributes:
      op: the operation.
      side: which of its operands the kernel is.
      position: its place among the program's operations.
    """

    op: Op
    side: int
    position: int


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """The weights of a dense layer or a convolution: a leaf, or a part of one.

    Attributes:
      name: the leaf's path, or "path#2", ... for its further parts.
      leaf: the leaf's path among the parameters.
      places: for each weight its place in the leaf, [groups, inputs, outputs].
      in_order: whether the places are 0, 1, 2, ..., as of Flax's dense layers and convolutions.
      neighbours: how many inputs in a row N of M may choose among.
      uses: the products that read it, several where layers share it.
    """

    name: str
    leaf: str
    places: Int[np.ndarray, "groups inputs outputs"]
    in_order: bool
    neighbours: int
    uses: tuple[Use, ...]


class Reading(NamedTuple):
    """A program, and its kernels.

    Attributes:
      program: the program, for one shape of the input.
      paths: of its inputs that are variables.
      kernels: by name, in the order of their first use.
      left_out: for each other parameter of two or more axes the reason, by path.
      dynamic: the numbers of the values that depend on the network's input.
    """

    program: Program
    paths: Mapping[int, str]
    kernels: dict[str, Kernel]
    left_out: dict[str, str]
    dynamic: frozenset[int]


class Kernels(NamedTuple):
    """What the criteria of this room cover.

    Attributes:
      covered: for each kernel its groups, inputs and outputs, in the order of the network.
      left_out: for each other parameter of two or more axes the reason.
    """

    covered: dict[str, tuple[int, int, int]]
    left_out: dict[str, str]

    def __str__(self) -> str:
        width = max(map(len, (*self.covered, *self.left_out)), default=0)
        lines = [
            f"{name:<{width}}  {groups} x {inputs} inputs x {outputs} outputs"
            for name, (groups, inputs, outputs) in self.covered.items()
        ]
        lines += [f"{name:<{width}}  left out: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)


def kernels(network: Structure) -> Kernels:
    """Which kernels of a network layer-wise criteria cover, and why they leave out the others.

    A kernel is covered if all that the network does with it is to multiply activations by it, in
    ``dot_general``s (dense layers, einsum, projections of attention with several axes) or
    convolutions. It may be cut, transposed and converted before. It is not covered inside a loop
    (``scan``, ``while``), where it is scaled or masked first, looked up as an embedding, or
    multiplied in two ways, as tied weights are.

    Args:
      network: the traced network.

    Returns:
      The kernels by their paths among the parameters. A leaf that is cut into several kernels has
      the names "path", "path#2", ...

    >>> from prunejax.network import trace
    >>> params = {"table": jnp.ones((9, 4)), "kernel": jnp.ones((4, 8))}
    >>> network = trace(lambda p, x: p["table"][x] @ p["kernel"], params, jnp.zeros(3, jnp.int32))
    >>> kernels(network)
    Kernels(covered={'kernel': (1, 4, 8)}, left_out={'table': 'it is read by gather'})
    """
    reading = read(network, network.variables, network.traced.example)
    return Kernels(
        {name: kernel.places.shape for name, kernel in reading.kernels.items()},
        reading.left_out,
    )


def read(network: Structure, variables: PyTree, x: PyTree) -> Reading:
    """Reads a network for inputs of some shape; what was read last is kept.

    Args:
      network: the network.
      variables: its variables, or their shapes.
      x: an input, or its shape.

    Returns:
      The program and its kernels.

    Raises:
      ValueError: the function cannot be traced with that input.
    """
    given, structure = jax.tree.flatten((traced.describe(variables), traced.describe(x)))
    return _read(network, structure, tuple((leaf.shape, leaf.dtype) for leaf in given))


@functools.lru_cache(maxsize=8)
def _read(network: Structure, structure: Any, described: tuple[Any, ...]) -> Reading:
    variables, x = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*one) for one in described])
    seen = traced.make(network.apply_fn, variables, x)
    with jax.ensure_compile_time_eval():  # places are numbers also while a caller is traced
        return _Search(network, seen.program, seen.paths).reading()


class _Search:
    """One pass over a program that follows the entries of its parameters."""

    def __init__(self, network: Structure, program: Program, paths: dict[int, str]) -> None:
        self.network, self.program, self.paths = network, program, paths
        self.ops = list(program.flat())
        self.wanted = set(program.outputs)
        for op in reversed(self.ops):
            if self.wanted.intersection(op.outputs):
                self.wanted.update(op.inputs)
        self.dynamic = {number for number in program.inputs if number not in paths}
        self.where: dict[int, tuple[str, Any]] = {}  # of values that hold entries of one leaf
        self.uses: dict[str, list[tuple[Use, np.ndarray]]] = {}
        self.others: dict[str, list[str]] = {}

    def reading(self) -> Reading:
        for number, path in self.paths.items():
            if path in self.network.trainable:
                shape = self.program.shapes[number]
                places = jnp.arange(math.prod(shape), dtype=jnp.int32)
                self.where[number] = path, places.reshape(shape)
        for position, op in enumerate(self.ops):
            if self.wanted.intersection(op.outputs):
                self._visit(position, op)
        found, left_out = {}, {}
        for path in self.network.leaves:
            if path not in self.network.trainable:
                continue
            short, reason = short_name(self.network, path), self._reason(path)
            if not reason:
                found.update(self._parts(path, short))
            elif len(self.network.leaves[path].shape) > 1:
                left_out[short] = reason
        ordered = sorted(found.values(), key=lambda kernel: kernel.uses[0].position)
        return Reading(
            self.program,
            self.paths,
            {kernel.name: kernel for kernel in ordered},
            left_out,
            frozenset(self.dynamic),
        )

    def _visit(self, position: int, op: Op) -> None:
        if self.dynamic.intersection(op.inputs):
            self.dynamic.update(op.outputs)
        for side, number in enumerate(op.inputs):
            if number not in self.where:
                continue
            path, places = self.where[number]
            floating = jnp.issubdtype(self.program.dtypes[op.outputs[0]], jnp.floating)
            if op.name in MOVES and len(op.inputs) == 1 and floating:
                moved = [places] if op.name in AS_IT_IS else bind(op, op.params, [places])
                for out, to in zip(op.outputs, moved, strict=True):
                    self.where[out] = path, to
            elif layouts.multiplies(op, side) and op.inputs[1 - side] in self.dynamic:
                matrix = np.asarray(layouts.matrices(op, side, places))
                self.uses.setdefault(path, []).append((Use(op, side, position), matrix))
            else:
                self.others.setdefault(path, []).append(op.name)

    def _reason(self, path: str) -> str:
        """Why a leaf is left out; "" if it is not."""
        if path in self.others:
            return f"it is read by {names.listed(dict.fromkeys(self.others[path]))}"
        if path not in self.uses:
            return "nothing that the network returns depends on it"
        if not jnp.issubdtype(self.network.leaves[path].dtype, jnp.floating):
            return f"it is {self.network.leaves[path].dtype}"
        distinct = {matrix.tobytes(): matrix for _, matrix in self.uses[path]}
        read = np.concatenate([matrix.ravel() for matrix in distinct.values()])
        if len(np.unique(read)) < len(read):
            return "products read it in more than one way"
        if len(read) < math.prod(self.network.leaves[path].shape):
            return "only a part of it is multiplied"
        return ""

    def _parts(self, path: str, short: str) -> dict[str, Kernel]:
        """The kernels of a leaf: one for all uses of the same entries."""
        parts: dict[bytes, list[tuple[Use, np.ndarray]]] = {}
        for use, matrix in self.uses[path]:
            parts.setdefault(matrix.tobytes(), []).append((use, matrix))
        made = {}
        for count, part in enumerate(parts.values(), start=1):
            (first, matrix), name = part[0], short if count == 1 else f"{short}#{count}"
            shape = self.program.shapes[first.op.inputs[first.side]]
            size = math.prod(self.network.leaves[path].shape)
            made[name] = Kernel(
                name,
                short,
                matrix,
                matrix.size == size and bool((matrix.ravel() == np.arange(size)).all()),
                layouts.neighbours(first.op, first.side, shape),
                tuple(use for use, _ in part),
            )
        return made


def short_name(network: Structure, path: str) -> str:
    """A leaf's path among the parameters, given that among the variables."""
    return path.removeprefix("params/") if "params" in network.collections else path
