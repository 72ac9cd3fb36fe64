"""From records of the comparison to a table and a figure: accuracy by method and sparsity."""

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape

from experiments.common import chart
from experiments.common.figures import canvas, in_order, save_figure, styles
from experiments.common.gathering import Recorded
from experiments.common.methods import NAMES, settings
from experiments.common.outputs import DEFAULT, Format, Outputs, Place
from experiments.common.plugins import is_plugin
from experiments.common.protocol import DENSE
from experiments.common.records import Record, config_hash, diverged
from experiments.common.shape import Shape
from experiments.common.tables import markdown_table, print_table
from experiments.compare.run import NEEDS


def rows(records: Sequence[Record]) -> pl.DataFrame:
    """One row per run: what identifies it and its numbers.

    Args:
      records: records of the comparison.

    Returns:
      Columns dataset, model, method, sparsity, seed, accuracy (%), accuracy_pruned (%, before
      fine-tuning; null where there is none), kept_weights, kept_parameters,
      empty_layers (their number), diverged, scoring_seconds, training_seconds, settings (a hash of
      the rest of the configuration: runs that share it may be averaged).
    """
    return pl.DataFrame(
        [
            {
                "dataset": record["config"]["dataset"],
                "model": record["config"]["model"],
                "method": record["config"]["method"],
                "sparsity": float(record["config"]["sparsity"]),
                "seed": int(record["config"]["seed"]),
                "accuracy": _percent(record["metrics"]["accuracy"]),
                "accuracy_pruned": _percent(record["metrics"].get("accuracy_pruned")),
                "kept_weights": operator.index(record["metrics"]["kept_weights"]),
                "kept_parameters": operator.index(record["metrics"]["kept_parameters"]),
                "empty_layers": len(record["metrics"]["empty_layers"]),
                "diverged": diverged(record),
                "scoring_seconds": float(record["seconds"]["scoring"]),
                "training_seconds": float(record["seconds"]["training"]),
                "settings": config_hash(
                    {
                        name: value
                        for name, value in record["config"].items()
                        if name not in ("method", "method_settings", "sparsity", "seed")
                    }
                )[:6],
            }
            for record in records
        ],
        schema_overrides={"accuracy_pruned": pl.Float64},
    )


def _percent(share: float | None) -> float | None:
    """An accuracy in %, from one in [0, 1].

    Raises:
      ValueError: it is none.
    """
    if share is None or math.isnan(share):
        return share
    if not 0 <= share <= 1:
        raise ValueError(f"an accuracy is in [0, 1], not {share}")
    return 100 * share


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with "dense" first and then the methods in the order of ``NAMES``."""
    place = {method: index for index, method in enumerate(in_order(frame["method"]))}
    return frame.sort(
        pl.col("method").replace_strict(place), "sparsity", "seed", maintain_order=True
    )


def summary(frame: pl.DataFrame) -> pl.DataFrame:
    """Means and spreads over seeds.

    Args:
      frame: from ``rows``.

    Returns:
      One row for each data set, model, settings, method and sparsity, in the order of the frame:
      ``accuracy`` (mean, %), ``accuracy_pruned`` (mean, %, before fine-tuning),
      ``spread`` (sample standard deviation over seeds, null for one),
      ``lowest``, ``highest``, ``seeds``, ``kept_parameters``, ``empty_layers`` (most in any run),
      ``diverged`` (how many), ``scoring_seconds`` (median: the first run of a program also compiles
      it).
    """
    return frame.group_by(
        "dataset", "model", "settings", "method", "sparsity", maintain_order=True
    ).agg(
        pl.col("accuracy").mean().alias("accuracy"),
        pl.col("accuracy").std().alias("spread"),
        pl.col("accuracy").min().alias("lowest"),
        pl.col("accuracy").max().alias("highest"),
        pl.col("accuracy_pruned").mean(),
        pl.len().alias("seeds"),
        pl.col("kept_parameters").mean().round().cast(pl.Int64),
        pl.col("empty_layers").max(),
        pl.col("diverged").sum(),
        pl.col("scoring_seconds").median(),
        pl.col("training_seconds").median(),
    )


def pivot(table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Lays a summary of one comparison out as people read it: methods down, sparsities across.

    Args:
      table: rows of ``summary`` of one data set, model and settings.

    Returns:
      The header and the rows, as text.
    """
    sparsities = _sparsities(table) or [0.0]  # of the dense network alone
    header = ["method", *(f"{value:.4g}" for value in sparsities), "scoring s"]
    lines, most = [], int(table["seeds"].to_numpy().max())
    for method in dict.fromkeys(table["method"]):
        part = table.filter(pl.col("method") == method)
        if method == DENSE:
            lines.append([method, _accuracy(part, most), *([""] * (len(sparsities) - 1)), ""])
            continue
        cells = [_accuracy(part.filter(pl.col("sparsity") == value), most) for value in sparsities]
        lines.append([method, *cells, f"{part['scoring_seconds'].median():.3g}"])
    kept = [
        f"{table.filter(pl.col('sparsity') == value)['kept_parameters'].max():,}"
        for value in sparsities
    ]
    lines.append(["parameters kept", *kept, ""])
    return header, lines


