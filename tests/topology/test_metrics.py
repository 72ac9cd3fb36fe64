"""The sixteen metrics against networkx, sets and NumPy; worked examples by hand."""

import math

import numpy as np
import pytest

from prunejax import topology
from prunejax.topology import spectra
from prunejax.topology.views import Views
from tests.support.graphs import graph_of, layered, plain


def check(graph):
    found, expected = topology.measure(graph, normalize=False), plain(graph)
    assert list(found) == list(topology.METRICS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-8), name
        assert topology.METRICS[name](graph) == found[name]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skips", [0.0, 0.3])
@pytest.mark.parametrize("compat", [False, True])
def test_random_layers(seed, skips, compat):
    density = (0.1, 0.2, 0.35, 0.5, 0.8, 1.0)[seed]
    check(layered(seed, density=density, skips=skips, compat=compat))


@pytest.mark.parametrize("seed", range(4))
def test_any_graph(seed):
    """Edges between any two nodes of one layer, parallel ones and loops too: many cliques."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 9, (30, 2)).tolist()
    edges = [(min(pair), max(pair), rng.uniform(0.1, 1)) for pair in ends]
    graph = graph_of(edges, [(9, "hidden"), (2, "output")])
    found, expected = topology.measure(graph, normalize=False), plain(graph)
    for name in ("motif4", "k_core", "cut_edges", "cut_nodes", "components", "n2"):
        assert found[name] == pytest.approx(expected[name]), name
    for name in ("spectral_gap", "spectral_radius"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name


def test_an_example_by_hand():
    """Two inputs, three hidden nodes, one output: 0 -> 2 -> 5, 1 -> 3, 4 -> 5, nothing else."""
    edges = [(0, 2, 1.0), (2, 5, 2.0), (1, 3, 3.0), (4, 5, 4.0)]
    graph = graph_of(edges, [(2, "input"), (3, "hidden"), (1, "output")])
    found = topology.measure(graph, normalize=False)
    # the path 0 - 2 - 5 - 4 has weights 1, 2, 4; the squares of its eigenvalues are those of the
    # ways of two steps from 2 and 4: 2 - 0 - 2 and 2 - 5 - 2, 2 - 5 - 4, 4 - 5 - 4
    values = np.sqrt(np.linalg.eigvalsh([[5.0, 8.0], [8.0, 16.0]]))
    laplacian = np.array([[1, -1, 0, 0], [-1, 3, -2, 0], [0, -2, 6, -4], [0, 0, -4, 4.0]])
    assert found == pytest.approx(
        {
            "sink": 1,  # 3
            "source": 1,  # 4
            "disconnected": 0,
            "r_out": 1 / 4,
            "r_in": 1 / 4,
            "n1": 4 / 6,
            "n2": (2 + 1 + 1 + 0 + 1 + 0) / 6,
            "motif4": 1,
            "k_core": 1,
            "strength": 20 / 6,
            "components": 2,
            "mean_component": 3,
            "cut_edges": 4,
            "cut_nodes": 2,  # 2 and 5
            "spectral_gap": values[1] - 3,  # the edge 1 - 3 has the next eigenvalue, 3
            "spectral_radius": np.linalg.eigvalsh(laplacian)[-1],
        }
    )


def test_what_normalising_divides_by():
    graph = layered(1)
    raw, shares = topology.measure(graph, normalize=False), topology.measure(graph)
    by_nodes = {"sink", "source", "disconnected", "motif4", "mean_component"}
    by_edges = {"n1", "n2", "k_core", "strength", "cut_edges", "cut_nodes"}
    for name, value in raw.items():
        per = graph.nodes if name in by_nodes else graph.edges if name in by_edges else 1
        assert shares[name] == pytest.approx(value / per)


@pytest.mark.parametrize("compat", [False, True])
def test_two_metrics_say_nothing_of_their_own(compat):
    """Normalised, n1 and the mean component follow from nodes, edges and components."""
    graph = layered(2, density=0.15, compat=compat)
    found = topology.measure(graph, ["n1", "components", "mean_component"])
    own = 1 / graph.edges if compat else 0.0
    assert found["n1"] == pytest.approx(1 / graph.nodes + own)
    assert found["mean_component"] == pytest.approx(1 / found["components"])


def test_a_graph_without_edges():
    graph = graph_of([], [(3, "input"), (2, "output")])
    found = topology.measure(graph)
    counted = {"disconnected": 1.0, "components": 5.0, "mean_component": 1 / 5}
    assert found == {name: counted.get(name, 0.0) for name in topology.METRICS}


def test_a_path_is_not_too_deep():
    count = 100_000
    edges = [(node, node + 1, 1.0) for node in range(count - 1)]
    graph = graph_of(edges, [(count, "hidden")])
    names = ["cut_edges", "cut_nodes", "k_core", "components", "n2", "motif4"]
    found = topology.measure(graph, names, normalize=False)
    assert found == pytest.approx(
        {
            "cut_edges": count - 1,
            "cut_nodes": count - 2,
            "k_core": 1,
            "components": 1,
            "n2": (2 * (count - 2) + 1) / count,
            "motif4": count - 3,
        }
    )


def test_a_star_and_a_clique():
    star = graph_of([(0, leaf, 1.0) for leaf in range(1, 8)], [(8, "hidden")])
    clique = graph_of([(u, v, 1.0) for u in range(6) for v in range(u + 1, 6)], [(6, "hidden")])
    found = topology.measure(star, normalize=False)
    assert (found["motif4"], found["cut_nodes"], found["cut_edges"]) == (35, 1, 7)
    assert found["spectral_gap"] == pytest.approx(math.sqrt(7))
    assert found["spectral_radius"] == pytest.approx(8)
    found = topology.measure(clique, normalize=False)
    assert (found["motif4"], found["k_core"], found["cut_nodes"]) == (15, 5, 0)
    assert found["spectral_gap"] == pytest.approx(5 - 1)
    assert found["spectral_radius"] == pytest.approx(6)


@pytest.mark.parametrize("compat", [False, True])
def test_a_search_for_eigenvalues_finds_those_of_numpy(monkeypatch, compat):
    graph = layered(5, sizes=(60, 80, 50, 10), density=0.1, skips=0.02, compat=compat)
    dense = [spectra.spectral_gap(Views(graph)), spectra.spectral_radius(Views(graph))]
    monkeypatch.setattr(spectra, "DENSE", 10)
    searched = [spectra.spectral_gap(Views(graph)), spectra.spectral_radius(Views(graph))]
    assert searched == pytest.approx(dense, rel=1e-8)


def test_eigenvalues_that_many_components_share():
    """Forty equal edges: the largest eigenvalue comes eighty times, with its negative."""
    edges = [(2 * pair, 2 * pair + 1, 2.0) for pair in range(40)]
    assert topology.METRICS["spectral_gap"](graph_of(edges, [(80, "hidden")])) == 0
    edges.append((80, 81, 0.5))
    found = topology.METRICS["spectral_gap"](graph_of(edges, [(82, "hidden")]))
    assert found == pytest.approx(1.5)


def test_more_equal_components_than_a_search_would_find():
    """A hundred stars of six nodes: sqrt(5), its negative, and zeros; then smaller stars too."""
    edges = [(6 * star, 6 * star + leaf, 1.0) for star in range(100) for leaf in range(1, 6)]
    found = topology.METRICS["spectral_gap"](graph_of(edges, [(600, "hidden")]))
    assert found == pytest.approx(math.sqrt(5))
    edges += [(600 + 4 * s, 600 + 4 * s + leaf, 1.0) for s in range(20) for leaf in range(1, 4)]
    graph = graph_of(edges, [(680, "hidden")])
    assert topology.METRICS["spectral_gap"](graph) == pytest.approx(math.sqrt(5) - math.sqrt(3))
    assert topology.METRICS["spectral_radius"](graph) == pytest.approx(6)


def test_a_search_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(spectra, "ROUNDS", 2)
    graph = graph_of([(n, n + 1, 1.0) for n in range(2999)], [(3000, "hidden")])
    for name in ("spectral_gap", "spectral_radius"):
        with pytest.warns(UserWarning, match="did not converge"):
            assert math.isnan(topology.METRICS[name](graph))


def test_progress_and_names():
    told = []
    graph = layered(0)
    topology.measure(graph, ["sink", "n1"], on_metric=lambda *news: told.append(news))
    assert told == [("sink", 0, 2), ("n1", 1, 2)]
    with pytest.raises(ValueError, match=r"unknown metric 'sinks'.*did you mean 'sink'"):
        topology.measure(graph, ["sinks"])
