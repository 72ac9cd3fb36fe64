"""From records of filter pruning to tables, and to the figures beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console

from experiments.common.gathering import Recorded, write_table
from experiments.common.outputs import Outputs
from experiments.common.records import Record, diverged
from experiments.common.tables import Table, markdown_table, print_table
from experiments.entropy_kcore import figures
from experiments.entropy_kcore.layers import write_layers
from experiments.entropy_kcore.run import NEEDS, Cut
from experiments.entropy_kcore.selection import METHODS, OURS, Selection, source
from experiments.entropy_kcore.tuning import BATCHES

COLUMNS: dict[str, str] = {
    "drop": "Acc ↓",
    "accuracy": "fine-tuned",
    "pruned": "pruned",
    "flops_reduction": "FR",
    "parameter_reduction": "PR",
}
"""Columns of ``summary`` -> what stands above them; all in %."""

ABOUT = {
    "tau": "Thresholds: entropy-guided k-core pruning at each tau (at 1 nothing goes: fine-tuning "
    "alone).",
    "criteria": "Criteria: which filters of each layer stay, their number being the same.",
    "sample_size": "Sample size: of how many images feature maps are taken.",
    "learning_rate": "Learning rate of fine-tuning.",
}
GATHERED = "All pruned networks that are recorded; % of accuracy, and of what is removed."

CUT = list(Cut._fields)
VARIES = {"tau": "tau", "criteria": "method", "sample_size": "images", "learning_rate": "rate"}


def rows(records: Sequence[Record]) -> pl.DataFrame:
    """One row per pruned network.

    Args:
      records: of kind "pruned".

    Returns:
      Columns method, tau, images, rate, curve, seed, and in %: dense, pruned (before fine-tuning),
      accuracy (after), drop (dense - accuracy), flops_reduction (Eq. 7), parameter_reduction
      (Eq. 8); multiply_adds, parameters; diverged.
    """
    return pl.DataFrame(
        [
            {
                "method": record["config"]["method"],
                "tau": float(record["config"]["tau"]),
                "images": int(record["config"]["images"]),
                "rate": float(record["config"]["fine_tuning"]["learning_rate"]),
                "curve": bool(record["config"]["curve"]),
                "seed": int(record["config"]["seed"]),
                "dense": 100 * record["metrics"]["accuracy_dense"],
                "pruned": 100 * record["metrics"]["accuracy_pruned"],
                "accuracy": 100 * record["metrics"]["accuracy"],
                "drop": 100 * (record["metrics"]["accuracy_dense"] - record["metrics"]["accuracy"]),
                "flops_reduction": 100 * record["metrics"]["flops_reduction"],
                "parameter_reduction": 100 * record["metrics"]["parameter_reduction"],
                "multiply_adds": record["metrics"]["multiply_adds"],
                "parameters": record["metrics"]["parameters"],
                "diverged": diverged(record),
            }
            for record in records
        ]
    )


def summary(frame: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds, with sample standard deviations as ``..._spread`` (null for one seed)."""
    numbers = ("dense", "pruned", "accuracy", "drop", "flops_reduction", "parameter_reduction")
    return frame.group_by(*CUT, maintain_order=True).agg(
        *(pl.col(name).mean() for name in numbers),
        *(pl.col(name).std().alias(f"{name}_spread") for name in numbers),
        pl.col("multiply_adds", "parameters").mean().round().cast(pl.Int64),
        pl.len().alias("seeds"),
        pl.col("diverged").sum(),
    )


def of_study(table: pl.DataFrame, cuts: Sequence[Cut]) -> pl.DataFrame:
    """The rows of a summary that a study asked for, in its order."""
    wanted = pl.DataFrame([cut._asdict() for cut in cuts])
    return wanted.join(table, on=CUT, how="inner")


def lines(
    study: str, table: pl.DataFrame, latency: Mapping[float, Mapping[str, float]]
) -> tuple[list[str], list[list[str]]]:
    """A study's table as text: header and rows."""
    header = [VARIES[study], *COLUMNS.values()]
    if study == "tau":
        header += [f"speed {batch}" for batch in BATCHES]
    body = []
    for row in table.iter_rows(named=True):
        cells = [str(row[VARIES[study]])]
        cells += _numbers(row)
        if study == "tau":
            times = latency.get(row["tau"], {})
            cells += [
                f"{times[f'dense_{batch}'] / times[f'sliced_{batch}']:.2f}" if times else "-"
                for batch in BATCHES
            ]
        body.append(cells)
    return header, body


def _numbers(row: Mapping[str, Any]) -> list[str]:
    """The cells of ``COLUMNS``, the accuracy of networks that diverged marked."""
    cells = {name: _spread(row[name], row[f"{name}_spread"]) for name in COLUMNS}
    if row["diverged"]:
        cells["accuracy"] += f" ({row['diverged']} diverged)"
    return list(cells.values())


