"""How well strategies rank pruning methods, as tables that two studies share."""

import numpy as np
import polars as pl

from experiments.common.tables import Table
from experiments.graph_encoding.analysis import MIXTURE, STRATEGIES


def rankings_table(ranked: pl.DataFrame, caption: str) -> Table:
    """A table of ``analysis.rankings``, a row per model and strategy."""
    sparsities = ranked["sparsity"].unique(maintain_order=True).to_list()
    header = ["model, strategy", *(f"{each:g}" for each in sparsities), "mean"]
    body = []
    for model in ranked["model"].unique(maintain_order=True):
        for strategy in ranked["strategy"].unique(maintain_order=True):
            own = ranked.filter((pl.col("model") == model) & (pl.col("strategy") == strategy))
            cells = [
                number(row["overlap"], 2)
                + ("" if row["deviation"] is None else f" ± {row['deviation']:.2f}")
                for row in own.rows(named=True)
            ]
            known = own["overlap"].drop_nans()
            mean = float("nan") if known.is_empty() else float(np.mean(known.to_numpy()))
            body.append([f"{model}, {STRATEGIES[strategy]}", *cells, number(mean, 2)])
    caption += "; rank-biased overlap with the order of accuracies, 1: the same, by sparsity"
    return Table(ranked, caption, header, body)


def who_wins(ranked: pl.DataFrame) -> str:
    """Whether the mixture ranks better than what is read off the masks at once."""
    lines = []
    for model in ranked["model"].unique(maintain_order=True):
        own = ranked.filter(pl.col("model") == model)
        means = dict(
            own.group_by("strategy", maintain_order=True).agg(pl.col("overlap").mean()).rows()
        )
        if MIXTURE in means and "density" in means:
            verb = "beats" if means[MIXTURE] > means["density"] else "does not beat"
            lines.append(
                f"{model}: the mixture {verb} layer density ({means[MIXTURE]:.2f}, "
                f"{means['density']:.2f})"
            )
    return "; ".join(lines) + "."


def number(value: float, digits: int) -> str:
    """A number as tables show it."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"
