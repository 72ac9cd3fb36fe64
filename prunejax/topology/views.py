"""What several metrics need of a graph, each computed once."""

import functools

import numpy as np
import scipy.sparse

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
        ends, apart = (self.graph.sources, self.graph.targets), None
        weights, nodes = np.abs(self.graph.weights), self.graph.nodes
        if (loops := ends[0] == ends[1]).any():
            apart = ~loops
            ends, weights = (ends[0][apart], ends[1][apart]), weights[apart]
        one_way = scipy.sparse.csr_array((weights, ends), shape=(nodes, nodes))
        both = one_way + one_way.T.tocsr()
        both.sum_duplicates()
        return both

    @functools.cached_property
    def pattern(self) -> scipy.sparse.csr_array:
        """The undirected graph, with an entry also where a weight is 0; values say nothing."""
        if (self.graph.weights != 0).all():
            return self.adjacency
        ends = (self.graph.sources, self.graph.targets)
        apart = ends[0] != ends[1]
        ends = tuple(each if apart.all() else each[apart] for each in ends)
        nodes, ones = self.graph.nodes, np.ones(len(ends[0]), np.int8)
        one_way = scipy.sparse.csr_array((ones, ends), shape=(nodes, nodes))
        one_way.data[:] = 1  # of parallel edges one
        both = one_way + one_way.T.tocsr()
        both.data[:] = 1
        return both
