"""Many metrics of one graph."""

from collections.abc import Callable, Sequence

from prunejax import names
from prunejax.topology.graph import Graph
from prunejax.topology.metrics import METRICS
from prunejax.topology.views import Views


def measure(
    graph: Graph,
    metrics: Sequence[str] | None = None,
    normalize: bool = True,
    *,
    on_metric: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, float]:
    """Computes topometrics of a graph.

    Args:
      graph: from ``encode``.
      metrics: names in ``METRICS``; None for all.
      normalize: divides each by the number of nodes or edges, as ``Metric.per`` says, so that
        graphs of other sizes can be compared.
      on_metric: told (its name, how many are done, of how many) before each.

    Returns:
      The metrics by name, in the order asked for. Of a graph without edges all are 0 but those that
      count nodes or components.

    Raises:
      ValueError: a name is unknown.
    """
    asked = list(METRICS) if metrics is None else [*metrics]
    for name in asked:
        names.choose("metric", name, METRICS)
    views, found = Views(graph), {}
    per = {"nodes": graph.nodes, "edges": graph.edges, "": 1}
    for number, name in enumerate(asked):
        on_metric(name, number, len(asked))
        metric = METRICS[name]
        found[name] = metric.of(views) / (max(per[metric.per], 1) if normalize else 1)
    return found
