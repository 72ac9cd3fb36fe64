"""Tables and figures of the studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from experiments.common import networks, trained
from experiments.common.desk import Desk
from experiments.common.gathering import Recorded, write_table
from experiments.common.methods import METHODS, settings
from experiments.common.page import Page
from experiments.common.protocol import DENSE
from experiments.common.records import Record
from experiments.common.run import need
from experiments.common.tables import Table
from experiments.graph_encoding import analysis, figures, pictures
from experiments.graph_encoding.ranked import number, rankings_table, who_wins
from experiments.graph_encoding.run import (
    RAMANUJAN,
    Encoded,
    Neurons,
    Tracked,
    dense_of,
)
from prunejax import topology
from prunejax.topology import METRICS


def frame_of(records: Mapping[Any, Record], desk: Desk) -> pl.DataFrame:
    """A row per encoded network, as ``analysis`` takes it; a diverged one is left out."""
    rows = []
    for run, record in records.items():
        if not isinstance(run, Encoded) or run.network.pruning is None:
            continue
        dense = need(dense_of(run.network), desk.results)["metrics"]["accuracy"]
        metrics = record["metrics"]
        rows.append(
            {
                "model": run.network.setup.model,
                "dataset": run.network.setup.dataset,
                "method": run.network.pruning.method,
                "sparsity": run.network.pruning.sparsity,
                "seed": run.network.seed,
                "accuracy": metrics["accuracy"],
                "drop": 1 - metrics["accuracy"] / dense,
                **metrics["topometrics"],
                **metrics["layers"],
                "nodes": metrics["nodes"],
                "edges": metrics["edges"],
            }
        )
    return pl.DataFrame(rows).sort("model", "sparsity", maintain_order=True)


def write_pool(frame: pl.DataFrame, model: str, page: Page) -> None:
    """Accuracies, regressions, correlations and rankings of networks that were trained here.

    Args:
      frame: from ``frame_of``.
      model: a name in ``topology.REGRESSORS``.
      page: where they go.
    """
    page.outputs.numbers("networks", frame)
    page.add("accuracy", _accuracies(frame))
    sets = {
        "multipartite": list(METRICS),
        "layers (density, Ramanujan)": list(RAMANUJAN),
        "layer density alone": ["density"],
    }
    page.add("regression", _regressions(frame, sets, model))
    features = [*METRICS, *RAMANUJAN]
    correlated = analysis.correlations(frame, features)
    page.outputs.numbers("correlation", correlated)
    figures.correlations(correlated, page.outputs.figure("correlation"), page.title)
    ranked = analysis.rankings(frame)
    page.add("ranking", rankings_table(ranked, "How well each strategy ranks the methods"))
    figures.rankings(ranked, page.outputs.figure("ranking"), page.title)
    page.say(who_wins(ranked))


def write_tracked(records: Mapping[Any, Record], page: Page) -> None:
    """How graphs change as networks are pruned or rewired."""
    titles = [run.setup.title for run in records if isinstance(run, Tracked)]
    histories: dict[str, list[Any]] = {}
    for run, record in records.items():
        if isinstance(run, Tracked):
            histories.setdefault(run.method, []).append(record["history"])
    if not histories:
        return
    header = ["method", "accuracy (%)", *(said for _, said in pictures.TRACKED)]
    rows = []
    for method, seeds in histories.items():
        last = [history[-1] for history in seeds]
        means = {name: float(np.mean([row[name] for row in last])) for name in last[0]}
        rows.append({"method": method, **means})
    body = [
        [
            row["method"],
            f"{100 * row['test_accuracy']:.1f}",
            *(f"{row[name]:,.0f}" for name, _ in pictures.TRACKED),
        ]
        for row in rows
    ]
    caption = "Graphs of networks that are pruned or rewired as they train, after the last epoch"
    page.add("tracked", Table(pl.DataFrame(rows), caption, header, body))
    pictures.tracked(histories, page.outputs.figure("tracked"), titles[0])


def write_neurons(records: Mapping[Any, Record], page: Page) -> None:
    """Three papers' ideas of importance, and how they agree."""
    rows = [
        {"seed": run.network.seed, **neuron}
        for run, record in records.items()
        if isinstance(run, Neurons)
        for neuron in record["metrics"]["neurons"]
    ]
    if not rows:
        return
    frame = pl.DataFrame(rows)
    page.outputs.numbers("neurons", frame)
    names = [*(name for name, _ in pictures.IDEAS), "loss_gained"]
    said = dict(pictures.IDEAS) | {"loss_gained": "loss gained"}
    agreement = []
    for one in names:
        row: dict[str, Any] = {"idea": said[one]}
        for other in names:
            row[other] = _mean_rank_correlation(frame, one, other)
        agreement.append(row)
    body = [[row["idea"], *(number(row[name], 2) for name in names)] for row in agreement]
    caption = (
        "Spearman's correlation of what makes a neuron important, within layers, mean over layers "
        "and seeds; the last column is what they stand for: the test loss gained without the neuron"
    )
    header = ["idea", *(said[name] for name in names)]
    page.add("agreement", Table(pl.DataFrame(agreement), caption, header, body))
    worth = {row["idea"]: row["loss_gained"] for row in agreement}
    ideas = {name: worth[said[name]] for name, _ in pictures.IDEAS}
    pictures.neurons(frame, ideas, page.outputs.figure("neurons"), page.title)


