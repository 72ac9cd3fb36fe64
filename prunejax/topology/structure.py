"""Metrics of the undirected graph's structure (Cunegatti et al. 2024, Table 2)."""

import os

import numpy as np

from prunejax.topology.views import Views


def n2(views: Views) -> float:
    """The mean number of nodes within two hops along edges; compat: the node itself too."""
    from prunejax.topology import kernels

    found = kernels.within_two(*views.successors, os.cpu_count() or 1)
    return float(found.mean()) + float(views.graph.compat) if len(found) else 0.0


def k_core(views: Views) -> float:
    """The mean over nodes of the largest k of a k-core that they are in."""
    from prunejax.topology import kernels

    found = kernels.coreness(views.pattern.indptr, views.pattern.indices)
    return float(found.mean()) if len(found) else 0.0


def components(views: Views) -> float:
    """How many connected components there are; a node without edges is one."""
    return float(views.components)


def mean_component(views: Views) -> float:
    """The mean number of nodes of a connected component; if normalised, 1 / components."""
    return views.graph.nodes / max(views.components, 1)


def cut_edges(views: Views) -> float:
    """How many edges there are without which there is one component more."""
    return float(views.cuts[0])


def cut_nodes(views: Views) -> float:
    """How many nodes there are without which there are more components."""
    return float(views.cuts[1].sum())


def motif4(views: Views) -> float:
    """How many connected induced subgraphs of four nodes there are, exactly.

    With S stars of three edges, P paths of three edges, C cycles of four, W triangles with a fourth
    node at one of their nodes, D pairs of triangles on an edge, K complete graphs, each counted
    wherever its edges are, induced or not: S + P - 3 C - 2 W + 4 D - 6 K. Without triangles that is
    sum of C(d, 3), plus the sum over edges of (d_u - 1)(d_v - 1), minus 3 C.
    """
    from prunejax.topology import kernels

    indptr, indices = views.pattern.indptr, views.pattern.indices
    degree = np.diff(indptr).astype(np.int64)
    stars = int((degree * (degree - 1) * (degree - 2) // 6).sum())
    begins = np.repeat(degree - 1, np.diff(indptr))
    paths = int((begins * (degree[indices] - 1)).sum()) // 2
    rank = np.empty(len(degree), np.int32)
    rank[np.argsort(degree, kind="stable")] = np.arange(len(degree))
    squares = kernels.squares(indptr, indices, rank)
    three, tailed, pairs, four = kernels.triangles(indptr, indices)
    return float(stars + paths - 3 * three - 3 * squares - 2 * tailed + 4 * pairs - 6 * four)
