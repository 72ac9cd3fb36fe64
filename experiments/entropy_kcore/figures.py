"""Figures of filter pruning: curves, bars, the redundancy graph of one layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import networkx
import numpy as np
import polars as pl

from experiments.common.figures import canvas, save_figure, style
from experiments.common.outputs import Place
from experiments.common.records import Record
from prunejax import filters
from prunejax.channels import Measured, Redundancies

AS_METHOD = {name: name for name in ("entropy_kcore", "kcore_l1", "kcore_random")}
"""Names that the comparison has too; its others begin with "channels_"."""

EDGES_DRAWN = 4000
"""A graph with more edges than that shows a sample of them."""


def thresholds(table: pl.DataFrame, _: Sequence[Record], place: Place, title: str) -> None:
    """Draws what is removed, and accuracy, against tau."""
    figure, (left, right) = canvas(2)
    table = table.sort("tau")
    for name, label in (("flops_reduction", "FR"), ("parameter_reduction", "PR")):
        _line(left, table, "tau", name, label)
    left.set_ylabel("removed (%)")
    right.axhline(table["dense"][0], color="black", linestyle="--", label="dense")
    for name, label in (("accuracy", "fine-tuned"), ("pruned", "before fine-tuning")):
        _line(right, table, "tau", name, label)
    right.set_ylabel("test accuracy (%)")
    for axes in (left, right):
        axes.set_xlabel("threshold tau")
        axes.legend()
    save_figure(figure, place, title)


def bars(table: pl.DataFrame, _: Sequence[Record], place: Place, title: str) -> None:
    """Draws accuracy lost, FR and PR of each method, with error bars (Fig. 5)."""
    figure, panels = canvas(3)
    names = ("drop", "flops_reduction", "parameter_reduction")
    labels = ("accuracy lost (points)", "FR (%)", "PR (%)")
    colours = [style(AS_METHOD.get(name, f"channels_{name}"))["color"] for name in table["method"]]
    for axes, name, label in zip(panels, names, labels, strict=True):
        spread = table[f"{name}_spread"].fill_null(0.0).to_numpy()
        places = np.arange(len(table))
        axes.bar(places, table[name].to_numpy(), yerr=spread, capsize=4, color=colours)
        axes.set_xticks(places, table["method"].to_list(), rotation=45, ha="right")
        axes.set_ylabel(label)
    save_figure(figure, place, title)


def sample_sizes(table: pl.DataFrame, _: Sequence[Record], place: Place, title: str) -> None:
    """Draws what is removed, and accuracy lost, against the number of images (Table 8)."""
    figure, (left, right) = canvas(2)
    table = table.sort("images")
    for name, label in (("flops_reduction", "FR"), ("parameter_reduction", "PR")):
        _line(left, table, "images", name, label)
    left.set_ylabel("removed (%)")
    left.legend()
    _line(right, table, "images", "drop", "")
    right.set_ylabel("accuracy lost (points)")
    for axes in (left, right):
        axes.set_xlabel("images")
    save_figure(figure, place, title)


def learning_rates(
    table: pl.DataFrame, records: Sequence[Record], place: Place, title: str
) -> None:
    """Draws test accuracy over fine-tuning, one line a rate, the mean over seeds (Fig. 6)."""
    figure, (axes,) = canvas(1)
    cut = table.row(0, named=True)
    for rate in table["rate"]:
        curves = [
            [100 * row["test_accuracy"] for row in record["history"]]
            for record in records
            if record["config"]["fine_tuning"]["learning_rate"] == rate
            and all(
                record["config"][name] == cut[name] for name in ("method", "tau", "images", "curve")
            )
        ]
        mean = np.mean(np.array(curves), axis=0)
        axes.plot(np.arange(1, len(mean) + 1), mean, marker=".", label=f"{rate:g}")
    axes.set_xlabel("epoch of fine-tuning")
    axes.set_ylabel("test accuracy (%)")
    axes.legend(title="initial rate")
    save_figure(figure, place, title)


def scatter(measured: Measured, keep: np.ndarray, tau: float, place: Place, title: str) -> None:
    """Draws each filter's degree and entropy (Fig. 2)."""
    seen = filters.redundancy(measured.similarity, jnp.asarray(keep), tau)
    figure, (axes,) = canvas(1)
    degree, entropy = np.asarray(seen.degree), np.asarray(measured.entropy)
    for stays, label, marker in ((~keep, "removed", "x"), (keep, "kept", "o")):
        axes.scatter(degree[stays], entropy[stays], marker=marker, alpha=0.7, label=label)
    with np.errstate(invalid="ignore"):
        correlation = np.corrcoef(degree, entropy)[0, 1] if len(degree) > 1 else np.nan
    axes.set_xlabel(f"degree: filters more similar than {tau:g}")
    axes.set_ylabel("entropy of the feature maps (nats)")
    axes.legend()
    save_figure(figure, place, f"{title}: correlation {correlation:.2f}")


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
        axes.plot(*position[[first, second]].T, color="0.8", linewidth=0.5, zorder=1)
    removed = ~keep & ~orphans
    limits: dict[str, Any] = {"vmin": 0, "vmax": max(int(core.max()), 1), "cmap": "viridis"}
    for which, label, drawing in (
        (removed, "removed, a similar one stays", {"marker": "o", "s": 35}),
        (orphans, "removed, none similar stays", {"marker": "X", "s": 70}),
        (keep, "kept", {"marker": "o", "s": 110, "edgecolors": "red", "linewidths": 2}),
    ):
        shown = axes.scatter(
            *position[which].T, c=core[which], label=label, zorder=2, **drawing, **limits
        )
    figure.colorbar(shown, ax=axes, label="core number")
    axes.legend(loc="upper right", fontsize="small")
    axes.set_axis_off()
    save_figure(
        figure, place, f"{title}: {int(keep.sum())} of {len(keep)} filters kept, tau {tau:g}"
    )


def busiest(found: Redundancies, thresholds: Mapping[str, float]) -> str:
    """The group whose redundancy graph has most edges."""
    edges = {
        group: float(jnp.sum(measured.similarity > thresholds[group])) - len(measured.entropy)
        for group, measured in found.groups.items()
    }
    return max(edges, key=edges.__getitem__)


def _line(axes: Any, table: pl.DataFrame, x: str, y: str, label: str) -> None:
    axes.errorbar(
        table[x].to_numpy(),
        table[y].to_numpy(),
        yerr=table[f"{y}_spread"].fill_null(0.0).to_numpy(),
        marker="o",
        capsize=3,
        label=label,
    )


STUDIES: dict[str, Callable[[pl.DataFrame, Sequence[Record], Place, str], None]] = {
    "tau": thresholds,
    "criteria": bars,
    "sample_size": sample_sizes,
    "learning_rate": learning_rates,
}
"""Study -> its figure."""

LAYER: dict[str, Callable[[Measured, np.ndarray, float, Place, str], None]] = {
    "degree_entropy": scatter,
    "graph": graph,
}
"""Name of a file -> a figure of one layer."""
