"""Slow and obvious versions, in NumPy, SciPy and networkx, written from the papers."""

import itertools

import networkx as nx
import numpy as np
import scipy.fft
import scipy.stats


def hash_bits(one_map):
    """The bits of one map, in double precision."""
    height, width = one_map.shape
    block = scipy.fft.dctn(np.asarray(one_map, np.float64), type=2, norm=None)
    block = block[: min(8, height), : min(8, width)]
    return (block >= block.mean()).ravel()


def hashes(maps):
    """[images, bits, channels], one map at a time."""
    each = [[hash_bits(image[:, :, c]) for c in range(maps.shape[3])] for image in np.asarray(maps)]
    return np.array(each).transpose(0, 2, 1)


def similarity(bits):
    """Eq. 1 for each pair: the agreeing bits of all images, over all bits."""
    images, length, channels = bits.shape
    matrix = np.empty((channels, channels), np.float32)
    for i, j in itertools.product(range(channels), repeat=2):
        agree = sum(int(np.sum(bits[t, :, i] == bits[t, :, j])) for t in range(images))
        matrix[i, j] = np.float32(agree) / np.float32(images * length)
    return matrix


def entropy(values, bins, lowest=None, highest=None):
    """Eq. 3 for the values of one filter."""
    values = np.asarray(values, np.float32).ravel()
    lowest = values.min() if lowest is None else lowest
    highest = values.max() if highest is None else highest
    if lowest == highest:
        return 0.0
    positions = np.floor((values - lowest) * (np.float32(bins) / (highest - lowest)))
    counts = np.bincount(np.minimum(positions.astype(int), bins - 1), minlength=bins)
    return scipy.stats.entropy(counts / counts.sum())


def redundancy_graph(matrix, tau, inclusive=False):
    """Algorithm 1."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(matrix)))
    for i in range(len(matrix) - 1):
        for j in range(i + 1, len(matrix)):
            if matrix[i, j] > tau or (inclusive and matrix[i, j] == tau):
                graph.add_edge(i, j)
    return graph


def highest_degree(graph):
    return max(degree for _, degree in graph.degree)


def algorithm_2(graph, worth):
    """Algorithm 2, line by line; returns the vertices retained."""
    graph = graph.copy()
    k = highest_degree(graph)
    while k > 0:
        core = nx.k_core(graph, k)
        if not core:
            k = k - 1
            continue
        for subgraph in list(nx.connected_components(core)):
            best, most = None, -np.inf
            for vertex in sorted(subgraph):
                if worth[vertex] > most:
                    best, most = vertex, worth[vertex]
            graph.remove_edges_from(list(core.subgraph(subgraph).edges))
            graph.remove_nodes_from(subgraph - {best})
        k = highest_degree(graph)
    return set(graph)
