"""Eigenvalues of the weighted undirected graph (Cunegatti et al. 2024, Section 3.2)."""

import numpy as np
import scipy.sparse
from scipy.sparse import linalg

from prunejax.topology.views import Views

DENSE = 400
"""Up to so many nodes all eigenvalues are computed."""

SAME = 1e-7
"""Eigenvalues that differ by less, relative to the largest, are one."""


def spectral_gap(views: Views) -> float:
    """The largest absolute eigenvalue of the adjacency matrix, minus the next other one.

    A graph of two colours has each eigenvalue with both signs, which count as one. The gap is 0
    where the first 60 eigenvalues are one. compat: minus the third absolute eigenvalue, whether it
    is another one or not.
    """
    matrix = scipy.sparse.csr_array(views.adjacency, dtype=np.float64)
    for count in (6, 20, 60):
        values = _largest(matrix, count)
        if not len(values) or values[0] == 0:
            return 0.0
        if views.graph.compat:
            return float(values[0] - values[2]) if len(values) > 2 else float(values[0])
        others = values[values < values[0] * (1 - SAME)]
        if len(others):
            return float(values[0] - others[0])
    return 0.0


def spectral_radius(views: Views) -> float:
    """The largest eigenvalue of the Laplacian matrix, degrees (sums of |w|) minus adjacency."""
    matrix = scipy.sparse.csr_array(views.adjacency, dtype=np.float64)
    if not matrix.nnz:
        return 0.0
    degrees = np.asarray(matrix.sum(axis=1)).ravel()
    laplacian = scipy.sparse.diags_array(degrees) - matrix
    if len(degrees) <= DENSE:
        return float(np.linalg.eigvalsh(laplacian.toarray())[-1])
    begin = _begin(len(degrees))
    values = linalg.eigsh(laplacian.tocsr(), 1, which="LA", v0=begin, return_eigenvectors=False)
    return float(values[0])


def _largest(matrix: scipy.sparse.csr_array, count: int) -> np.ndarray:
    """The largest absolute eigenvalues, in falling order."""
    nodes = len(matrix.indptr) - 1
    if nodes <= max(DENSE, count + 1):
        values = np.linalg.eigvalsh(matrix.toarray())
    elif not matrix.nnz:
        return np.zeros(0)
    else:
        begin = _begin(nodes)
        values = linalg.eigsh(matrix, count, which="LM", v0=begin, return_eigenvectors=False)
    return np.sort(np.abs(values))[::-1]


def _begin(nodes: int) -> np.ndarray:
    """Where the search begins: the same each time, and orthogonal to nothing in particular."""
    return np.random.default_rng(0).uniform(0.5, 1.5, nodes)
