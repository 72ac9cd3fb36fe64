"""Figures of the analysis: correlations as a map of colours, ranking scores as lines."""

import numpy as np
import polars as pl

from experiments.common import chart
from experiments.common.figures import canvas, legend, look, save_figure
from experiments.common.outputs import Place
from experiments.graph_encoding.analysis import STRATEGIES


def correlations(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws the correlation of each feature with the drop, by sparsity and by model.

    Args:
      frame: from ``analysis.correlations``.
      place: where the figure goes.
      title: what the networks are.
    """
    features = frame["feature"].unique(maintain_order=True).to_list()
    parts = [(by, frame.filter(pl.col("by") == by)) for by in ("sparsity", "model")]
    widths = [rows["value"].n_unique() for _, rows in parts]
    figure, panels = canvas(
        2, height=1.6 + 0.24 * len(features), sharey=True, width_ratios=[max(2, n) for n in widths]
    )
    drawn = None
    for axes, (by, rows) in zip(panels, parts, strict=True):
        values = rows["value"].unique(maintain_order=True).to_list()
        table = np.full((len(features), len(values)), np.nan)
        for value, feature, r in rows.select("value", "feature", "r").rows():
            table[features.index(feature), values.index(value)] = r
        drawn = axes.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for row, column in np.ndindex(table.shape):
            shown = "-" if np.isnan(table[row, column]) else f"{table[row, column]:z.2f}"
            dark = abs(np.nan_to_num(table[row, column])) > 0.6
            colour = "white" if dark else "black"
            axes.text(column, row, shown, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(values)), values)
        axes.set_yticks(range(len(features)), features)
        axes.grid(visible=False)
        axes.set_xlabel(f"networks of one {by}")
    figure.colorbar(
        drawn, ax=list(panels), label="correlation with the drop (1: rises with it)", aspect=40
    )
    title = f"{title}; Pearson's r between a metric of the graph and the drop in accuracy"
    save_figure(figure, place, "Which metrics of graphs go with the drop in accuracy", title)


def rankings(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws how well each strategy ranks methods, a panel per model.

    Args:
      frame: from ``analysis.rankings``.
      place: where the figure goes.
      title: what the networks are.
    """
    models = frame["model"].unique(maintain_order=True).to_list()
    figure, panels = canvas(
        len(models), columns=min(2, len(models)), height=1.2 + 2.6 * (-(-len(models) // 2))
    )
    names = frame["strategy"].unique(maintain_order=True).to_list()
    for axes, model in zip(panels, models, strict=True):
        rows, lines = frame.filter(pl.col("model") == model), []
        for number, name in enumerate(names):
            own = rows.filter(pl.col("strategy") == name)
            deviation = own["deviation"].cast(pl.Float64).fill_null(np.nan)
            kept = 1 - own["sparsity"].to_numpy()
            looks = look(number)
            lines.append(chart.line(STRATEGIES[name], kept, own["overlap"], deviation, looks))
        chart.density_axis(axes, rows["sparsity"].unique().to_list())
        chart.draw(axes, lines, names=False, whole=True)
        axes.set(xlabel="sparsity, and weights kept (log axis)", title=model, ylim=(-0.04, 1.04))
        axes.set_ylabel("rank-biased overlap")
    legend(figure, panels)
    datasets = max(frame["datasets"].to_list())
    spread = f"band: one standard deviation over {datasets} data sets" if datasets > 1 else ""
    said = "; ".join(
        filter(None, (title, "1: the order of their accuracies, 0: no agreement", spread))
    )
    save_figure(figure, place, "How well each strategy ranks pruning methods", said)
