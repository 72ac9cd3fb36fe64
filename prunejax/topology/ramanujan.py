"""How close each layer on its own is to a Ramanujan graph, and how dense it is."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from prunejax.network import Network
from prunejax.topology.encoding import encode
from prunejax.topology.graph import Graph

LEAST = 3
"""The bounds ask for nodes with three edges at least."""


class Ramanujan(NamedTuple):
    """What one layer's rolled graph says.

    Attributes:
      difference_of_bound: ``2 sqrt(d - 1) - mu``, d the mean degree and mu the largest absolute
        eigenvalue but the trivial pair (Pal et al. 2022); NaN where one side's mean degree is below
        3.
      imdb: its mean over the subgraphs of all left nodes of one degree, 3 or more (Hoang et al.
        2023b); NaN if there is none.
      imsg: the mean weighted spectral gap of those subgraphs (Hoang et al. 2023a).
      density: the share of weights that are there.
    """

    difference_of_bound: float
    imdb: float
    imsg: float
    density: float


def ramanujan(
    network: Network, masks: PyTree, params: PyTree | None = None, *, compat: bool = False
) -> dict[str, Ramanujan]:
    """The Ramanujan metrics of each layer, on its rolled graph.

    Args:
      network: what ``network.trace`` gives.
      masks: as ``encode`` takes them.
      params: gives the weights of ``imsg``; without them all are 1.
      compat: the difference of bound is ``(b - mu) / b`` with ``b = sqrt(l - 1) + sqrt(r - 1)``, l
        and r the mean degrees of the two sides, as in the published data.

    Returns:
      The metrics by the layer's name. Source: Cunegatti et al. 2024, Section 4.1.

    Raises:
      ValueError: as ``encode``.
    """
    graph = encode(network, masks, params, encoding="rolled")
    return {part.blocks[0].name: _of_layer(part, compat) for part in graph.by_layer()}


def _of_layer(part: Graph, compat: bool) -> Ramanujan:
    left, right = (layer.size for layer in part.layers)
    weights = np.zeros((left, right))
    weights[part.sources, part.targets - left] = part.weights
    there = np.zeros((left, right))
    there[part.sources, part.targets - left] = 1
    density = part.edges / part.blocks[0].possible
    degrees = there.sum(axis=1)
    bounds, gaps = [], []
    for degree in np.unique(degrees[degrees >= LEAST]):
        rows = degrees == degree
        bounds.append(2 * math.sqrt(degree - 1) - _singular(there[rows])[1])
        largest, second = _singular(weights[rows])
        gaps.append(largest - second)
    imdb, imsg = (float(np.mean(each)) if each else math.nan for each in (bounds, gaps))
    return Ramanujan(_difference(there, compat), imdb, imsg, density)


def _difference(there: np.ndarray, compat: bool) -> float:
    left, right = there.shape
    edges = there.sum()
    if min(edges / left, edges / right) < LEAST:
        return math.nan
    second = _singular(there)[1]
    if compat:
        bound = math.sqrt(edges / left - 1) + math.sqrt(edges / right - 1)
        return float((bound - second) / bound)
    return float(2 * math.sqrt(2 * edges / (left + right) - 1) - second)


def _singular(matrix: np.ndarray) -> tuple[float, float]:
    """The two largest singular values: with their negatives, a bipartite graph's eigenvalues."""
    smaller = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(smaller), 0))
    return float(values[-1]), float(values[-2]) if len(values) > 1 else 0.0
