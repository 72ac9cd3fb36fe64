"""A traced function: its program, and the meaning of its inputs and outputs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network.coupling import Coupling, label
from prunejax.network.finding import find_layers
from prunejax.network.flow import Flows
from prunejax.network.program import Program, inline
from prunejax.network.statistics import running


class Traced(NamedTuple):
    """A program, and the meaning of its inputs and outputs."""

    program: Program
    paths: dict[int, str]  # of the inputs that are variables
    trainable: frozenset[str]
    collections: frozenset[str]
    ties: tuple[tuple[int, int], ...]  # positions (output, input) of state that comes back updated
    results: tuple[int, ...]  # positions of the outputs that are not updated state
    structure: Any  # of the outputs
    example: Any  # the input it was traced with, as `jax.ShapeDtypeStruct`s

    def coupling(self) -> Coupling:
        """Labels its channels."""
        masked = [
            self.paths[number] in self.trainable if number in self.paths else None
            for number in self.program.inputs
        ]
        return label(self.program, masked, self.ties)

    def flows(self, program: Program | None = None) -> Flows:
        """Finds the layers of the program, or of one that differs from it in its shapes only."""
        return find_layers(program or self.program, self.paths, self.collections, self.results)


def make(apply_fn: Callable[..., Any], variables: PyTree, x: PyTree) -> Traced:
    """Traces a function; ``variables`` and ``x`` as ``jax.ShapeDtypeStruct``s.

    Args:
      apply_fn: the function.
      variables: its first argument.
      x: its second.

    Returns:
      The program.

    Raises:
      ValueError: the function cannot be traced.
    """
    try:
        closed, outputs = jax.make_jaxpr(apply_fn, return_shape=True)(variables, x)
    except Exception as error:
        raise ValueError(
            f"the function cannot be traced with these variables and this input: {error}"
        ) from error
    program = inline(closed)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    paths = [name(path) for path, _ in leaves]
    known = dict(zip(program.inputs, paths, strict=False))
    groups = collections(variables)
    returned = [
        (name(path), leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(outputs)
    ]
    inputs = {path: position for position, path in enumerate(paths)}
    shapes = [leaf.shape for _, leaf in leaves]
    updates = _updates(returned, inputs, shapes)
    updates.update(_aligned(program, returned, paths, shapes))
    if groups:
        still = frozenset(path for path in paths if not path.startswith("params/"))
    else:
        still = running(program, known)
        if isinstance(outputs, (tuple, list)):
            still |= _unread(program, known, returned, updates)
        else:
            updates = {}
    ties = {at: place for at, place in updates.items() if paths[place] in still}
    trainable = frozenset(
        path
        for path, (_, leaf) in zip(paths, leaves, strict=True)
        if path not in still and jnp.issubdtype(leaf.dtype, jnp.inexact)
    )
    return Traced(
        program,
        known,
        trainable,
        groups,
        tuple(ties.items()),
        tuple(position for position in range(len(returned)) if position not in ties),
        jax.tree.structure(outputs),
        x,
    )


def _updates(
    returned: list[tuple[str, Any]], inputs: dict[str, int], shapes: list[Any]
) -> dict[int, int]:
    """Outputs whose path ends with that of a variable of the same shape, and the variable."""
    updates = {}
    for position, (path, shape) in enumerate(returned):
        parts = path.split("/")
        endings = ["/".join(parts[start:]) for start in range(len(parts))]
        # positions in tuples, "0" or "1/2", name no state
        named = [ending for ending in endings if not ending.replace("/", "").isdigit()]
        state = next((inputs[ending] for ending in named if ending in inputs), None)
        if state is not None and shape == shapes[state]:
            updates[position] = state
    return updates


def _aligned(
    program: Program, returned: list[tuple[str, Any]], paths: list[str], shapes: list[Any]
) -> dict[int, int]:
    """Outputs in a list that updates a list of variables one by one, as Keras returns them.

    The lists are of one length and of the same shapes, and each output is computed from its own
    variable, or is that variable.
    """
    variables, outputs = _lists(paths), _lists([path for path, _ in returned])
    updates = {}
    for positions in outputs.values():
        for places in variables.values():
            if [returned[at][1] for at in positions] == [shapes[place] for place in places]:
                pairs = [*zip(positions, places, strict=True)]
                if all(
                    program.inputs[place] in _before(program, program.outputs[at])
                    for at, place in pairs
                ):
                    updates.update(pairs)
    return updates


def _lists(paths: list[str]) -> dict[str, list[int]]:
    """The lists among paths such as "1/0", "1/1": their positions by the list's own path."""
    found: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        head, _, last = path.rpartition("/")
        if head and last.isdigit():
            found.setdefault(head, []).append(position)
    return found


def _before(program: Program, output: int) -> set[int]:
    """The values that one is computed from, and itself."""
    wanted = {output}
    for op in reversed(list(program.flat())):
        if wanted.intersection(op.outputs):
            wanted.update(op.inputs)
    return wanted


def _unread(
    program: Program,
    paths: dict[int, str],
    returned: list[tuple[str, Any]],
    updates: dict[int, int],
) -> frozenset[str]:
    """Variables that only their own update reads: running statistics in training.

    An output counts as an update only where there are several outputs and all of them are updates:
    a single output that happens to be called like a parameter does not count.
    """
    items: dict[str, list[int]] = {}
    for position, (path, _) in enumerate(returned):
        items.setdefault(path.split("/")[0], []).append(position)
    whole = [at for item in items.values() if set(item) <= set(updates) for at in item]
    wanted = {number for at, number in enumerate(program.outputs) if at not in whole}
    for op in reversed(list(program.flat())):
        if wanted.intersection(op.outputs):
            wanted.update(op.inputs)
    return frozenset(
        paths[program.inputs[updates[at]]]
        for at in whole
        if program.inputs[updates[at]] not in wanted
    )


def collections(variables: PyTree) -> frozenset[str]:
    """The names of Flax linen's collections, if the variables are divided into some."""
    if isinstance(variables, Mapping) and "params" in variables:
        return frozenset(map(str, variables))
    return frozenset()


def describe(tree: PyTree) -> PyTree:
    """The tree with ``jax.ShapeDtypeStruct``s for leaves.

    Args:
      tree: arrays, or such descriptions already.

    Returns:
      The descriptions.

    Raises:
      ValueError: a leaf is no array; its path is named.
    """
    return jax.tree_util.tree_map_with_path(_described, tree)


def _described(path: jax.tree_util.KeyPath, leaf: Any) -> jax.ShapeDtypeStruct:
    if not isinstance(leaf, (jax.ShapeDtypeStruct, jax.Array, np.ndarray, np.generic)):
        raise ValueError(f"the leaf {name(path)!r} must be an array, got {type(leaf).__name__}")
    # a NumPy array has the type that JAX will give it
    typed = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
    return jax.ShapeDtypeStruct(typed.shape, typed.dtype)
