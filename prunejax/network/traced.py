"""What a traced function is: its program, and what its inputs and outputs are."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network.coupling import Coupling
from prunejax.network.flow import Flows
from prunejax.network.program import Program, inline
from prunejax.network.splitting import label


class Traced(NamedTuple):
    """A program, and what its inputs and outputs are."""

    program: Program
    paths: dict[int, str]  # of the inputs that are variables
    trainable: frozenset[str]
    collections: frozenset[str]
    ties: tuple[tuple[int, int], ...]  # positions (output, input) of state that comes back updated
    results: tuple[int, ...]  # positions of the outputs that are not updated state
    structure: Any  # of the outputs

    def coupling(self) -> Coupling:
        """Labels its channels."""
        masked = [
            self.paths[number] in self.trainable if number in self.paths else None
            for number in self.program.inputs
        ]
        return label(self.program, masked, self.ties)

    def flows(self, program: Program | None = None) -> Flows:
        """Finds the layers of the program, or of one that differs from it in its shapes only."""
        return Flows(program or self.program, self.paths, self.collections, list(self.results))


def make(apply_fn: Callable[..., Any], variables: PyTree, x: PyTree) -> Traced:
    """Traces a function; `variables` and `x` as `jax.ShapeDtypeStruct`s.

    Args:
        apply_fn: the function.
        variables: its first argument.
        x: its second.

    Returns:
        The program.

    Raises:
        ValueError: if the function cannot be traced.
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
    first = "params/" if "params" in collections(variables) else ""
    trainable = frozenset(
        path
        for path, (_, leaf) in zip(paths, leaves, strict=True)
        if path.startswith(first) and jnp.issubdtype(leaf.dtype, jnp.floating)
    )
    inputs = {path: position for position, path in enumerate(paths)}
    ties, results = [], []
    for position, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(outputs)):
        parts = name(path).split("/")
        endings = ["/".join(parts[start:]) for start in range(len(parts))]
        # positions in tuples, "0" or "1/2", name no state
        named = [ending for ending in endings if not ending.replace("/", "").isdigit()]
        state = next((inputs[ending] for ending in named if ending in inputs), None)
        if state is not None and leaf.shape == leaves[state][1].shape:
            ties.append((position, state))
        else:
            results.append(position)
    return Traced(
        program,
        dict(zip(program.inputs, paths, strict=False)),
        trainable,
        collections(variables),
        tuple(ties),
        tuple(results),
        jax.tree.structure(outputs),
    )


def collections(variables: PyTree) -> frozenset[str]:
    """The names of Flax linen's collections, if the variables are divided into some."""
    if isinstance(variables, Mapping) and "params" in variables:
        return frozenset(map(str, variables))
    return frozenset()


def describe(tree: PyTree) -> PyTree:
    """The tree with `jax.ShapeDtypeStruct`s for leaves.

    Args:
        tree: arrays, or such descriptions already.

    Returns:
        The descriptions.

    Raises:
        ValueError: if a leaf is no array; its path is named.
    """
    return jax.tree_util.tree_map_with_path(_described, tree)


def _described(path: jax.tree_util.KeyPath, leaf: Any) -> jax.ShapeDtypeStruct:
    if not isinstance(leaf, (jax.ShapeDtypeStruct, jax.Array, np.ndarray, np.generic)):
        raise ValueError(f"the leaf {name(path)!r} must be an array, got {type(leaf).__name__}")
    # a NumPy array has the type that JAX will give it
    typed = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
    return jax.ShapeDtypeStruct(typed.shape, typed.dtype)
