"""A network and its masks as a graph."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from prunejax import names
from prunejax.masks import name
from prunejax.network import Network, traced
from prunejax.network.program import Program
from prunejax.topology.edges import BYTES, Weights, build, count
from prunejax.topology.graph import Graph, apart
from prunejax.topology.rolled import rolled
from prunejax.topology.steps import Step, Unrolled
from prunejax.topology.unrolling import unroll

ENCODINGS = ("multipartite", "bipartite", "rolled", "rolled_channel")


def encode(
    network: Network,
    masks: PyTree,
    params: PyTree | None = None,
    *,
    encoding: str = "multipartite",
    compat: bool = False,
    identity_skips: bool = True,
    most_bytes: int | None = None,
) -> Graph:
    """Encodes a masked network as a graph.

    An edge is a weight that is still there, at every place where it is used: a position of a
    channel, before, is joined to a position of a channel, behind. Biases, normalisations and
    activations make none; a pool makes no nodes, what reads it reads all of its window. The input's
    padding, as far as its first convolution adds some, are nodes too (Cunegatti et al. 2024,
    Section 3).

    Args:
      network: what ``network.trace`` gives; one example of its batch is encoded.
      masks: which weights are still there, a tree parallel to ``params``; a ``None`` leaf
        is whole.
      params: gives the edges their weights, |w|; without them all are 1.
      encoding: "multipartite", the whole network; "bipartite", each layer of it on its own;
        "rolled", a node per row and per column of each layer's kernel, whatever the image's size;
        "rolled_channel", a node per channel, and the norm of each slice for a weight.
      compat: as the code published with the paper does it: no identity shortcuts, and strided
        convolutions that pad only one side read shifted positions.
      identity_skips: whether a shortcut without a kernel makes edges, of weight 1.
      most_bytes: raises an error, before anything is built, if the edges need more memory; by
        default what the system says is free.

    Returns:
      The graph.

    Raises:
      ValueError: masks or parameters are those of another network or not finite, a kernel is empty
        or reads what no rule is known for, the network has no kernel, or the graph is too large.
    """
    names.choose("encoding", encoding, ENCODINGS)
    weights, numbers = _weights(network, masks, params)
    skips = identity_skips and not compat
    unrolled = unrolled_of(network, numbers, identity_skips=skips, compat=compat)
    if encoding.startswith("rolled"):
        kernels = [step for step in unrolled.steps if isinstance(step, Step)]
        return rolled(kernels, weights, channels=encoding == "rolled_channel", compat=compat)
    counts = count(unrolled, weights)
    needed = BYTES * sum(edges for edges, _ in counts)
    most = _free_memory() if most_bytes is None else most_bytes
    if needed > most:
        raise ValueError(
            f"the graph would have {needed // BYTES:,} edges, which need {needed / 2**30:.1f} GiB; "
            f"there are {most / 2**30:.1f}"
        )
    graph = build(unrolled, weights, counts, encoding=encoding, compat=compat)
    return graph if encoding == "multipartite" else apart(graph)


def _free_memory() -> float:
    """Bytes that the system could give, where it says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return math.inf


def unrolled_of(
    network: Network, numbers: Mapping[str, np.ndarray], *, identity_skips: bool, compat: bool
) -> Unrolled:
    """A network for one example, as layers of nodes and steps between them.

    Args:
      network: the network.
      numbers: the numbers of the parameters, by path.
      identity_skips: as in ``encode``.
      compat: as in ``encode``.

    Returns:
      The layers and steps.
    """
    seen = of_one_example(network)
    paths = seen.paths
    parameters = {
        number: numbers.get(path, np.zeros(seen.program.shapes[number], np.int32))
        for number, path in paths.items()
    }
    unrolled = unroll(
        seen.program,
        parameters,
        seen.flows().made,
        identity_skips=identity_skips,
        compat=compat,
    )
    if not unrolled.steps:
        raise ValueError("the network has no kernel, so that its graph has no edge")
    return unrolled


def of_one_example(network: Network) -> traced.Traced:
    """A network's program for a batch of one example, if its first axis is one of examples."""
    seen = network.traced
    x = seen.example
    sizes = {leaf.shape[0] if leaf.shape else 1 for leaf in jax.tree.leaves(x)}
    vectors = all(len(leaf.shape) < 2 for leaf in jax.tree.leaves(x))
    if vectors or len(sizes) != 1 or (size := sizes.pop()) == 1:
        return seen
    outputs = [seen.program.shapes[seen.program.outputs[place]] for place in seen.results]
    if not all(shape and shape[0] == size for shape in outputs):
        return seen
    if _examples(seen.program) - {size}:
        return seen
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), x)
    try:
        again = traced.make(network.apply_fn, network.variables, one)
    except ValueError as error:
        raise ValueError(
            f"the function cannot be traced with one example instead of {size}; trace it with one "
            f"yourself: {error}"
        ) from error
    shapes = [again.program.shapes[again.program.outputs[place]] for place in again.results]
    return again if all(shape and shape[0] == 1 for shape in shapes) else seen


def _examples(program: Program) -> set[int]:
    """The numbers of examples that convolutions work on."""
    return {
        program.shapes[op.inputs[0]][op.params["dimension_numbers"].lhs_spec[0]]
        for op in program.flat()
        if op.name == "conv_general_dilated"
    }


def _weights(
    network: Network, masks: PyTree, params: PyTree | None
) -> tuple[Weights, dict[str, np.ndarray]]:
    """All parameters one after the other, and the numbers that each leaf's have."""
    given = _by_path(network, masks, "masks")
    values = None if params is None else _by_path(network, params, "params")
    numbers = numbers_of(network)
    total = sum(each.size for each in numbers.values())
    kept, size = np.ones(total + 1, bool), np.ones(total + 1, np.float32)
    for path, own in numbers.items():
        part = slice(own.min(), own.max() + 1) if own.size else slice(0, 0)
        if path in given:
            kept[part] = np.asarray(given[path], bool).ravel()
        if values is not None and path in values:
            size[part] = np.abs(np.asarray(values[path], np.float32)).ravel()
            if not np.isfinite(size[part][kept[part]]).all():
                raise ValueError(f"the weights of {path!r} are not all finite")
    return Weights(kept, size), numbers


def numbers_of(network: Network) -> dict[str, np.ndarray]:
    """A number for each trainable parameter, from 1 on; 0 stands for all that is not one.

    Args:
      network: the network.

    Returns:
      The numbers by the leaf's path, in the shapes of the leaves.
    """
    numbers, at = {}, 1
    for path, leaf in network.leaves.items():
        if path in network.trainable:
            size = math.prod(leaf.shape)
            numbers[path] = np.arange(at, at + size, dtype=np.int32).reshape(leaf.shape)
            at += size
    return numbers


def _by_path(network: Network, tree: PyTree, what: str) -> dict[str, Any]:
    """The leaves of masks or parameters by the paths that the network's variables have."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: leaf is None)
    found = {}
    for path, leaf in leaves:
        named = name(path)
        full = named if named in network.leaves else f"params/{named}"
        if leaf is None:
            continue
        if full not in network.leaves:
            raise ValueError(f"{what} of another network: it has no parameter {named!r}")
        if np.shape(leaf) != tuple(network.leaves[full].shape):
            raise ValueError(
                f"{what} of another network: {named!r} is {list(np.shape(leaf))}, not "
                f"{list(network.leaves[full].shape)}"
            )
        found[full] = leaf
    if not found:
        raise ValueError(f"{what} has no array")
    return found
