"""Who may import whom, read off the code: also imports inside functions and for types alone."""

import functools

import grimp
import networkx as nx
import pytest

OFTEN = {"extras", "files", "masks", "names", "registry", "text"}
"""Leaves of the house, which any room may use."""

ROOMS = {
    "masks": {"files", "names", "packing", "selecting"},
    "packing": {"selecting"},
    "neurons": {"names"},
    "models": {"extras", "names", "neurons", "sparse"},
    "data": {"extras", "files", "names"},
    "criteria": OFTEN,
    "filters": OFTEN,
    "sparse": {"extras", "files", "names", "registry", "text"},
    "topology": OFTEN | {"network"},
    "robustness": OFTEN | {"ranks"},
    "spiking": OFTEN
    | {"channels", "distributions", "network", "neurons", "ranks", "rewiring", "training"},
    "network": OFTEN,
    "channels": OFTEN | {"filters", "network"},
    "layerwise": OFTEN | {"allocation", "network", "ranks", "selecting"},
    "allocation": OFTEN | {"distributions", "ranks", "selecting"},
    "pruning": OFTEN | {"allocation", "criteria", "selecting"},
    "rewiring": OFTEN | {"allocation", "ranks", "selecting", "sparse", "training"},
    "training": OFTEN | {"checkpoint", "data", "selecting"},
    "checkpoint": OFTEN,
}
"""Room of ``prunejax`` -> the rooms that it may use."""


@functools.cache
def imports():
    """A graph with an edge from each module to those that it imports."""
    found = grimp.build_graph("prunejax", "solvers", "experiments", cache_dir=None)
    graph = nx.DiGraph()
    graph.add_nodes_from(found.modules)
    for module in found.modules:
        for other in found.find_modules_directly_imported_by(module):
            graph.add_edge(module, other)
    return graph


def edges_between_rooms(graph):
    for module, other in graph.edges:
        if module.startswith("prunejax.") and other.startswith("prunejax."):
            room, used = module.split(".")[1], other.split(".")[1]
            if room != used:
                yield room, used, f"{module} imports {other}"


@pytest.mark.parametrize("package", ["prunejax", "solvers", "experiments"])
def test_nothing_imports_itself_by_a_detour(package):
    inside = imports().subgraph(name for name in imports() if name.split(".")[0] == package)
    circles = [sorted(part) for part in nx.strongly_connected_components(inside) if len(part) > 1]
    assert circles == []


def test_rooms_use_what_they_may():
    wrong = [
        said
        for room, used, said in edges_between_rooms(imports())
        if room in ROOMS and used not in ROOMS[room]
    ]
    assert wrong == []


def test_only_channels_joins_the_library_and_the_solvers():
    rooms = {
        module.split(".")[1]
        for module, other in imports().edges
        if module.startswith("prunejax.") and other.split(".")[0] == "solvers"
    }
    assert rooms == {"channels"}


def test_a_wrong_import_would_be_seen():
    graph = nx.DiGraph([("prunejax.models.vgg", "prunejax.criteria.snip"), ("prunejax.a", "os")])
    assert list(edges_between_rooms(graph)) == [
        ("models", "criteria", "prunejax.models.vgg imports prunejax.criteria.snip")
    ]
