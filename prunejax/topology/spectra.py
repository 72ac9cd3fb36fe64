"""Eigenvalues of the weighted undirected graph (Cunegatti et al. 2024, Section 3.2)."""

import warnings

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph, linalg

from prunejax.topology.views import Views

DENSE = 400
"""Up to so many nodes of a component all eigenvalues are computed."""

SAME = 1e-7
"""Eigenvalues that differ by less, relative to the largest, are one."""

SOUGHT, ROUNDS = 6, 2000
"""How many eigenvalues of a larger component are sought, in so many rounds at most."""


def spectral_gap(views: Views) -> float:
    """The largest absolute eigenvalue of the adjacency matrix, minus the next other one.

    A graph of two colours has each eigenvalue with both signs, which count as one; so do equal ones
    of several components. 0 where there is no other. NaN, with a warning, where the search does not
    converge. compat: minus the third absolute eigenvalue, whether it is another one or not.
    """
    matrix = scipy.sparse.csr_array(views.adjacency, dtype=np.float64)
    # a component's largest eigenvalue is simple, up to its sign: no search meets many equal ones
    parts = [_largest(part) for part in _components(matrix)]
    values = np.sort(np.concatenate(parts))[::-1] if parts else np.zeros(0)
    if not len(values) or np.isnan(values).any():
        return 0.0 if not len(values) else float("nan")
    if views.graph.compat:
        return float(values[0] - values[2]) if len(values) > 2 else float(values[0])
    others = values[values < values[0] * (1 - SAME)]
    if len(others):
        return float(values[0] - others[0])
    return float(values[0]) if views.graph.nodes > _touched(matrix) else 0.0


def spectral_radius(views: Views) -> float:
    """The largest eigenvalue of the Laplacian matrix, degrees (sums of |w|) minus adjacency.

    NaN, with a warning, where the search does not converge.
    """
    matrix = scipy.sparse.csr_array(views.adjacency, dtype=np.float64)
    found = [_of_laplacian(part) for part in _components(matrix)]
    return float(np.max(found)) if found else 0.0


def _touched(matrix: scipy.sparse.csr_array) -> int:
    """How many nodes have an edge; those without have the eigenvalue 0."""
    return int((np.diff(matrix.indptr) > 0).sum())


def _components(matrix: scipy.sparse.csr_array) -> list[scipy.sparse.csr_array]:
    """The connected components that have an edge."""
    count, labels = csgraph.connected_components(matrix, directed=False)
    size = np.bincount(labels, minlength=count)
    if (size > 1).sum() == 1 and size.max() == len(labels):
        return [matrix]
    order = np.argsort(labels, kind="stable")
    begins = np.concatenate(([0], np.cumsum(size)))
    sorted_rows = scipy.sparse.csr_array(matrix[order][:, order])
    return [
        scipy.sparse.csr_array(
            sorted_rows[begins[label] : begins[label + 1], begins[label] : begins[label + 1]]
        )
        for label in np.flatnonzero(size > 1)
    ]


def _largest(matrix: scipy.sparse.csr_array) -> np.ndarray:
    """The largest absolute eigenvalues of a connected graph."""
    nodes = len(matrix.indptr) - 1
    if nodes <= max(DENSE, SOUGHT + 1):
        return np.sort(np.abs(np.linalg.eigvalsh(matrix.toarray())))[::-1][: 2 * SOUGHT]
    return np.abs(_sought(matrix, SOUGHT, "LM"))


def _of_laplacian(matrix: scipy.sparse.csr_array) -> float:
    degrees = np.asarray(matrix.sum(axis=1)).ravel()
    laplacian = scipy.sparse.csr_array(scipy.sparse.diags_array(degrees) - matrix)
    if len(degrees) <= DENSE:
        return float(np.linalg.eigvalsh(laplacian.toarray())[-1])
    return float(_sought(laplacian, 1, "LA")[0])


def _sought(matrix: scipy.sparse.csr_array, count: int, which: str) -> np.ndarray:
    """Eigenvalues by ARPACK, from the same beginning each time."""
    nodes = len(matrix.indptr) - 1
    begin = np.random.default_rng(0).uniform(0.5, 1.5, nodes)
    try:
        found = linalg.eigsh(
            matrix, count, which=which, v0=begin, maxiter=ROUNDS, return_eigenvectors=False
        )
        return np.asarray(found, np.float64)
    except linalg.ArpackError as error:
        warnings.warn(f"the search for eigenvalues did not converge: {error}", stacklevel=4)
        return np.full(count, np.nan)
