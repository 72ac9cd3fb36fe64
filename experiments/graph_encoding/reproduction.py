"""The paper's tables from the published data, beside the paper's own numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from experiments.common.page import Page
from experiments.common.tables import Table
from experiments.graph_encoding import analysis, figures, published
from experiments.graph_encoding.analysis import STRATEGIES
from experiments.graph_encoding.ranked import rankings_table, who_wins
from experiments.graph_encoding.run import RAMANUJAN
from prunejax.topology import METRICS


def write_published(reference: Path, page: Page, repeats: int, *, compat: bool = False) -> None:
    """Tables 3, 4, 11 and 12 from the published data, beside the paper's.

    Args:
      reference: the folder of the data.
      page: where they go.
      repeats: of each cross-validation.
      compat: reads the layers' tables in the way that comes nearest to the paper's Table 4.

    Raises:
      FileNotFoundError: a file is missing.
    """
    order = pl.col("model").cast(pl.Enum(published.MODELS))
    frames = {
        name: published.read(reference, encoding).sort(order, "sparsity", maintain_order=True)
        for encoding, name in published.ENCODINGS.items()
    }
    found = {
        name: analysis.regressions(frame, list(METRICS), repeats=repeats)
        for name, frame in frames.items()
    }
    page.add("table3", _table_3(found))
    measured = frames["multipartite"]
    networks = (
        published.layer_metrics(reference, compat=compat)
        .join(measured.drop("accuracy", "drop"), on=list(analysis.KEY), how="left")
        .sort(order, "sparsity", maintain_order=True)
    )
    asked = len(published.METHODS) * len(published.MODELS) * len(published.DATASETS) * 15
    holes = sum(found["multipartite"]["left_out"][5:])
    page.say(
        f"{asked - measured.height} of {asked} networks are missing in the published table; "
        f"{holes} have a metric that is not finite, and are left out of the regressions."
    )
    ranked = analysis.rankings(networks, missing_first=compat)
    page.add("table4", _table_4(ranked))
    page.say(who_wins(ranked))
    for name, methods, said in (
        ("table11", published.AT_INITIALISATION, "pruning at initialisation (Table 11)"),
        ("table12", published.RANDOM, "random pruning by layers (Table 12)"),
    ):
        some = analysis.rankings(networks, methods, missing_first=compat)
        page.add(name, rankings_table(some, f"Ranking of {said}: {', '.join(methods)}"))
    correlated = analysis.correlations(networks, [*METRICS, *RAMANUJAN])
    page.outputs.numbers("correlation", correlated)
    figures.correlations(correlated, page.outputs.figure("correlation"), page.title)
    figures.rankings(ranked, page.outputs.figure("ranking"), page.title)


def _table_3(found: Mapping[str, pl.DataFrame]) -> Table:
    rows, body, columns = [], [], []
    for measure, paper, digits in (
        ("r2", published.TABLE_3, 2),
        ("mae", published.TABLE_3_MAE, 3),
    ):
        for name, frame in found.items():
            columns = frame["value"].to_list()
            ours, theirs = frame[measure].to_list(), paper[name]
            said = "adjusted R2" if measure == "r2" else "MAE"
            shown = [f"{a:.{digits}f}/{b:.{digits}f}" for a, b in zip(ours, theirs, strict=True)]
            away = float(np.mean(np.abs(np.array(ours) - theirs)))
            body.append([f"{said}, {name}", *shown, f"{away:.3f}"])
            rows += [
                {"measure": measure, "encoding": name, "cell": cell, "ours": a, "paper": b}
                for cell, a, b in zip(columns, ours, theirs, strict=True)
            ]
    caption = (
        "Table 3: least squares regression of the drop in accuracy, ours/paper; the last column is "
        "the mean absolute difference"
    )
    return Table(pl.DataFrame(rows), caption, ["", *columns, "apart"], body)


def _table_4(ranked: pl.DataFrame) -> Table:
    rows, body = [], []
    for place, model in enumerate(published.MODELS):
        for strategy, paper in published.TABLE_4.items():
            own = ranked.filter((pl.col("model") == model) & (pl.col("strategy") == strategy))
            ours = own.sort("sparsity")["overlap"].to_list()
            theirs = paper[place]
            shown = [f"{a:.2f}/{b:.2f}" for a, b in zip(ours, theirs, strict=True)]
            mean = f"{np.mean(ours):.2f}/{np.mean(theirs):.2f}"
            body.append([f"{model}, {STRATEGIES[strategy]}", *shown, mean])
            rows += [
                {"model": model, "strategy": strategy, "sparsity": s, "ours": a, "paper": b}
                for s, a, b in zip(published.SPARSITIES, ours, theirs, strict=True)
            ]
    frame = pl.DataFrame(rows)
    away = frame.group_by("strategy", maintain_order=True).agg(
        (pl.col("ours") - pl.col("paper")).abs().mean().alias("apart")
    )
    apart = ", ".join(f"{STRATEGIES[name]} {value:.3f}" for name, value in away.rows())
    caption = (
        "Table 4: rank-biased overlap of each strategy's ranking with that of accuracies, "
        f"ours/paper, by sparsity. Mean absolute differences: {apart}"
    )
    header = ["model, strategy", *(f"{each:g}" for each in published.SPARSITIES), "mean"]
    return Table(frame, caption, header, body)