def draw_one(records: Mapping[Any, Record], page: Page, desk: Desk) -> None:
    """Draws the smallest graph: layers left to right."""
    encoded = [run for run in records if isinstance(run, Encoded) and run.network.pruning]
    if not encoded:
        return
    run = min(encoded, key=lambda each: records[each]["metrics"]["edges"])
    bench = run.network.setup.bench(desk)
    params = trained.initial(bench, run.network.seed)["params"]
    graph = topology.encode(bench.traced, networks.masks_of(run.network, bench, desk), params)
    title = f"{run.network.setup.title}: {run.network.title}"
    pictures.graph(graph, page.outputs.figure("graph"), title)


def _accuracies(frame: pl.DataFrame) -> Table:
    means = frame.group_by("model", "method", "sparsity", maintain_order=True).agg(
        pl.col("accuracy").mean(), pl.col("accuracy").std().alias("deviation")
    )
    sparsities = sorted(frame["sparsity"].unique())
    header = ["model, method", *(f"{sparsity:g}" for sparsity in sparsities)]
    body = []
    for model in frame["model"].unique(maintain_order=True):
        for method in frame["method"].unique(maintain_order=True):
            line = [f"{model}, {method}"]
            for sparsity in sparsities:
                row = means.filter(
                    (pl.col("model") == model)
                    & (pl.col("method") == method)
                    & (pl.col("sparsity") == sparsity)
                )
                line.append("" if row.is_empty() else f"{100 * row['accuracy'][0]:.1f}")
            body.append(line)
    return Table(means, "Test accuracy (%) by sparsity, mean over seeds", header, body)


def _regressions(frame: pl.DataFrame, sets: Mapping[str, list[str]], model: str) -> Table:
    found = pl.concat(
        [
            analysis.regressions(frame, features, model=model).with_columns(
                pl.lit(name).alias("features")
            )
            for name, features in sets.items()
        ]
    )
    values = found["value"].unique(maintain_order=True).to_list()
    body = []
    for measure, digits in (("r2", 2), ("mae", 3)):
        for name in sets:
            own = dict(found.filter(pl.col("features") == name).select("value", measure).rows())
            shown = [number(own[value], digits) for value in values]
            body.append([f"{'adjusted R2' if measure == 'r2' else 'MAE'}, {name}", *shown])
    caption = (
        f"Regression ({model}) of the drop in accuracy, 5-fold cross-validation, among networks of "
        "one sparsity or of one model"
    )
    return Table(found, caption, ["", *values], body)


def _mean_rank_correlation(frame: pl.DataFrame, one: str, other: str) -> float:
    found = []
    for _, rows in frame.group_by("seed", "group", maintain_order=True):
        x, y = (rows[name].rank().to_numpy() for name in (one, other))
        known = np.isfinite(rows[one].to_numpy()) & np.isfinite(rows[other].to_numpy())
        if known.sum() > 2 and np.ptp(x[known]) and np.ptp(y[known]):
            found.append(np.corrcoef(x[known], y[known])[0, 1])
    return float(np.mean(found)) if found else float("nan")


def recorded(records: Sequence[Record]) -> Table:
    """What is recorded of one model and data set: topometrics of pruned networks."""
    rows = []
    for record in records:
        config, metrics = record["config"], record["metrics"]
        rows.append(
            {
                "method": config["method"],
                "sparsity": config["sparsity"],
                "seed": config["seed"],
                "accuracy": metrics["accuracy"],
                "nodes": metrics["nodes"],
                "edges": metrics["edges"],
                **metrics["topometrics"],
            }
        )
    frame = pl.DataFrame(rows).sort("method", "sparsity", "seed")
    means = frame.group_by("method", "sparsity", maintain_order=True).agg(
        pl.col("accuracy", "edges", "k_core", "spectral_gap").mean()
    )
    header = ["method", "sparsity", "accuracy (%)", "edges", "k-core", "spectral gap"]
    body = [
        [
            method,
            f"{sparsity:g}",
            f"{100 * accuracy:.1f}",
            f"{edges:,.0f}",
            f"{core:.2g}",
            f"{gap:.3g}",
        ]
        for method, sparsity, accuracy, edges, core, gap in means.rows()
    ]
    return Table(frame, "graphs of pruned networks, means over seeds", header, body)


RECORDED = Recorded(
    key="method",
    names=(DENSE, *METHODS),
    needs=Encoded.metrics,
    source=lambda name: None if name == DENSE else settings(name)["source"],
    varying=("method", "method_settings", "sparsity", "seed", "score_examples", "source"),
    read=recorded,
    write=write_table(recorded),
    kind="encoded",
)
