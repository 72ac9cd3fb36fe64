"""Compiled loops over the rows of a sparse matrix: what NumPy cannot do without a Python loop."""

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Numba compiles the function as it is written, without what checks its arguments in tests."""
    return numba.njit(cache=True, **options)(inspect.unwrap(function))


def _parallel(function: Callable[..., Any]) -> Any:
    return _compiled(function, parallel=True)


@_compiled
def coreness(indptr: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The largest k of a k-core that each node is in (Batagelj and Zaversnik 2003).

    Args:
      indptr: where each node's neighbours begin, [nodes + 1].
      indices: the neighbours, each edge both ways, none twice.

    Returns:
      [nodes].
    """
    count = len(indptr) - 1
    degree = np.empty(count, np.int32)
    most = 0
    for node in range(count):
        degree[node] = indptr[node + 1] - indptr[node]
        most = max(most, degree[node])
    begins = np.zeros(most + 2, np.int32)  # where nodes of each degree begin in `order`
    for node in range(count):
        begins[degree[node] + 1] += 1
    for number in range(1, most + 2):
        begins[number] += begins[number - 1]
    order, place = np.empty(count, np.int32), np.empty(count, np.int32)
    free = begins.copy()
    for node in range(count):
        place[node] = free[degree[node]]
        order[place[node]] = node
        free[degree[node]] += 1
    for at in range(count):
        node = order[at]
        for edge in range(indptr[node], indptr[node + 1]):
            other = indices[edge]
            if degree[other] > degree[node]:
                # the neighbour goes to the front of its degree, which then begins one later
                first = begins[degree[other]]
                swapped = order[first]
                if swapped != other:
                    order[first], order[place[other]] = other, swapped
                    place[swapped], place[other] = place[other], first
                begins[degree[other]] += 1
                degree[other] -= 1
    return degree


@_compiled
def cuts(indptr: np.ndarray, indices: np.ndarray) -> tuple[int, np.ndarray]:
    """Bridges and articulation points, by one depth-first search without recursion.

    Args:
      indptr: where each node's neighbours begin, [nodes + 1].
      indices: the neighbours, each edge both ways, none twice.

    Returns:
      (how many bridges there are, whether each node is an articulation point).
    """
    count, bridges, clock = len(indptr) - 1, 0, 0
    entered, low = np.full(count, -1, np.int32), np.zeros(count, np.int32)
    parent, following = np.full(count, -1, np.int32), indptr[:-1].copy()
    cut = np.zeros(count, np.bool_)
    path = np.empty(count, np.int32)
    for root in range(count):
        if entered[root] >= 0:
            continue
        children, deep = 0, 0
        path[0], entered[root], low[root] = root, clock, clock
        clock += 1
        while deep >= 0:
            node = path[deep]
            if following[node] < indptr[node + 1]:
                other = indices[following[node]]
                following[node] += 1
                if entered[other] < 0:
                    parent[other], entered[other], low[other] = node, clock, clock
                    clock += 1
                    deep += 1
                    path[deep] = other
                    children += node == root
                elif other != parent[node]:
                    low[node] = min(low[node], entered[other])
            else:
                deep -= 1
                above = parent[node]
                if above >= 0:
                    low[above] = min(low[above], low[node])
                    if low[node] > entered[above]:
                        bridges += 1
                    if above != root and low[node] >= entered[above]:
                        cut[above] = True
        cut[root] = children > 1
    return bridges, cut


@_parallel
def within_two(indptr: np.ndarray, indices: np.ndarray, parts: int) -> np.ndarray:
    """How many other nodes lie within two hops of each node along edges.

    Args:
      indptr: where each node's successors begin, [nodes + 1].
      indices: the successors.
      parts: among so many threads or more the nodes are shared.

    Returns:
      [nodes].
    """
    count = len(indptr) - 1
    found = np.zeros(count, np.int64)
    for part in numba.prange(parts):
        seen = np.full(count, -1, np.int32)
        for node in range(part, count, parts):
            seen[node] = node
            total = 0
            for edge in range(indptr[node], indptr[node + 1]):
                middle = indices[edge]
                if seen[middle] != node:
                    seen[middle] = node
                    total += 1
                for further in range(indptr[middle], indptr[middle + 1]):
                    last = indices[further]
                    if seen[last] != node:
                        seen[last] = node
                        total += 1
            found[node] = total
    return found


@_compiled
def squares(indptr: np.ndarray, indices: np.ndarray, rank: np.ndarray) -> int:
    """How many cycles of four nodes there are, chords or not.

    Each is counted at its node of the highest rank: pairs of ways to the node opposite.

    Args:
      indptr: where each node's neighbours begin, [nodes + 1].
      indices: the neighbours, each edge both ways, none twice.
      rank: a number per node, none twice; by degree, it keeps the loops short.
    """
    count, total = len(indptr) - 1, 0
    ways = np.zeros(count, np.int64)
    for node in range(count):
        for edge in range(indptr[node], indptr[node + 1]):
            middle = indices[edge]
            if rank[middle] < rank[node]:
                for further in range(indptr[middle], indptr[middle + 1]):
                    last = indices[further]
                    if rank[last] < rank[node]:
                        total += ways[last]
                        ways[last] += 1
        for edge in range(indptr[node], indptr[node + 1]):
            middle = indices[edge]
            if rank[middle] < rank[node]:
                for further in range(indptr[middle], indptr[middle + 1]):
                    ways[indices[further]] = 0
    return int(total)


@_compiled
def triangles(indptr: np.ndarray, indices: np.ndarray) -> tuple[int, int, int, int]:
    """Counts around triangles.

    Args:
      indptr: where each node's neighbours begin, [nodes + 1].
      indices: the neighbours, each edge both ways, none twice.

    Returns:
      (triangles; triangles with an edge that leaves one of their nodes, one by one; pairs of
      triangles on one edge; complete graphs of four nodes).
    """
    count = len(indptr) - 1
    three, tailed, pairs, four = 0, 0, 0, 0
    near = np.full(count, -1, np.int32)
    both = np.full(count, -1, np.int64)
    for node in range(count):
        for edge in range(indptr[node], indptr[node + 1]):
            near[indices[edge]] = node
        for edge in range(indptr[node], indptr[node + 1]):
            other = indices[edge]
            if other < node:
                continue
            shared, name = 0, np.int64(node) * count + other
            for further in range(indptr[other], indptr[other + 1]):
                last = indices[further]
                if near[last] == node:
                    shared += 1
                    both[last] = name
                    if last > other:
                        three += 1
                        tailed += (indptr[node + 1] - indptr[node]) - 2
                        tailed += (indptr[other + 1] - indptr[other]) - 2
                        tailed += (indptr[last + 1] - indptr[last]) - 2
            pairs += shared * (shared - 1) // 2
            if shared > 1:
                for further in range(indptr[other], indptr[other + 1]):
                    last = indices[further]
                    if last > other and both[last] == name:
                        for again in range(indptr[last], indptr[last + 1]):
                            fourth = indices[again]
                            four += fourth > last and both[fourth] == name
    return three, tailed, pairs, four
