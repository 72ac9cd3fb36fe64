"""Graphs of random edges, and metrics of them as plainly as can be said."""

import itertools

import networkx as nx
import numpy as np

from prunejax.topology import EdgeBlock, Graph, NodeLayer


def graph_of(edges, layers, compat=False):
    """A graph of (source, target, weight), its layers as (size, role)."""
    offsets = np.cumsum([0, *(size for size, _ in layers)])
    made = tuple(
        NodeLayer(f"layer{place}", int(offset), (size,), role)
        for place, ((size, role), offset) in enumerate(zip(layers, offsets, strict=False))
    )
    columns = list(zip(*edges, strict=True)) or [(), (), ()]
    return Graph(
        made,
        (EdgeBlock("all", 0, len(edges), max(len(edges), 1)),),
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int32),
        np.array(columns[2], np.float32),
        compat=compat,
    )


def layered(seed, sizes=(6, 7, 5, 4), density=0.35, skips=0.0, compat=False):
    """A random graph of layers; with skips, edges over one layer too, which make triangles."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *sizes])
    edges = []
    for first, second in itertools.combinations(range(len(sizes)), 2):
        chance = {1: density, 2: skips}.get(second - first, 0.0)
        for source in range(offsets[first], offsets[first + 1]):
            for target in range(offsets[second], offsets[second + 1]):
                if rng.random() < chance:
                    edges.append((source, target, rng.uniform(0.1, 2)))
    roles = ["input", *["hidden"] * (len(sizes) - 2), "output"]
    return graph_of(edges, list(zip(sizes, roles, strict=True)), compat)


def plain(graph):
    """All metrics of a graph by networkx, sets and NumPy; not normalised."""
    way = nx.MultiDiGraph()
    way.add_nodes_from(range(graph.nodes))
    ends = list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    way.add_edges_from(ends)
    both = nx.Graph()
    both.add_nodes_from(range(graph.nodes))
    both.add_edges_from((u, v) for u, v in ends if u != v)
    begun, ended = graph.of_role("input"), graph.of_role("output")
    sources = [n for n in way if way.in_degree(n) == 0 < way.out_degree(n) and not begun[n]]
    sinks = [n for n in way if way.out_degree(n) == 0 < way.in_degree(n) and not ended[n]]
    total = max(len(ends), 1)
    removed = sum(way.out_degree(n) for n in sources) / total
    dangling = sum(way.in_degree(n) for n in sinks) / total
    own = int(graph.compat)
    one = [{v for _, v in way.out_edges(n)} - {n} for n in way]
    two = [one[n].union(*(one[m] for m in one[n])) - {n} for n in way]
    matrix = np.zeros((graph.nodes, graph.nodes))
    for (u, v), weight in zip(ends, graph.weights.tolist(), strict=True):
        if u != v:
            matrix[u, v] += weight
            matrix[v, u] += weight
    values = np.sort(np.abs(np.linalg.eigvalsh(matrix)))[::-1]
    others = values[values < values[0] * (1 - 1e-9)]
    gap = values[0] - (values[2] if graph.compat else others[0]) if len(others) else 0.0
    laplacian = np.diag(matrix.sum(axis=0)) - matrix
    parts = nx.number_connected_components(both)
    motifs = sum(nx.is_connected(both.subgraph(four)) for four in itertools.combinations(both, 4))
    return {
        "sink": len(sinks),
        "source": len(sources),
        "disconnected": sum(way.degree(n) == 0 for n in way),
        "r_out": dangling if graph.compat else removed,
        "r_in": removed if graph.compat else dangling,
        "n1": len(ends) / graph.nodes + own,
        "n2": np.mean([len(each) for each in two]) + own,
        "motif4": motifs,
        "k_core": np.mean(list(nx.core_number(both).values())),
        "strength": 2 * graph.weights.sum(dtype=np.float64) / graph.nodes,
        "components": parts,
        "mean_component": graph.nodes / parts,
        "cut_edges": len(list(nx.bridges(both))),
        "cut_nodes": len(list(nx.articulation_points(both))),
        "spectral_gap": gap,
        "spectral_radius": np.linalg.eigvalsh(laplacian)[-1],
    }
