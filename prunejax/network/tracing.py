"""From a forward function to a `Network`."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network.coupling import Coupling
from prunejax.network.flow import Flows
from prunejax.network.groups import find_groups
from prunejax.network.network import Network
from prunejax.network.program import Program, inline


class Analysis(NamedTuple):
    """A program and its labels."""

    program: Program
    coupling: Coupling
    paths: dict[int, str]  # of the inputs that are variables
    trainable: frozenset[str]
    results: list[int]  # positions of the outputs that are not updated state
    structure: Any  # of the outputs


def trace(apply_fn: Callable[..., Any], variables: PyTree, x: PyTree) -> Network:
    """Traces a forward function and finds its layers and its coupled channel groups.

    A channel can be removed if nothing else needs it to be there: not the network's input or
    output, no position of an image, no maximum or product over channels. A sum over channels needs
    those removed to be exactly 0 once their parameters are masked. A primitive without a rule
    keeps all it touches, and a warning names it.

    Args:
        apply_fn: `(variables, x) -> outputs`, any function that JAX can trace. Outputs whose path
            ends with that of a variable (updated `batch_stats`) are state and may shrink with it.
        variables: any pytree of arrays or of `jax.ShapeDtypeStruct`s: Flax linen's
            `{"params": ..., "batch_stats": ...}`, `nnx.to_pure_dict(state)`, the arrays of an
            Equinox module, a bare dict.
        x: an input, any pytree of arrays or of `jax.ShapeDtypeStruct`s. Batches of other sizes can
            be put through the result.

    Returns:
        The network.

    Raises:
        ValueError: if the variables hold no array, or if the function cannot be traced.
    """
    described = jax.tree_util.tree_map_with_path(_describe, variables)
    leaves = {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(described)}
    if not leaves:
        raise ValueError("there are no variables to trace the function with")
    found = analyse(apply_fn, described, jax.tree_util.tree_map_with_path(_describe, x))
    if found.coupling.unknown:
        warnings.warn(
            f"no rule for {', '.join(found.coupling.unknown)}: the channels that "
            "go in or come out stay whole",
            stacklevel=2,
        )
    flows = Flows(found.program, found.paths, collections(variables), found.results)
    axes = {path: found.coupling.axes(number) for number, path in found.paths.items()}
    return Network(
        layers=flows.layers,
        groups=find_groups(axes, found.coupling, flows.producers),
        unknown=tuple(found.coupling.unknown),
        apply_fn=apply_fn,
        variables=described,
        leaves=leaves,
        trainable=found.trainable,
        collections=collections(variables),
    )


def analyse(apply_fn: Callable[..., Any], variables: PyTree, x: PyTree) -> Analysis:
    """Traces a function and labels its values; `variables` and `x` as `jax.ShapeDtypeStruct`s.

    Args:
        apply_fn: the function.
        variables: its first argument.
        x: its second.

    Returns:
        The program, its labels, and what its inputs and outputs are.

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
    masked = [path in trainable for path in paths]
    masked += [None] * (len(program.inputs) - len(masked))
    return Analysis(
        program,
        Coupling(program, masked, ties),
        dict(zip(program.inputs, paths, strict=False)),
        trainable,
        results,
        jax.tree.structure(outputs),
    )


def collections(variables: PyTree) -> frozenset[str]:
    """The names of Flax linen's collections, if the variables are divided into some."""
    if isinstance(variables, Mapping) and "params" in variables:
        return frozenset(map(str, variables))
    return frozenset()


def _describe(path: jax.tree_util.KeyPath, leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        raise ValueError(f"the leaf {name(path)!r} must be an array, got {type(leaf).__name__}")
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
