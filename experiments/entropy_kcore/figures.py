"""Figures of filter pruning: curves, criteria, the redundancy graph of one layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import networkx
import numpy as np
import polars as pl

from experiments.common import chart
from experiments.common.figures import COLOURS, canvas, legend, look, save_figure, styles
from experiments.common.outputs import Place
from experiments.common.records import Record
from prunejax import filters
from prunejax.channels import Measured, Redundancies

AS_METHOD = ("entropy_kcore", "kcore_l1", "kcore_random")
"""Names that the comparison has too; its others begin with "channels_"."""

EDGES_DRAWN = 4000
"""A graph with more edges than that shows a sample of them."""


CUTS = (("flops_reduction", "multiply-adds (FR)"), ("parameter_reduction", "parameters (PR)"))
"""Columns of what is removed, and what they are called."""


def thresholds(table: pl.DataFrame, _: Sequence[Record], place: Place, title: str) -> None:
    """Draws what is removed, and accuracy before and after fine-tuning, against tau."""
    figure, panels = canvas(3, height=3.6)
    table = table.sort("tau")
    _removed(panels[0], table, "tau")
    dense = [("dense", float(table["dense"][0]))]
    for axes, name, words in (
        (panels[1], "pruned", "before fine-tuning"),
        (panels[2], "accuracy", "fine-tuned"),
    ):
        lines = [_line(table, "tau", name, "test accuracy", 2)]
        chart.draw(axes, lines, references=dense, names=False, whole=True)
        axes.set(title=f"accuracy, {words}")
    panels[1].set_ylabel("test accuracy (%)")
    for axes in panels:
        axes.set_xlabel("threshold tau of similarity")
    legend(figure, panels)
    title = f"{title}; {_seeds(table)}. At tau 1 nothing is removed. Each panel has its own y axis"
    save_figure(figure, place, "A lower threshold removes more filters", title)


def criteria(table: pl.DataFrame, _: Sequence[Record], place: Place, title: str) -> None:
    """Draws the accuracy that each method loses, a row per method (Fig. 5).

    What they remove is said in words: it is the same for all.
    """
    figure, (axes,) = canvas(1, height=1.5 + 0.32 * len(table))
    looks = styles(_as_method(name) for name in table["method"])
    for row, cut in enumerate(table.iter_rows(named=True)):
        looked = looks[_as_method(cut["method"])]
        reach = cut["drop_spread"] or 0.0
        axes.hlines(row, cut["drop"] - reach, cut["drop"] + reach, color=looked["color"])
        axes.plot(cut["drop"], row, **looked | {"linestyle": "", "markersize": 7})
    axes.axvline(0, color="black", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(table)), table["method"].to_list())
    axes.grid(axis="y", visible=False)
    axes.set(ylim=(len(table) - 0.5, -0.5))
    axes.set_xlabel(
        "test accuracy lost against the dense network (points; 0: as good, left: better)"
    )
    removed = " and ".join(f"{_between(table[name])} % of the {what}" for name, what in CUTS)
    title = f"{title}; each removes {removed}; {_seeds(table, line='mark', band='stroke')}"
    save_figure(figure, place, "Accuracy lost, by the criterion that chooses filters", title)


def _as_method(name: str) -> str:
    return name if name in AS_METHOD else f"channels_{name}"


def _between(values: pl.Series) -> str:
    """The smallest and the largest number, or the one that both are."""
    ends = dict.fromkeys(
        f"{end:.1f}" for end in sorted(values.to_list())[:: max(len(values) - 1, 1)]
    )
    return " to ".join(ends)


def _seeds(table: pl.DataFrame, **words: str) -> str:
    seeds = sorted(table["seeds"].to_list())
    return chart.band_words(seeds[0], seeds[-1], **words)


def sample_sizes(table: pl.DataFrame, _: Sequence[Record], place: Place, title: str) -> None:
    """Draws what is removed, and accuracy lost, against the number of images (Table 8)."""
    figure, (left, right) = canvas(2, height=3.6)
    table = table.sort("images")
    _removed(left, table, "images")
    lines = [_line(table, "images", "drop", "accuracy lost", 2)]
    chart.draw(right, lines, names=False, whole=True)
    right.set(ylabel="test accuracy lost (points)", title="accuracy lost, fine-tuned")
    for axes in (left, right):
        axes.set_xlabel("images that feature maps are taken of")
    legend(figure, [left])
    title = f"{title}; {_seeds(table)}"
    save_figure(figure, place, "How many images the method needs", title)


def learning_rates(
    table: pl.DataFrame, records: Sequence[Record], place: Place, title: str
) -> None:
    """Draws test accuracy over fine-tuning, a line per rate, the mean over seeds (Fig. 6)."""
    figure, (axes,) = canvas(1)
    cut, lines = table.row(0, named=True), []
    for position, rate in enumerate(table["rate"].sort()):
        values = [
            [100 * row["test_accuracy"] for row in record["history"]]
            for record in records
            if record["config"]["fine_tuning"]["learning_rate"] == rate
            and all(
                record["config"][name] == cut[name] for name in ("method", "tau", "images", "curve")
            )
        ]
        epochs = np.arange(1, len(values[0]) + 1)
        lines.append(chart.of_seeds(f"rate {rate:g}", epochs, values, look(position)))
    if chart.draw(axes, lines):
        title += f"; {chart.BELOW}"
    axes.set_xlabel("epoch of fine-tuning")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("test accuracy (%)")
    title = f"{title}; tau {cut['tau']:g}; {_seeds(table)}"
    save_figure(figure, place, "Fine-tuning at several learning rates", title)


def _removed(axes: Any, table: pl.DataFrame, x: str) -> None:
    """Draws the shares of multiply-adds and of parameters that are removed."""
    lines = [_line(table, x, name, what, place) for place, (name, what) in enumerate(CUTS)]
    chart.draw(axes, lines, names=False, whole=True)
    axes.set(ylabel="removed (%)", title="what is removed")


def _line(table: pl.DataFrame, x: str, y: str, name: str, position: int) -> chart.Line:
    spread = table[f"{y}_spread"].cast(pl.Float64).fill_null(np.nan)
    return chart.line(name, table[x], table[y], spread, look(position))


def scatter(measured: Measured, keep: np.ndarray, tau: float, place: Place, title: str) -> None:
    """Draws each filter's degree and entropy (Fig. 2)."""
    seen = filters.redundancy(measured.similarity, jnp.asarray(keep), tau)
    figure, (axes,) = canvas(1)
    degree, entropy = np.asarray(seen.degree), np.asarray(measured.entropy)
    for which, label, marker, colour in (
        (~keep, "removed", "x", COLOURS[5]),
        (keep, "kept", "o", COLOURS[0]),
    ):
        dots = {"linestyle": "", "marker": marker, "color": colour, "fillstyle": "none"}
        axes.plot(degree[which], entropy[which], label=f"{label} ({which.sum()})", **dots)
    with np.errstate(invalid="ignore"):
        correlation = np.corrcoef(degree, entropy)[0, 1] if len(degree) > 1 else np.nan
    axes.set_xlabel(f"degree: other filters whose similarity is above {tau:g}")
    axes.set_ylabel("entropy of the feature maps (nats)")
    legend(figure, [axes])
    title = f"{title}; a mark per filter; correlation of degree and entropy {correlation:.2f}"
    save_figure(figure, place, "Which filters of one layer are removed", title)