def _sparsities(table: pl.DataFrame) -> list[float]:
    return sorted(table.filter(pl.col("method") != DENSE)["sparsity"].unique())


def _accuracy(part: pl.DataFrame, most: int) -> str:
    """A cell; where it is of fewer seeds than others it says so."""
    if part.is_empty():
        return "-"
    row = part.row(0, named=True)
    spread = "" if row["spread"] is None else f" ± {row['spread']:.1f}"
    # A layer of which nothing is left cannot pass anything on, and numbers that are not finite say
    # nothing: the accuracy is that of guessing.
    marks = "" if not row["empty_layers"] else " (empty layer)"
    if row["seeds"] < most:
        marks += f" (n={row['seeds']})"
    if row["diverged"]:
        of = "" if row["diverged"] == row["seeds"] else f"{row['diverged']} of {row['seeds']} "
        marks += f" ({of}diverged)"
    return f"{row['accuracy']:.1f}{spread}{marks}"


def markdown(table: pl.DataFrame) -> str:
    """The table of ``pivot`` in Markdown."""
    return markdown_table(*pivot(table))


def figure(table: pl.DataFrame, place: Place, title: str) -> None:
    """Draws accuracy against what is kept, a line per method, the spread over seeds as a band.

    Args:
      table: rows of ``summary`` of one data set, model and settings.
      place: where to.
      title: the network, and what is pruned of it.
    """
    pruned = table.filter(pl.col("method") != DENSE)
    drawn, (axes,) = canvas(1, height=chart.height_for(pruned["method"].n_unique()))
    dense = table.filter(pl.col("method") == DENSE)["accuracy"].to_list()
    references = [(f"{DENSE} ({value:.1f})", value) for value in dense]
    looks, lines = styles(pruned["method"]), []
    for method in looks:
        part = pruned.filter(pl.col("method") == method).sort("sparsity")
        kept = 1 - part["sparsity"].to_numpy()
        lines.append(chart.line(method, kept, part["accuracy"], part["spread"], looks[method]))
    settings = title
    if lines:
        chart.density_axis(axes, _sparsities(table), "weights")
        seeds, band = pruned["seeds"].to_list(), "band" if len(_sparsities(table)) > 1 else "stroke"
        settings += f"; {chart.band_words(min(seeds), max(seeds), band=band)}"
        if chart.draw(axes, lines, references=references):
            settings += f". {chart.BELOW}"
    else:
        axes.axhline(references[0][1], color="black", label=references[0][0])
        axes.legend()
        axes.set_xticks([])
    axes.set_ylabel("test accuracy (%)")
    save_figure(drawn, place, "Test accuracy as more weights are pruned", settings)


