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


@_compiled
def two_hops(
    layer: int,
    kinds: np.ndarray,
    counts: np.ndarray,
    layer_of: np.ndarray,
    offsets: np.ndarray,
    spots: np.ndarray,
    apart: np.ndarray,
    list_begins: np.ndarray,
    entry_begins: np.ndarray,
    begins: np.ndarray,
    steps: np.ndarray,
    keys: np.ndarray,
    places: np.ndarray,
    taps: np.ndarray,
    bits: np.ndarray,
    key_begins: np.ndarray,
    targets: np.ndarray,
    target_begins: np.ndarray,
    seen: np.ndarray,
) -> int:
    """How many nodes lie within two hops of a layer's nodes, all of them together.

    The channels of one position that are reached are the bits of some words, so that the channels
    which a key leads to are joined at once.

    Args:
      layer: which layer.
      kinds: one place of each kind.
      counts: how many places there are of each kind.
      layer_of: the layer of each node.
      offsets: the first node of each layer, and behind the last.
      spots: of each layer, how many positions it has.
      apart: of each layer, whether its channels are read alike.
      list_begins: where each layer's places begin in ``begins``.
      entry_begins: where each layer's entries begin in ``steps``, ``keys`` and ``places``.
      begins: where the entries of a place begin.
      steps: of each entry, which step reads.
      keys: of each entry, by which key of the first channel; -1 for an identity.
      places: of each entry, the position that it leads to.
      taps: how far keys of neighbouring channels are apart, [layers, steps].
      bits: the output channels of each key, [keys of all steps, words].
      key_begins: where the keys of each step begin in ``bits``.
      targets: the nodes of the first channel that each step leads to; of an identity all nodes.
      target_begins: where those of each step begin in ``targets``.
      seen: zeros, [nodes, words]; they are zeros again at the end.

    Returns:
      The sum over nodes.
    """
    total = 0
    words, one = bits.shape[1], np.uint64(1)
    touched, marked = np.zeros(len(layer_of), np.int64), np.zeros(len(layer_of), np.bool_)
    size = offsets[layer + 1] - offsets[layer]
    channels = size // spots[layer] if apart[layer] else 1
    for kind in range(len(kinds)):
        row = list_begins[layer] + kinds[kind]
        for channel in range(channels):
            slots = 0
            for entry in range(begins[row], begins[row + 1]):
                at = entry_begins[layer] + entry
                step, key = steps[at], keys[at]
                target = targets[target_begins[step] + places[at]]
                behind = layer_of[target]
                own = target - offsets[behind]
                position = own % spots[behind]
                slot = offsets[behind] + position
                if not marked[slot]:
                    marked[slot] = True
                    touched[slots] = slot
                    slots += 1
                width = (offsets[behind + 1] - offsets[behind]) // spots[behind]
                line = key_begins[step] + key + channel * taps[layer, step]
                for out in range(width):
                    if key == -1:
                        if out != own // spots[behind]:
                            continue
                    elif not (bits[line, out >> 6] >> np.uint64(out & 63)) & one:
                        continue
                    seen[slot, out >> 6] |= one << np.uint64(out & 63)
                    again = list_begins[behind] + position
                    if not apart[behind]:
                        again += out * spots[behind]
                    for further in range(begins[again], begins[again + 1]):
                        then = entry_begins[behind] + further
                        step2, key2 = steps[then], keys[then]
                        target2 = targets[target_begins[step2] + places[then]]
                        last = layer_of[target2]
                        own2 = target2 - offsets[last]
                        slot2 = offsets[last] + own2 % spots[last]
                        if not marked[slot2]:
                            marked[slot2] = True
                            touched[slots] = slot2
                            slots += 1
                        if key2 == -1:
                            out2 = own2 // spots[last]
                            seen[slot2, out2 >> 6] |= one << np.uint64(out2 & 63)
                            continue
                        line2 = key_begins[step2] + key2
                        if apart[behind]:
                            line2 += out * taps[behind, step2]
                        for word in range(words):
                            seen[slot2, word] |= bits[line2, word]
            near = 0
            for number in range(slots):
                slot = touched[number]
                marked[slot] = False
                for word in range(words):
                    value = seen[slot, word]
                    while value:
                        value &= value - one
                        near += 1
                    seen[slot, word] = 0
            total += near * counts[kind]
    return total
