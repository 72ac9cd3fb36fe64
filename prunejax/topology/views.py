"""What several metrics need of a graph, each computed once."""

import functools

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

from prunejax.topology.graph import Graph


class Views:
    """A graph from several sides; each is made when it is first asked for.

    Args:
      graph: the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @functools.cached_property
    def out_degree(self) -> np.ndarray:
        """How many edges each node begins, [nodes]."""
        return np.bincount(self.graph.sources, minlength=self.graph.nodes)

    @functools.cached_property
    def in_degree(self) -> np.ndarray:
        """How many edges end in each node, [nodes]."""
        return np.bincount(self.graph.targets, minlength=self.graph.nodes)

    @functools.cached_property
    def sources(self) -> np.ndarray:
        """Nodes that are no input, with an edge out and none in; bool, [nodes]."""
        return (self.in_degree == 0) & (self.out_degree > 0) & ~self.graph.of_role("input")

    @functools.cached_property
    def sinks(self) -> np.ndarray:
        """Nodes that are no output, with an edge in and none out; bool, [nodes]."""
        return (self.out_degree == 0) & (self.in_degree > 0) & ~self.graph.of_role("output")

    @functools.cached_property
    def successors(self) -> tuple[np.ndarray, np.ndarray]:
        """Where edges lead: (begin of each node's part, targets)."""
        begins = np.concatenate(([0], np.cumsum(self.out_degree)))
        order = np.argsort(self.graph.sources, kind="stable")
        return begins, self.graph.targets[order]

    @functools.cached_property
    def adjacency(self) -> scipy.sparse.csr_array:
        """The undirected graph: |w| both ways, parallel edges added, loops dropped."""
        return self._both_ways(np.abs(self.graph.weights))

    @functools.cached_property
    def pattern(self) -> scipy.sparse.csr_array:
        """The undirected graph, with an entry also where a weight is 0; values say nothing."""
        if (self.graph.weights != 0).all():
            return self.adjacency
        return self._both_ways(np.ones(self.graph.edges, np.float32))

    @functools.cached_property
    def components(self) -> int:
        """How many connected components there are."""
        if not self.graph.nodes:
            return 0
        return int(csgraph.connected_components(self.pattern, directed=False)[0])

    @functools.cached_property
    def cuts(self) -> tuple[int, np.ndarray]:
        """(how many bridges there are, which nodes are articulation points)."""
        from prunejax.topology import kernels

        return kernels.cuts(self.pattern.indptr, self.pattern.indices)

    def _both_ways(self, weights: np.ndarray) -> scipy.sparse.csr_array:
        """Edges both ways, parallel ones added, loops dropped."""
        ends, nodes = (self.graph.sources, self.graph.targets), self.graph.nodes
        if not (apart := ends[0] != ends[1]).all():
            ends, weights = (ends[0][apart], ends[1][apart]), weights[apart]
        one_way = scipy.sparse.csr_array((weights, ends), shape=(nodes, nodes))
        return one_way + one_way.T.tocsr()
