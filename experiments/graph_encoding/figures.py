"""Figures of the analysis: correlations as a map of colours, ranking scores as bars."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.common.figures import canvas, save_figure
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
    figure, panels = canvas(2, height=6.0)
    drawn = None
    for axes, (by, said) in zip(
        panels, (("sparsity", "sparsity"), ("model", "model")), strict=True
    ):
        rows = frame.filter(pl.col("by") == by)
        values = rows["value"].unique(maintain_order=True).to_list()
        table = np.full((len(features), len(values)), np.nan)
        for value, feature, r in rows.select("value", "feature", "r").rows():
            table[features.index(feature), values.index(value)] = r
        drawn = axes.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for row, column in np.ndindex(table.shape):
            shown = "-" if np.isnan(table[row, column]) else f"{table[row, column]:.2f}"
            dark = abs(np.nan_to_num(table[row, column])) > 0.6
            colour = "white" if dark else "black"
            axes.text(column, row, shown, ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(values)), values, fontsize="small")
        axes.set_yticks(range(len(features)), features, fontsize="small")
        axes.grid(visible=False)
        axes.set_xlabel(said)
    figure.colorbar(drawn, ax=list(panels), label="Pearson's r with the drop in accuracy")
    save_figure(figure, place, title)


def rankings(frame: pl.DataFrame, place: Place, title: str) -> None:
    """Draws how well each strategy ranks methods, a panel per model.

    Args:
      frame: from ``analysis.rankings``.
      place: where the figure goes.
      title: what the networks are.
    """
    models = frame["model"].unique(maintain_order=True).to_list()
    figure, panels = canvas(len(models), height=3.8)
    for axes, model in zip(panels, models, strict=True):
        rows = frame.filter(pl.col("model") == model)
        sparsities = rows["sparsity"].unique(maintain_order=True).to_list()
        names = rows["strategy"].unique(maintain_order=True).to_list()
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            own = rows.filter(pl.col("strategy") == name)
            axes.bar(
                np.arange(len(sparsities)) + (number - (len(names) - 1) / 2) * width,
                own["overlap"].to_numpy(),
                width,
                yerr=_bars(own["deviation"]),
                label=STRATEGIES[name],
                color=f"C{number}",
            )
        axes.set_xticks(range(len(sparsities)), [f"{each:g}" for each in sparsities])
        axes.set(xlabel="sparsity", title=model, ylim=(0, 1.3))
    panels[0].set_ylabel("rank-biased overlap")
    panels[0].legend(fontsize="x-small", ncols=2)
    save_figure(figure, place, title)


def _bars(deviations: Sequence[float | None] | pl.Series) -> list[float] | None:
    values = [0.0 if one is None else one for one in deviations]
    return values if any(values) else None
