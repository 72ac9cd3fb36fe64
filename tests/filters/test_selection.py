"""Algorithm 2 against its literal version on networkx, and worked examples."""

import inspect

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from prunejax import filters
from tests.support import filter_reference as reference

# Multiples of 1/8 are exact in float32, so that a similarity can equal tau.
LEVELS = 8


def random_layer(seed, channels):
    """A graph of any density, similarities and entropies with many ties."""
    random = np.random.default_rng(seed)
    similar = random.integers(0, LEVELS + 1, (channels, channels))
    if seed % 2:
        # Groups: similar within, less so between, with isolated filters left.
        groups = random.integers(0, 1 + channels // 4, channels)
        similar = np.where(groups[:, None] == groups, similar, similar // 2)
    similar = np.triu(similar, 1)
    matrix = (similar + similar.T) / LEVELS + np.eye(channels)
    worth = random.integers(0, 1 + channels // 2, channels)
    tau = random.integers(1, LEVELS) / LEVELS
    return matrix.astype(np.float32), worth.astype(np.float32), float(tau)


def from_edges(channels, edges):
    matrix = np.eye(channels, dtype=np.float32)
    for i, j in edges:
        matrix[i, j] = matrix[j, i] = 0.9
    return jnp.asarray(matrix)


@pytest.mark.parametrize("channels", [4, 10, 16, 24])
def test_it_is_algorithm_2_on_random_graphs(channels):
    sizes = set()
    for seed in range(100):
        matrix, worth, tau = random_layer(1000 * channels + seed, channels)
        inclusive = seed % 3 == 0
        graph = reference.redundancy_graph(matrix, tau, inclusive)
        expected = reference.algorithm_2(graph, worth)
        kept = filters.select(jnp.asarray(matrix), jnp.asarray(worth), tau, inclusive=inclusive)
        assert set(np.flatnonzero(kept).tolist()) == expected
        sizes.add(len(expected))
    assert len(sizes) >= min(5, channels)


@pytest.mark.parametrize("kind", ["path", "half", "sparse", "dense"])
def test_larger_graphs_of_many_shapes(kind):
    channels = 96
    random = np.random.default_rng(5)
    if kind == "path":
        order = random.permutation(channels)
        graph = nx.path_graph(order)
    elif kind == "half":
        graph = nx.Graph((i, j) for i in range(channels) for j in range(i) if i + j >= channels)
        graph.add_nodes_from(range(channels))
    else:
        graph = nx.gnp_random_graph(channels, {"sparse": 0.02, "dense": 0.3}[kind], seed=6)
    worth = random.permutation(channels).astype(np.float32)
    kept = filters.select(from_edges(channels, graph.edges), jnp.asarray(worth), 0.5)
    assert set(np.flatnonzero(kept).tolist()) == reference.algorithm_2(graph, worth)


def test_worked_example():
    """A clique of four, a triangle hanging on it by a bridge, a pair, and a filter by itself.

    k = 3: of the clique 0-3 the best, 1, stays; with it goes the bridge 3-4. k = 2: of the
    triangle 4-6 the best is 6. k = 1: of 7 and 8, equal, the first. 9 has no double.
    """
    clique = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    edges = [*clique, (3, 4), (4, 5), (4, 6), (5, 6), (7, 8)]
    worth = jnp.asarray([1.0, 5, 2, 3, 1, 2, 3, 4, 4, 0])
    kept = filters.select(from_edges(10, edges), worth, 0.7)
    assert np.flatnonzero(kept).tolist() == [1, 6, 7, 9]


def test_a_winner_keeps_its_outside_edges():
    """Of the triangle 0-2 the filter 2 stays, and with its edge to 3 makes the next core."""
    matrix = from_edges(4, [(0, 1), (0, 2), (1, 2), (2, 3)])
    kept = filters.select(matrix, jnp.asarray([0.0, 1, 2, 3]), 0.7)
    assert np.flatnonzero(kept).tolist() == [3]


def test_equal_entropies_keep_the_lowest_index():
    kept = filters.select(jnp.ones((4, 4)), jnp.zeros(4), 0.7)
    assert np.flatnonzero(kept).tolist() == [0]


def test_exactly_tau_is_an_edge_only_if_asked():
    matrix = jnp.asarray([[1.0, 0.75], [0.75, 1.0]])
    worth = jnp.asarray([0.0, 1.0])
    assert filters.select(matrix, worth, 0.75).tolist() == [True, True]
    assert filters.select(matrix, worth, 0.75, inclusive=True).tolist() == [False, True]


@pytest.mark.parametrize(
    ("min_channels", "expected"), [(1, [3]), (2, [0, 3]), (3, [0, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_min_channels_brings_back_the_best(min_channels, expected):
    worth = jnp.asarray([2.0, 0.0, 1.0, 3.0])
    kept = filters.select(jnp.ones((4, 4)), worth, 0.7, min_channels=min_channels)
    assert np.flatnonzero(kept).tolist() == expected


def test_min_channels_takes_none_away():
    kept = filters.select(jnp.eye(4), jnp.zeros(4), 0.7, min_channels=2)
    assert kept.all()


def test_it_jits_and_a_sweep_over_tau_compiles_once():
    matrix, worth, _ = random_layer(3, 16)
    compiled = jax.jit(filters.select)
    sizes = []
    for tau in (0.25, 0.5, 0.75):
        kept = compiled(jnp.asarray(matrix), jnp.asarray(worth), tau)
        expected = reference.algorithm_2(reference.redundancy_graph(matrix, tau), worth)
        assert set(np.flatnonzero(kept).tolist()) == expected
        sizes.append(len(expected))
    assert compiled._cache_size() == 1
    assert len(set(sizes)) > 1


def test_cores_degrees_and_orphans_are_networkx():
    for seed in range(20):
        matrix, worth, tau = random_layer(seed, 24)
        graph = reference.redundancy_graph(matrix, tau)
        keep = filters.select(jnp.asarray(matrix), jnp.asarray(worth), tau)
        found = filters.redundancy(jnp.asarray(matrix), keep, tau)
        cores = nx.core_number(graph)
        assert found.core.tolist() == [cores[vertex] for vertex in range(24)]
        assert found.degree.tolist() == [graph.degree[vertex] for vertex in range(24)]
        kept = set(np.flatnonzero(keep).tolist())
        orphans = [v not in kept and not kept & set(graph[v]) for v in range(24)]
        assert found.orphans.tolist() == orphans
        np.testing.assert_array_equal(filters.coreness(jnp.asarray(matrix), tau), found.core)


def test_the_far_end_of_a_path_is_an_orphan():
    matrix = from_edges(4, [(0, 1), (1, 2), (2, 3)])
    keep = filters.select(matrix, jnp.asarray([3.0, 2, 1, 0]), 0.7)
    assert keep.tolist() == [True, False, False, False]
    found = filters.redundancy(matrix, keep, 0.7)
    assert found.orphans.tolist() == [False, False, True, True]


@pytest.mark.parametrize("tau", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("function", [filters.select, filters.coreness])
def test_tau_outside_its_range_is_refused(function, tau):
    arguments = (jnp.eye(3), jnp.zeros(3)) if function is filters.select else (jnp.eye(3),)
    with pytest.raises(ValueError, match=r"tau must be in \[0, 1\]"):
        function(*arguments, tau)


@pytest.mark.parametrize(
    ("matrix", "worth", "options", "message"),
    [
        (jnp.ones((3, 2)), jnp.ones(3), {}, "similarity must be square"),
        (jnp.ones(3), jnp.ones(3), {}, r"similarity must be \[channels, channels\]"),
        (jnp.triu(jnp.ones((3, 3))), jnp.ones(3), {}, "similarity must be symmetric"),
        (jnp.full((3, 3), jnp.nan), jnp.ones(3), {}, "similarity has values that are NaN"),
        (jnp.ones((3, 3)), jnp.ones(4), {}, "entropy must have one value for each of 3, got 4"),
        (jnp.ones((3, 3)), jnp.full(3, jnp.nan), {}, "entropy has values that are NaN"),
        (jnp.ones((3, 3)), jnp.ones(3), {"min_channels": 0}, "min_channels must be at least 1"),
        (jnp.ones((3, 3)), jnp.ones(3), {"tau": jnp.ones(2)}, "tau must be one number"),
    ],
)
def test_bad_input_is_refused(matrix, worth, options, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(filters.select)(matrix, worth, **{"tau": 0.5, **options})


def test_a_selection_of_another_length_is_refused():
    with pytest.raises(ValueError, match="keep must have one value for each of 3"):
        inspect.unwrap(filters.redundancy)(jnp.ones((3, 3)), jnp.ones(2, bool), 0.5)
