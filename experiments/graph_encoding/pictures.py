"""Pictures: a small graph, how graphs change in training, neurons by three ideas of importance."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from experiments.common import chart
from experiments.common.figures import COLOURS, canvas, legend, look, save_figure, styles
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
    from matplotlib.colors import LinearSegmentedColormap

    figure, (axes,) = canvas(1, height=4.6)
    across, up = np.zeros(drawn.nodes), np.zeros(drawn.nodes)
    for column, layer in enumerate(drawn.layers):
        part = slice(layer.offset, layer.offset + layer.size)
        across[part] = column
        up[part] = np.linspace(1, 0, layer.size) if layer.size > 1 else 0.5
    every = max(1, -(-drawn.edges // DRAWN))
    ends = drawn.sources[::every], drawn.targets[::every]
    lines = np.stack([np.column_stack((across[end], up[end])) for end in ends], axis=1)
    alpha = max(0.15, min(1.0, 2000 / max(len(lines), 1)))
    order = np.argsort(drawn.weights[::every], kind="stable")  # the heaviest on top
    shade = drawn.weights[::every][order]
    colours = LinearSegmentedColormap.from_list("edges", ["#C8D6E5", "#0072B2", "#00203A"])
    edges = LineCollection(
        list(lines[order]), linewidths=0.5, array=shade, cmap=colours, alpha=alpha
    )
    edges.set_clim(0, float(drawn.weights.max()) if drawn.edges else 1.0)
    axes.add_collection(edges)
    joined = np.zeros(drawn.nodes, bool)
    joined[drawn.sources] = joined[drawn.targets] = True
    for there, label, dots in (
        (joined, "with edges", {"marker": "o", "s": 4, "color": "black"}),
        (
            ~joined,
            "without edges",
            {"marker": "x", "s": 14, "color": COLOURS[5], "linewidths": 0.9},
        ),
    ):
        name = f"node {label} ({there.sum():,})"
        axes.scatter(across[there], up[there], zorder=2, label=name, **dots)
    names = [f"{layer.name}\n{'x'.join(map(str, layer.shape))}" for layer in drawn.layers]
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 6 else 0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    figure.colorbar(edges, ax=axes, label="weight of the edge, from |w|", aspect=40)
    legend(figure, [axes])
    shown = "" if every == 1 else f", of which every {every}th is drawn"
    title = f"{title}; {drawn.edges:,} edges{shown}; below each layer its name and shape"
    save_figure(figure, place, "A pruned network as a graph, from inputs to outputs", title)


TRACKED = (
    ("sources", "sources"),
    ("sinks", "sinks"),
    ("disconnected", "disconnected nodes"),
    ("largest_out_degree", "largest out-degree"),
)
"""What of a history is drawn, and what it is called."""

EXPLAINED = {
    "sources": "sources: nodes that nothing enters",
    "sinks": "sinks: nodes that nothing leaves",
    "disconnected": "disconnected: nodes without edges",
    "largest_out_degree": "most edges that leave one node",
}
"""The same for those who see the figure alone."""


def tracked(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], place: Place, title: str
) -> None:
    """Draws how the graph changes as networks train, the mean over seeds and their spread.

    Args:
      histories: by method, a history per seed.
      place: where the figure goes.
      title: what it shows.
    """
    figure, panels = canvas(len(TRACKED), columns=2, height=5.4)
    looks = styles(histories)
    for axes, (name, _) in zip(panels, TRACKED, strict=True):
        lines = []
        for method, seeds in histories.items():
            curves = np.array([[row[name] for row in history] for history in seeds])
            epochs = np.arange(1, curves.shape[1] + 1)
            lines.append(chart.of_seeds(method, epochs, curves, looks[method]))
        chart.draw(axes, lines, names=False, whole=True)
        axes.set(title=EXPLAINED[name], xlabel="epoch")
        axes.set_ylabel("edges" if "degree" in name else "nodes")
        axes.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, panels)
    counts = sorted(map(len, histories.values()))
    title = f"{title}; {chart.band_words(counts[0], counts[-1])}"
    save_figure(figure, place, "How graphs change as networks train", title)


IDEAS = (
    ("critical", "critical neurons' score"),
    ("entropy", "entropy"),
    ("strength", "strength of nodes"),
)
"""Three papers' ideas of importance, and what they are called."""


def neurons(frame: pl.DataFrame, agreement: Mapping[str, float], place: Place, title: str) -> None:
    """Draws each idea of importance against the loss that is gained without the neuron.

    Args:
      frame: a row per neuron, see ``run.Neurons``.
      agreement: of each idea with that loss, Spearman's correlation.
      place: where the figure goes.
      title: what it shows.
    """
    figure, panels = canvas(len(IDEAS), height=3.6, sharey=True)
    for axes, (name, said) in zip(panels, IDEAS, strict=True):
        for number, (group,) in enumerate(frame.select("group").unique(maintain_order=True).rows()):
            rows = frame.filter(pl.col("group") == group)
            dots = look(number) | {"linestyle": "", "markersize": 3, "fillstyle": "none"}
            values = rows[name].to_numpy(), rows["loss_gained"].to_numpy()
            axes.plot(*values, label=group, alpha=0.6, markeredgewidth=0.7, **dots)
        axes.axhline(0, color="black", linewidth=0.6)
        unit = " (nats)" if name == "entropy" else ""
        axes.set(xlabel=f"{said}{unit}", title=f"Spearman's r = {agreement[name]:z.2f}")
    panels[0].set_ylabel("test loss gained without it (nats)")
    legend(figure, panels, title="layer")
    seeds = frame["seed"].n_unique()
    title = (
        f"{title}; a mark per neuron, {seeds} seeds; r within layers, mean over layers and seeds"
    )
    save_figure(figure, place, "Three ideas of importance against what a neuron is worth", title)
