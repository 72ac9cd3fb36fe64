"""The sixteen topometrics of Cunegatti et al. 2024, Table 2, by name."""

from collections.abc import Callable
from typing import NamedTuple

from prunejax.topology import degrees, spectra, structure
from prunejax.topology.graph import Graph
from prunejax.topology.views import Views


class Metric(NamedTuple):
    """A topometric; call it with a ``Graph``.

    Attributes:
      of: computes it.
      per: what it is divided by when it is normalised: "nodes", "edges", or "" for nothing.
    """

    of: Callable[[Views], float]
    per: str = ""

    def __call__(self, graph: Graph) -> float:
        """The metric of a graph, not normalised."""
        return self.of(Views(graph))


METRICS: dict[str, Metric] = {
    "sink": Metric(degrees.sink, "nodes"),
    "source": Metric(degrees.source, "nodes"),
    "disconnected": Metric(degrees.disconnected, "nodes"),
    "r_out": Metric(degrees.r_out),
    "r_in": Metric(degrees.r_in),
    "n1": Metric(degrees.n1, "edges"),
    "n2": Metric(structure.n2, "edges"),
    "motif4": Metric(structure.motif4, "nodes"),
    "k_core": Metric(structure.k_core, "edges"),
    "strength": Metric(degrees.strength, "edges"),
    "components": Metric(structure.components),
    "mean_component": Metric(structure.mean_component, "nodes"),
    "cut_edges": Metric(structure.cut_edges, "edges"),
    "cut_nodes": Metric(structure.cut_nodes, "edges"),
    "spectral_gap": Metric(spectra.spectral_gap),
    "spectral_radius": Metric(spectra.spectral_radius),
}
"""Two say nothing that the numbers of nodes and edges do not: normalised, ``n1`` is 1 / nodes, and
1 / nodes + 1 / edges where a node counts itself; ``mean_component`` is 1 / ``components``."""
