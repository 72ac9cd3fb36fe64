"""The outputs of a network's layers on some input."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from prunejax import names
from prunejax.masks import name
from prunejax.network import traced
from prunejax.network.program import Program, bind
from prunejax.network.structure import Structure


def record(
    network: Structure, variables: PyTree, x: PyTree, layers: Sequence[str]
) -> dict[str, Float[Array, "..."]]:
    """Evaluates a network as far as some layers need; see ``Network.record``.

    Args:
      network: the network.
      variables: its variables.
      x: an input.
      layers: the names of the layers.

    Returns:
      What they put out, by name.

    Raises:
      ValueError: as ``Network.record`` says.
    """
    for layer in layers:
        names.choose("layer", layer, network.layers)
    check_variables(network, variables)
    again = traced.make(network.apply_fn, traced.describe(variables), traced.describe(x))
    values = again.flows().values
    for layer in layers:
        if layer in network.flows.looped:
            raise ValueError(
                f"{layer!r} stands in a loop or a branch: what it puts out at each step is not at "
                "hand outside of it"
            )
        if layer not in values:
            raise ValueError(
                f"what {layer!r} puts out cannot be told from its equations: it is a "
                f"{network.layers[layer].kind}"
            )
    inputs = [*jax.tree.leaves(variables), *jax.tree.leaves(x)]
    outputs = evaluate(again.program, inputs, [values[layer] for layer in layers])
    return dict(zip(layers, outputs, strict=True))


def evaluate(
    program: Program,
    inputs: Sequence[Any],
    wanted: Sequence[int],
    given: Mapping[int, Any] | None = None,
) -> list[Any]:
    """Evaluates what some values of a program need; a value is freed after its last use.

    Args:
      program: the program.
      inputs: an array for each of its inputs.
      wanted: the numbers of the values.
      given: arrays to take in the place of some values.

    Returns:
      The values.
    """
    given = given or {}
    needed, ops = set(wanted) - set(given), []
    for op in reversed(list(program.flat())):
        if needed.intersection(op.outputs):
            reads = {*op.inputs} - set(given)
            last = [number for number in reads if number not in needed]
            needed.update(reads)
            ops.append((op, last))
    known = {**program.constants, **dict(zip(program.inputs, inputs, strict=True)), **given}
    for op, last in reversed(ops):
        values = [known[number] for number in op.inputs]
        known.update(zip(op.outputs, bind(op, op.params, values), strict=True))
        for number in last:
            del known[number]
    return [known[number] for number in wanted]


def check_variables(network: Structure, variables: PyTree) -> None:
    """Refuses variables that are not those of the network.

    Args:
      network: the network.
      variables: what was given as its variables.

    Raises:
      ValueError: paths or shapes differ; the message names some.
    """
    given = {
        name(path): np.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    shapes = {path: tuple(leaf.shape) for path, leaf in network.leaves.items()}
    if given != shapes:
        differing = sorted(
            path for path in {*given, *shapes} if given.get(path) != shapes.get(path)
        )
        shown = ", ".join(
            f"{path} (given {given.get(path, 'not at all')}, traced {shapes.get(path, 'without')})"
            for path in differing[:3]
        )
        raise ValueError(f"these are not the variables of the network: {shown}")
