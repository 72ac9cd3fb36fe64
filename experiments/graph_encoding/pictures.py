"""Pictures: a small graph, how graphs change in training, neurons by three ideas of importance."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from experiments.common.figures import canvas, save_figure, style
from experiments.common.outputs import Place
from prunejax.topology import Graph

DRAWN = 20_000
"""So many edges are drawn at most; of larger graphs every n-th."""


def graph(drawn: Graph, place: Place, title: str) -> None:
    """Draws a graph's layers from left to right; edges are the darker, the larger their weight.

    Args:
      drawn: the graph, a small one.
      place: where the figure goes.
      title: what it shows.
    """
    from matplotlib.collections import LineCollection

    figure, (axes,) = canvas(1, height=5.5)
    across, up = np.zeros(drawn.nodes), np.zeros(drawn.nodes)
    for column, layer in enumerate(drawn.layers):
        part = slice(layer.offset, layer.offset + layer.size)
        across[part] = column
        up[part] = np.linspace(1, 0, layer.size) if layer.size > 1 else 0.5
    every = max(1, -(-drawn.edges // DRAWN))
    ends = drawn.sources[::every], drawn.targets[::every]
    lines = np.stack([np.column_stack((across[end], up[end])) for end in ends], axis=1)
    largest = float(drawn.weights.max()) if drawn.edges else 1.0
    shade = drawn.weights[::every] / max(largest, 1e-12)
    alpha = min(0.6, 2000 / max(len(lines), 1))
    axes.add_collection(
        LineCollection(
            list(lines), linewidths=0.4, array=shade, cmap="viridis_r", alpha=max(alpha, 0.05)
        )
    )
    joined = np.zeros(drawn.nodes, bool)
    joined[drawn.sources] = joined[drawn.targets] = True
    for there, colour in ((joined, "black"), (~joined, "tab:red")):
        axes.scatter(across[there], up[there], s=3, color=colour, zorder=2)
    names = [f"{layer.name}\n{'x'.join(map(str, layer.shape))}" for layer in drawn.layers]
    axes.set_xticks(range(len(names)), names, fontsize="x-small", rotation=30)
    axes.set_yticks([])
    axes.grid(visible=False)
    note = "" if every == 1 else f"; every {every}th edge"
    axes.set_xlabel(f"{drawn.nodes:,} nodes (red: without edges), {drawn.edges:,} edges{note}")
    save_figure(figure, place, title)


TRACKED = (
    ("sources", "sources"),
    ("sinks", "sinks"),
    ("disconnected", "disconnected nodes"),
    ("largest_out_degree", "largest out-degree"),
)
"""What of a history is drawn, and what it is called."""


def tracked(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], place: Place, title: str
) -> None:
    """Draws how the graph changes as networks train, the mean over seeds.

    Args:
      histories: by method, a history per seed.
      place: where the figure goes.
      title: what it shows.
    """
    figure, panels = canvas(len(TRACKED), height=3.6)
    for axes, (name, said) in zip(panels, TRACKED, strict=True):
        for method, seeds in histories.items():
            curves = np.array([[row[name] for row in history] for history in seeds])
            epochs = np.arange(1, curves.shape[1] + 1)
            axes.plot(epochs, curves.mean(axis=0), label=method, **{**style(method), "marker": ""})
        axes.set(xlabel="epoch", title=said)
    panels[0].legend(fontsize="small")
    save_figure(figure, place, title)


IDEAS = (
    ("critical", "critical neurons' score"),
    ("entropy", "entropy"),
    ("strength", "strength of nodes"),
)
"""Three papers' ideas of importance, and what they are called."""


def neurons(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws each idea of importance against the loss that is gained without the neuron.

    Args:
      frame: a row per neuron, see ``run.Neurons``.
      place: where the figure goes.
      title: what it shows.
    """
    figure, panels = canvas(len(IDEAS), height=3.8)
    for axes, (name, said) in zip(panels, IDEAS, strict=True):
        for number, (group,) in enumerate(frame.select("group").unique(maintain_order=True).rows()):
            rows = frame.filter(pl.col("group") == group)
            gained = rows["loss_gained"].to_numpy()
            axes.scatter(rows[name].to_numpy(), gained, s=12, label=group, color=f"C{number % 10}")
        axes.set(xlabel=said)
    panels[0].set_ylabel("test loss gained without the neuron (nats)")
    panels[0].legend(fontsize="x-small")
    save_figure(figure, place, title)
