"""A masked network as a graph: layers of nodes, and an edge per weight that is still there."""

import dataclasses
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import scipy.sparse
from jaxtyping import Float32, Int32

from prunejax.files import read_arrays, write_atomically

ROLES = ("input", "hidden", "output")


class NodeLayer(NamedTuple):
    """Nodes of one layer.

    A node's number is ``offset`` plus its place in ``shape``, channels first, in C order.

    Attributes:
      name: of the layer that makes them; "input" for what the network is given.
      offset: the number of the first of them.
      shape: (channels, positions along each axis of the image).
      role: "input", "hidden" or "output".
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    role: str = "hidden"

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return math.prod(self.shape)


class EdgeBlock(NamedTuple):
    """The edges of one layer's kernel, or of one identity shortcut.

    Attributes:
      name: of the layer.
      start: the place of its first edge in ``Graph.sources``.
      stop: the place behind its last edge.
      possible: how many edges there would be if no weight were masked.
      begins: the places in ``Graph.layers`` of the nodes that it reads.
      ends: the place of those that it leads to.
    """

    name: str
    start: int
    stop: int
    possible: int
    begins: tuple[int, ...] = ()
    ends: int = 0


class Node(NamedTuple):
    """What a node's number stands for."""

    layer: str
    channel: int
    position: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """A directed graph whose edges lead from what a weight reads to what it contributes to.

    Attributes:
      layers: the nodes, by layer, in the order of their numbers.
      blocks: the edges, by layer, in the order of ``sources``.
      sources: where each edge begins.
      targets: where each edge ends.
      weights: of each edge; 1 where no parameters were given.
      encoding: "multipartite", "bipartite", "rolled" or "rolled_channel".
      compat: whether edges and metrics are those of the code published by Cunegatti et al. 2024,
        where that differs from the paper.
    """

    layers: tuple[NodeLayer, ...]
    blocks: tuple[EdgeBlock, ...]
    sources: Int32[np.ndarray, "edges"]
    targets: Int32[np.ndarray, "edges"]
    weights: Float32[np.ndarray, "edges"]
    encoding: str = "multipartite"
    compat: bool = False

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return sum(layer.size for layer in self.layers)

    @property
    def edges(self) -> int:
        """How many edges there are."""
        return len(self.sources)

    def of_role(self, role: str) -> np.ndarray:
        """Which nodes are of a role, as a bool array over all nodes.

        Args:
          role: "input", "hidden" or "output".
        """
        return of_role(self.layers, role)

    def node(self, number: int) -> Node:
        """The layer, the channel and the position of a node.

        Raises:
          ValueError: there is no such node.
        """
        for layer in self.layers:
            if layer.offset <= number < layer.offset + layer.size:
                channel, *position = np.unravel_index(number - layer.offset, layer.shape)
                return Node(layer.name, int(channel), tuple(int(each) for each in position))
        raise ValueError(f"there is no node {number}: the graph has {self.nodes}")

    def by_layer(self) -> Iterator["Graph"]:
        """One bipartite graph per layer: to the left what it reads, to the right what it makes."""
        offsets = np.array([layer.offset for layer in self.layers])
        for block in self.blocks:
            part = slice(block.start, block.stop)
            sides = [[self.layers[place] for place in block.begins], [self.layers[block.ends]]]
            layers, shift, total = [], np.zeros(len(self.layers), np.int64), 0
            for role, side in zip(("input", "output"), sides, strict=True):
                for layer in side:
                    layers.append(layer._replace(offset=total, role=role))
                    shift[self.layers.index(layer)] = total - layer.offset
                    total += layer.size
            ends = [
                (each + shift[np.searchsorted(offsets, each, side="right") - 1]).astype(np.int32)
                for each in (self.sources[part], self.targets[part])
            ]
            yield dataclasses.replace(
                self,
                layers=tuple(layers),
                blocks=(
                    EdgeBlock(
                        block.name,
                        0,
                        block.stop - block.start,
                        block.possible,
                        tuple(range(len(block.begins))),
                        len(block.begins),
                    ),
                ),
                sources=ends[0],
                targets=ends[1],
                weights=self.weights[part],
            )

    def to_scipy(self) -> scipy.sparse.csr_array:
        """The weighted adjacency matrix, a row per source; a weight of 0 keeps its entry."""
        ends = (self.sources, self.targets)
        return scipy.sparse.csr_array((self.weights, ends), shape=(self.nodes, self.nodes))

    def to_networkx(self) -> nx.DiGraph:
        """A ``DiGraph`` whose nodes carry their layer, channel and position, its edges weights."""
        graph = nx.DiGraph()
        for number in range(self.nodes):
            graph.add_node(number, **self.node(number)._asdict())
        ends = zip(self.sources.tolist(), self.targets.tolist(), self.weights.tolist(), strict=True)
        graph.add_weighted_edges_from(ends)
        return graph

    def to_graphml(self, path: str | Path) -> Path:
        """Writes a GraphML file, which Gephi, Cytoscape and igraph read.

        Args:
          path: the file to write.

        Returns:
          The file.
        """
        graph = self.to_networkx()
        for _, node in graph.nodes(data=True):
            node["position"] = " ".join(map(str, node["position"]))
        buffer = io.BytesIO()
        nx.write_graphml(graph, buffer)
        return write_atomically(path, buffer.getvalue())

    def save(self, path: str | Path) -> Path:
        """Writes the graph as ``.npz``; ``load`` reads it.

        Args:
          path: the file to write.

        Returns:
          The file.
        """
        described = {
            "layers": self.layers,
            "blocks": self.blocks,
            "encoding": self.encoding,
            "compat": self.compat,
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            sources=self.sources,
            targets=self.targets,
            weights=self.weights,
            description=np.frombuffer(json.dumps(described).encode(), np.uint8),
        )
        return write_atomically(path, buffer.getvalue())

    def __str__(self) -> str:
        rows = [("layer", "nodes", "edges", "density")]
        edges = {block.name: block for block in self.blocks}
        for layer in self.layers:
            block = edges.pop(layer.name, None)
            edge_count, density = ("", "") if block is None else _counts(block)
            rows.append((layer.name, "x".join(map(str, layer.shape)), edge_count, density))
        rows += [(name, "", *_counts(block)) for name, block in edges.items()]
        rows.append(("total", f"{self.nodes:,}", f"{self.edges:,}", ""))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}  "
            + "  ".join(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self) -> str:
        return f"Graph({self.encoding}, {self.nodes:,} nodes, {self.edges:,} edges)"


