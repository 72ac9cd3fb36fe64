"""Degrees of all nodes and what follows from them, from masks alone: no edge is built."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from prunejax.masks import name
from prunejax.network import Network
from prunejax.topology.edges import numbered
from prunejax.topology.encoding import numbers_of, unrolled_of
from prunejax.topology.graph import NodeLayer, of_role
from prunejax.topology.hops import Hops, hops, within_two
from prunejax.topology.relations import NOTHING
from prunejax.topology.steps import Shortcut, Step, Unrolled


class Local(NamedTuple):
    """What degrees say of a masked network's graph; of nodes in the order of ``Graph``.

    Attributes:
      edges: how many there are.
      in_degree: [nodes].
      out_degree: [nodes].
      strength: the sum of |w| over the edges of each node, both ways, [nodes].
      sources: hidden or output nodes without an edge in, but with one out, [nodes].
      sinks: input or hidden nodes without an edge out, but with one in, [nodes].
      disconnected: nodes without an edge, [nodes].
      r_out: the share of edges that sources begin.
      r_in: the share of edges that end in sinks.
      n1: the mean number of nodes within one hop along edges, the node itself not counted.
      n2: that within two hops; None unless it was asked for.
    """

    edges: Int[Array, ""]
    in_degree: Int[Array, " nodes"]
    out_degree: Int[Array, " nodes"]
    strength: Float[Array, " nodes"]
    sources: Bool[Array, " nodes"]
    sinks: Bool[Array, " nodes"]
    disconnected: Bool[Array, " nodes"]
    r_out: Float[Array, ""]
    r_in: Float[Array, ""]
    n1: Float[Array, ""]
    n2: Float[Array, ""] | None = None


class _Kernel(NamedTuple):
    """What is counted of one kernel, whatever its mask."""

    path: str
    entries: np.ndarray  # of the flattened leaf, [channels, keys per channel]
    keys: np.ndarray  # [channels, keys per channel]
    classes: np.ndarray  # the class of each key, [keys]
    reads: np.ndarray  # how many nodes a key of each class reads, [classes, positions]
    targets: np.ndarray  # [channels, positions]
    readers: np.ndarray  # the nodes that are read, [sources]
    read_by: np.ndarray  # the keys that read them, as often as they do, [sources, most]


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """What ``local`` needs of a network and not of its masks; ``tables`` makes it once.

    Attributes:
      layers: the nodes, as in ``Graph``.
      kernels: what is counted of each kernel.
      fixed: degrees by identity shortcuts, (in, out), [nodes] each.
      leaves: the shapes of the parameters, by path.
      parts: what ``n2`` is counted from: the steps, the numbers of nodes, where leaves begin.
    """

    layers: tuple[NodeLayer, ...]
    kernels: tuple[_Kernel, ...]
    fixed: tuple[np.ndarray, np.ndarray]
    leaves: Mapping[str, Any]
    parts: tuple[Sequence[Step | Shortcut], np.ndarray, Sequence[tuple[str, int]]]

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return sum(layer.size for layer in self.layers)

    @functools.cached_property
    def compiled(self) -> Callable[..., Local]:
        """Counts degrees: ``(masks by path, parameters by path)``."""
        return jax.jit(functools.partial(_count, self))

    @functools.cached_property
    def hops(self) -> Hops:
        """What two hops are counted from; it takes some seconds for a deep network."""
        return hops(self.layers, *self.parts)


def tables(network: Network, *, identity_skips: bool = True) -> Tables:
    """Prepares a network for ``local``, as often as its masks change.

    Args:
      network: what ``network.trace`` gives.
      identity_skips: as in ``encode``.

    Returns:
      The tables.

    Raises:
      ValueError: as ``encode``; or two kernels, or two entries of one that overlapping windows
        share, join the same nodes, which only the edges can tell.
    """
    numbers = numbers_of(network)
    unrolled = unrolled_of(network, numbers, identity_skips=identity_skips, compat=False)
    _check(unrolled)
    layers, number = numbered(unrolled)
    total = sum(layer.size for layer in layers)
    fixed = (np.zeros(total, np.int32), np.zeros(total, np.int32))
    kernels, begins = [], []
    for step in unrolled.steps:
        if isinstance(step, Shortcut):
            there = step.sources != NOTHING
            np.add.at(fixed[0], number[step.targets], there.sum(axis=1))
            np.add.at(fixed[1], number[step.sources[there]], 1)
            begins.append(("", 0))
        else:
            kernels.append(_kernel(step, number, numbers))
            begins.append((kernels[-1].path, int(numbers[kernels[-1].path].min())))
    parts = (unrolled.steps, number, begins)
    return Tables(layers, tuple(kernels), fixed, network.leaves, parts)


def _check(unrolled: Unrolled) -> None:
    for places in unrolled.parallel:
        steps = ", ".join(repr(unrolled.steps[place].name) for place in places)
        raise ValueError(f"{steps} join the same nodes: encode the network and measure its graph")
    for step in unrolled.steps:
        if isinstance(step, Step) and step.shared:
            raise ValueError(
                f"entries of {step.name!r} join the same nodes, under windows that overlap: encode "
                "the network and measure its graph"
            )


def _kernel(step: Step, number: np.ndarray, numbers: Mapping[str, np.ndarray]) -> _Kernel:
    first = int(step.kernel.min())
    path = next(
        path for path, each in numbers.items() if each.size and each.min() <= first <= each.max()
    )
    there = step.reads != NOTHING
    per_key = there.sum(axis=2)
    reads, classes = np.unique(per_key, axis=0, return_inverse=True)
    key = np.broadcast_to(np.arange(len(there))[:, None, None], there.shape)[there]
    nodes = number[step.reads[there]]
    order = np.argsort(nodes, kind="stable")
    readers, begins, counts = np.unique(nodes[order], return_index=True, return_counts=True)
    read_by = np.full((len(readers), int(counts.max())), len(there), np.int32)
    column = np.arange(len(nodes)) - np.repeat(begins, counts)
    read_by[np.repeat(np.arange(len(readers)), counts), column] = key[order]
    return _Kernel(
        path,
        (step.kernel - int(numbers[path].min())).astype(np.int32),
        step.keys.astype(np.int32),
        classes.reshape(-1).astype(np.int32),
        reads.astype(np.float32),
        number[step.targets],
        readers,
        read_by,
    )


def local(
    network: Network | Tables,
    masks: PyTree,
    params: PyTree | None = None,
    *,
    two_hops: bool = False,
) -> Local:
    """Degrees, strength, sources and sinks of a masked network's graph, without its edges.

    The out-degree of a node is a sum over what reads it, of masks that are summed over output
    channels first; the in-degree of an output position a sum over kernel positions, as often as
    they lie on the image. It can be jitted: masks and parameters are traced. Equal to what
    ``encode`` and ``measure`` give, if not normalised.

    Args:
      network: what ``network.trace`` gives; or, for many masks, what ``tables`` made of it.
      masks: which weights are there, as ``encode`` takes them.
      params: gives the strength; without them every weight is 1.
      two_hops: counts ``n2`` too, on the host: in a quarter of a second for Conv-6, more at first.

    Returns:
      What the degrees say.

    Raises:
      ValueError: as ``tables``; masks or parameters are those of another network.
    """
    made = network if isinstance(network, Tables) else tables(network)
    kept = _leaves(made, masks, "masks")
    values = {} if params is None else _leaves(made, params, "params")
    found = made.compiled(kept, values)
    if not two_hops:
        return found

    def counted(kept: dict[str, Any]) -> np.ndarray:
        return np.array(within_two(made.hops, kept), np.float32)

    return found._replace(
        n2=jax.pure_callback(
            counted, jax.ShapeDtypeStruct((), jnp.float32), kept, vmap_method="sequential"
        )
    )


def _count(made: Tables, kept: dict[str, Array], values: dict[str, Array]) -> Local:
    total = made.nodes
    degrees = jnp.asarray(made.fixed[0]), jnp.asarray(made.fixed[1])
    strength = (degrees[0] + degrees[1]).astype(jnp.float32)
    for kernel in made.kernels:
        entries = jnp.ones(math.prod(made.leaves[kernel.path].shape), jnp.float32)
        if kernel.path in kept:
            entries = kept[kernel.path].ravel().astype(jnp.float32)
        into, out = _degrees(kernel, entries)
        # one layer of nodes each, so that these are slices of it in order
        degrees = (
            degrees[0].at[kernel.targets].add(into.astype(jnp.int32)),
            degrees[1].at[kernel.readers].add(out.astype(jnp.int32)),
        )
        if kernel.path in values:
            size = jnp.abs(values[kernel.path].ravel().astype(jnp.float32))
            into, out = _degrees(kernel, jnp.where(entries > 0, size, 0))
        strength = strength.at[kernel.targets].add(into).at[kernel.readers].add(out)
    edges = degrees[0].sum()
    begins, ends = (of_role(made.layers, role) for role in ("input", "output"))
    found = (degrees[0] == 0) & (degrees[1] > 0) & ~begins
    lost = (degrees[1] == 0) & (degrees[0] > 0) & ~ends
    share = 1 / jnp.maximum(edges, 1).astype(jnp.float32)
    return Local(
        edges,
        degrees[0],
        degrees[1],
        strength,
        found,
        lost,
        (degrees[0] == 0) & (degrees[1] == 0),
        jnp.where(found, degrees[1], 0).sum().astype(jnp.float32) * share,
        jnp.where(lost, degrees[0], 0).sum().astype(jnp.float32) * share,
        edges.astype(jnp.float32) / total,
    )


def _degrees(kernel: _Kernel, entries: Array) -> tuple[Array, Array]:
    """Sums of a kernel's entries over what leads to each target, and over what each node gives."""
    own = entries[kernel.entries]
    classes, channels = len(kernel.reads), len(kernel.targets)
    rows = np.arange(channels)[:, None] * classes + kernel.classes[kernel.keys]
    by_class = jax.ops.segment_sum(own.ravel(), rows.ravel(), channels * classes)
    # counts: a GPU's own choice for float32 keeps 11 bits, and whole numbers up to 2,048
    into = jnp.matmul(by_class.reshape(channels, classes), kernel.reads, precision="highest")
    keys = len(kernel.classes)
    by_key = jax.ops.segment_sum(own.ravel(), kernel.keys.ravel(), keys)
    out = jnp.append(by_key, 0.0)[kernel.read_by].sum(axis=1)
    return into, out


def _leaves(made: Tables, tree: PyTree, what: str) -> dict[str, Any]:
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        named = name(path)
        full = named if named in made.leaves else f"params/{named}"
        if full not in made.leaves or leaf.shape != made.leaves[full].shape:
            raise ValueError(f"{what} of another network: {named!r}")
        found[full] = leaf
    return found
