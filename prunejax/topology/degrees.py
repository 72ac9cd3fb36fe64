"""Metrics that follow from degrees (Cunegatti et al. 2024, Table 2)."""

from prunejax.topology.views import Views


def sink(views: Views) -> float:
    """How many nodes end edges and begin none, outputs aside."""
    return float(views.sinks.sum())


def source(views: Views) -> float:
    """How many nodes begin edges and end none, inputs aside."""
    return float(views.sources.sum())


def disconnected(views: Views) -> float:
    """How many nodes have no edge."""
    return float(((views.in_degree == 0) & (views.out_degree == 0)).sum())


def r_out(views: Views) -> float:
    """The share of edges that sources begin, which could be removed; compat: of ``r_in``."""
    return _into_sinks(views) if views.graph.compat else _out_of_sources(views)


def r_in(views: Views) -> float:
    """The share of edges that end in sinks, which could be removed; compat: of ``r_out``."""
    return _out_of_sources(views) if views.graph.compat else _into_sinks(views)


def n1(views: Views) -> float:
    """The mean number of nodes within one hop along edges; compat: the node itself too."""
    return views.graph.edges / max(views.graph.nodes, 1) + float(views.graph.compat)


def strength(views: Views) -> float:
    """The mean over nodes of the sum of |w| of their edges, both ways."""
    total = 2 * float(abs(views.graph.weights).sum(dtype="float64"))
    return total / max(views.graph.nodes, 1)


def _out_of_sources(views: Views) -> float:
    return float(views.out_degree[views.sources].sum()) / max(views.graph.edges, 1)


def _into_sinks(views: Views) -> float:
    return float(views.in_degree[views.sinks].sum()) / max(views.graph.edges, 1)