def details(record: Record) -> str:
    """One paragraph on what the runs of a comparison share: settings, versions, device, date."""
    protocol = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in record["config"].get("protocol", {}).items()
        if value is not None
    )
    tuned = record["config"].get("tuning")
    when = ""
    if tuned:
        when = (
            f"Trained, pruned, then trained on for {tuned['epochs']} epochs at a rate of "
            f"{tuned['learning_rate']} ({tuned['schedule']}); the dense network is not trained on. "
        )
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return (
        "Test accuracy in %, mean ± sample standard deviation over seeds; columns are the fraction "
        "of prunable weights removed; scoring in seconds, the median over runs.\n\n"
        f"{when}Settings: {protocol}. {versions}. {record['device']}, {record['date']}.\n"
    )


def write(
    frame: pl.DataFrame,
    folder: Path,
    title: str,
    console: Console,
    about: str = "",
    formats: Sequence[Format] = DEFAULT,
) -> list[Path]:
    """Prints one comparison's table, and writes it beside the figure.

    Args:
      frame: ``rows`` of one data set, model and settings.
      folder: where to; made where it is missing.
      title: of table and figure.
      console: where to print.
      about: a paragraph for the Markdown file, from ``details``.
      formats: of the files.

    Returns:
      The files written.
    """
    table = summary(frame)
    header, lines = pivot(table)
    shown = [
        [f"{DENSE} (sparsity 0)" if line[0] == DENSE else line[0], *line[1:]] for line in lines
    ]
    ends = [index for index, line in enumerate(lines) if line[0] == DENSE]
    caption = f"{title}: test accuracy (%), mean ± standard deviation over seeds"
    print_table(console, caption, header, shown, ends=[*ends, len(lines) - 2])
    outputs = Outputs(folder, formats)
    outputs.numbers("accuracy", table)
    outputs.report("accuracy", f"# {title}\n\n{markdown(table)}\n{about}")
    outputs.latex("accuracy", header, lines, caption)
    figure(table, outputs.figure("accuracy"), title)
    return outputs.files


def folder_of(frame: pl.DataFrame, root: Path, asked: str = "") -> Path:
    """Where one comparison's files go: a folder for each data set, model and settings.

    Args:
      frame: ``rows`` of one data set, model and settings.
      root: of all results.
      asked: what tells a command from another one of the same settings; "" for all recorded runs.
    """
    dataset, model, settings = frame.select("dataset", "model", "settings").row(0)
    return root / "compare" / "-".join(filter(None, (dataset, model, settings, asked)))


def said_of(config: Mapping[str, Any]) -> str:
    """When the networks of a configuration are pruned, and in what shape, for a heading.

    Args:
      config: of a record, or what several share.
    """
    asked = (config.get("pattern"), config.get("exclude", ()), config.get("layers", {}))
    shape = Shape(asked[0], tuple(asked[1]), tuple(asked[2].items()))
    return f", {when(tuned=bool(config.get('tuning')))}{shape.said()}"


def when(*, tuned: bool) -> str:
    """When networks are pruned."""
    return "pruned after training" if tuned else "pruned before or during training"


def _source(method: str) -> str | None:
    if is_plugin(method):  # a record from elsewhere must not make this process run a file
        return None
    return settings(method)["source"]


def _write(
    records: Sequence[Record],
    folder: Path,
    title: str,
    formats: Sequence[Format],
    console: Console,
) -> Sequence[Path]:
    """Prints and writes what is recorded of one network and protocol."""
    about = details(records[0])
    files = write(ordered(rows(records)), folder, title, console, about, formats)
    console.print(escape(about.splitlines()[-1]), highlight=False)
    return files


RECORDED = Recorded(
    key="method",
    names=(DENSE, *NAMES),
    others=is_plugin,
    said=said_of,
    needs=NEEDS,
    source=_source,
    varying=("method", "method_settings", "sparsity", "seed"),
    read=rows,
    write=_write,
)