def _spread(mean: float, spread: float | None) -> str:
    return f"{mean:.2f}" if spread is None else f"{mean:.1f}±{spread:.1f}"


def write(
    records: Sequence[Record],
    studies: Mapping[Any, Sequence[Cut]],
    selection: Selection | None,
    *,
    tau: float,
    layer: str | None,
    outputs: Outputs,
    title: str,
    settings: str,
    console: Console,
) -> None:
    """Prints a table of each study, and writes tables and figures.

    Args:
      records: of all runs.
      studies: study -> what it pruned.
      selection: of seed 0, for the layer table and the graph; None: there is none.
      tau: the threshold of these.
      layer: the group that the graph is drawn of, or None for the one with most edges.
      outputs: where to, and in which formats.
      title: of tables and figures.
      settings: what all runs share, for the end of the report.
      console: where to print.
    """
    pruned = [record for record in records if record["config"]["kind"] == "pruned"]
    latency = {
        record["config"]["tau"]: record["metrics"]
        for record in records
        if record["config"]["kind"] == "latency"
    }
    table = summary(rows(pruned))
    dense = _spread(table["dense"][0], table["dense_spread"][0])
    text = [f"# {title}\n"]
    console.print(f"[bold]{title}[/]: test accuracy, FR and PR in %, mean±standard deviation")
    for study, cuts in studies.items():
        part = of_study(table, cuts)
        header, body = lines(study, part, latency)
        caption = f"{ABOUT[study]} Dense: {dense} %."
        print_table(console, caption, header, body)
        text += [f"\n{caption}\n\n", markdown_table(header, body)]
        outputs.numbers(study, part)
        outputs.latex(study, header, body, caption)
        place = outputs.figure(study)
        figures.STUDIES[study](part, pruned, place, title)
    if selection is not None:
        accuracies = f"{_accuracies(pruned, tau)}{_times(latency.get(tau))}"
        text += [
            "\n",
            write_layers(selection, tau, layer, outputs, title, accuracies, console),
            "\n",
        ]
    text.append(_legend(records, settings))
    outputs.report("report", "".join(text))


def recorded(records: Sequence[Record]) -> Table:
    """All pruned networks of one data set, model and settings: a row per method and setting.

    Args:
      records: of kind "pruned".
    """
    table = summary(rows(records)).sort("method", "tau", "images", "rate")
    header = ["method", "tau", "images", "rate", "seeds", *COLUMNS.values()]
    body = [
        [
            *(str(row[name]) for name in ("method", "tau", "images", "rate", "seeds")),
            *_numbers(row),
        ]
        for row in table.iter_rows(named=True)
    ]
    return Table(table, GATHERED, header, body)


def _accuracies(records: Sequence[Record], tau: float) -> str:
    """What the network of the layer table reaches."""
    for record in records:
        config = record["config"]
        if (config["method"], config["tau"], config["seed"]) == (OURS, tau, 0):
            metrics = record["metrics"]
            return (
                f" Accuracy: dense {100 * metrics['accuracy_dense']:.2f}, pruned "
                f"{100 * metrics['accuracy_pruned']:.2f}, fine-tuned "
                f"{100 * metrics['accuracy']:.2f} %."
            )
    return ""


def _times(latency: Mapping[str, float] | None) -> str:
    if not latency:
        return ""
    return " Forward pass: " + ", ".join(
        f"batch {batch} {latency[f'dense_{batch}']:.2f} → {latency[f'sliced_{batch}']:.2f} ms"
        for batch in BATCHES
    )


def _legend(records: Sequence[Record], settings: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in records[0]["versions"].items())
    devices = ", ".join(sorted({record["device"] for record in records}))
    dates = sorted(record["date"] for record in records)
    return (
        "Test accuracy in %, mean ± sample standard deviation over seeds; Acc ↓ is what the "
        "fine-tuned network lost against the dense one of its seed, which is not trained on; "
        "pruned: before fine-tuning; FR and PR: the fraction of multiply-adds and of parameters "
        "removed. Speed 1 and 256: how many times as fast as the dense network it takes a batch of "
        "so many images, medians of seed 0, the two in turns; on CPU odd widths are slow, see "
        "--round-to.\n\n"
        f"{settings} {versions}. {devices}, {dates[0]} to {dates[-1]}.\n"
    )


RECORDED = Recorded(
    key="method",
    names=METHODS,
    needs=NEEDS,
    source=source,
    varying=("method", "source", "tau", "images", "seed", "curve", "fine_tuning"),
    read=rows,
    write=write_table(recorded),
    kind="pruned",
)