def of_role(layers: Sequence[NodeLayer], role: str) -> np.ndarray:
    """Which of the nodes of some layers, one after the other, are of a role; bool, [nodes]."""
    return np.repeat([layer.role == role for layer in layers], [layer.size for layer in layers])


def apart(graph: Graph) -> Graph:
    """The same edges, with nodes of its own for what each layer reads and for what it makes.

    Args:
      graph: of a whole network.

    Returns:
      The bipartite graphs of its layers, side by side.
    """
    layers, blocks, ends, nodes, edges = [], [], [], 0, 0
    for part in graph.by_layer():
        (block,) = part.blocks
        for layer in part.layers:
            name = f"{block.name} (reads {layer.name})" if layer.role == "input" else layer.name
            layers.append(layer._replace(name=name, offset=layer.offset + nodes))
        ends.append((part.sources + nodes, part.targets + nodes))
        before = len(layers) - len(part.layers)
        begins = tuple(place + before for place in block.begins)
        blocks.append(
            EdgeBlock(
                block.name, edges, edges + part.edges, block.possible, begins, block.ends + before
            )
        )
        nodes, edges = nodes + part.nodes, edges + part.edges
    return dataclasses.replace(
        graph,
        layers=tuple(layers),
        blocks=tuple(blocks),
        sources=np.concatenate([each for each, _ in ends]).astype(np.int32),
        targets=np.concatenate([each for _, each in ends]).astype(np.int32),
        encoding="bipartite",
    )


def load(path: str | Path) -> Graph:
    """Reads a graph that ``Graph.save`` wrote.

    Args:
      path: the file.

    Returns:
      The graph.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no such file, or it is damaged.
    """
    arrays = read_arrays(path)
    try:
        described: dict[str, Any] = json.loads(arrays["description"].tobytes())
        graph = Graph(
            tuple(
                NodeLayer(name, offset, tuple(shape), role)
                for name, offset, shape, role in described["layers"]
            ),
            tuple(
                EdgeBlock(name, start, stop, possible, tuple(begins), ends)
                for name, start, stop, possible, begins, ends in described["blocks"]
            ),
            arrays["sources"].astype(np.int32, casting="equiv"),
            arrays["targets"].astype(np.int32, casting="equiv"),
            arrays["weights"].astype(np.float32, casting="equiv"),
            described["encoding"],
            described["compat"],
        )
        ends = (graph.sources, graph.targets)
        sound = all(each.ndim == 1 and len(each) == len(graph.weights) for each in ends)
        inside = all(each.size == 0 or 0 <= each.min() <= each.max() < graph.nodes for each in ends)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no saved graph: {error}") from error
    if not (sound and inside):
        raise ValueError(f"{path} is no saved graph: its edges do not fit its nodes")
    return graph


def _counts(block: EdgeBlock) -> tuple[str, str]:
    edges = block.stop - block.start
    density = edges / block.possible if block.possible else 0.0
    return f"{edges:,}", f"{density:.4f}"