def graph(measured: Measured, keep: np.ndarray, tau: float, place: Place, title: str) -> None:
    """Draws the redundancy graph: cores coloured, kept filters ringed, orphans crossed."""
    seen = filters.redundancy(measured.similarity, jnp.asarray(keep), tau)
    core, orphans = np.asarray(seen.core), np.asarray(seen.orphans)
    edges = np.argwhere(np.triu(np.asarray(measured.similarity) > tau, 1))
    drawn = networkx.Graph()
    drawn.add_nodes_from(range(len(core)))
    drawn.add_edges_from((int(first), int(second)) for first, second in edges)
    places = networkx.spring_layout(drawn, seed=0, k=2 / np.sqrt(len(core)))
    position = np.array([places[node] for node in range(len(core))])
    figure, (axes,) = canvas(1, height=6.0)
    if len(edges) > EDGES_DRAWN:
        edges = np.random.default_rng(0).choice(edges, EDGES_DRAWN, replace=False)
    for first, second in edges:
        axes.plot(*position[[first, second]].T, color="0.65", linewidth=0.7, zorder=1)
    removed = ~keep & ~orphans
    limits: dict[str, Any] = {"vmin": 0, "vmax": max(int(core.max()), 1), "cmap": "cividis_r"}
    edge = {"edgecolors": "black", "linewidths": 0.5}
    for which, label, drawing in (
        (removed, "removed, a similar one stays", {"marker": "v", "s": 45, **edge}),
        (orphans, "removed, no similar one stays", {"marker": "X", "s": 70, **edge}),
        (keep, "kept", {"marker": "o", "s": 110, "edgecolors": COLOURS[5], "linewidths": 2}),
    ):
        shown = axes.scatter(
            *position[which].T, c=core[which], label=label, zorder=2, **drawing, **limits
        )
    cores = np.unique(np.linspace(0, limits["vmax"], 7).round())
    said = "core number: how dense the filter's group is"
    figure.colorbar(shown, ax=axes, label=said, ticks=cores)
    axes.set_axis_off()
    legend(figure, [axes])
    title = (
        f"{title}; an edge joins filters whose similarity is above {tau:g}; places have no meaning"
    )
    what = f"{int(keep.sum())} of {len(keep)} filters of one layer are kept"
    save_figure(figure, place, f"The redundancy graph: {what}", title)


def busiest(found: Redundancies, thresholds: Mapping[str, float]) -> str:
    """The group whose redundancy graph has most edges."""
    edges = {
        group: float(jnp.sum(measured.similarity > thresholds[group])) - len(measured.entropy)
        for group, measured in found.groups.items()
    }
    return max(edges, key=edges.__getitem__)


STUDIES: dict[str, Callable[[pl.DataFrame, Sequence[Record], Place, str], None]] = {
    "tau": thresholds,
    "criteria": criteria,
    "sample_size": sample_sizes,
    "learning_rate": learning_rates,
}
"""Study -> its figure."""

LAYER: dict[str, Callable[[Measured, np.ndarray, float, Place, str], None]] = {
    "degree_entropy": scatter,
    "graph": graph,
}
"""Name of a file -> a figure of one layer."""
