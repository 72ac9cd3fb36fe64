"""Literal scores on paths of length three, pair by pair on a networkx graph."""

import math

import networkx as nx
import numpy as np


def l3_scores(mask: np.ndarray, rule: str) -> np.ndarray:
    """The score of every non-link; NaN for links.

    As the papers say it: the local community of (u, v) is all neurons on paths u - z1 - z2 - v; a
    neuron's internal degree counts its neighbours inside it, its external degree those that are
    neither inside nor u or v.
    """
    inputs, outputs = mask.shape
    graph = nx.Graph()
    graph.add_nodes_from([("in", i) for i in range(inputs)])
    graph.add_nodes_from([("out", j) for j in range(outputs)])
    graph.add_edges_from((("in", int(i)), ("out", int(j))) for i, j in np.argwhere(mask))
    scores = np.full(mask.shape, np.nan)
    for i in range(inputs):
        for j in range(outputs):
            if not mask[i, j]:
                scores[i, j] = _score(graph, ("in", i), ("out", j), rule)
    return scores


def _score(graph: nx.Graph, u, v, rule: str) -> float:
    paths = [
        (z1, z2)
        for z1 in graph.neighbors(u)
        for z2 in graph.neighbors(z1)
        if z1 != v and z2 != u and graph.has_edge(z2, v)
    ]
    community = {neuron for path in paths for neuron in path}

    def internal(neuron) -> int:
        return sum(other in community for other in graph.neighbors(neuron))

    def external(neuron) -> int:
        return sum(other not in community | {u, v} for other in graph.neighbors(neuron))

    def product(of) -> float:
        return sum(math.sqrt(of(z1) * of(z2)) for z1, z2 in paths)

    if rule == "path_count":
        return float(len(paths))
    if rule == "ra_l3":
        return product(lambda z: 1 / graph.degree(z))
    if rule == "ch1_l3":
        return product(lambda z: internal(z) / graph.degree(z))
    if rule == "ch2_l3":
        return product(lambda z: (1 + internal(z)) / (1 + external(z)))
    if rule == "ch3_l3":
        return product(lambda z: 1 / (1 + external(z)))
    raise ValueError(rule)
