"""From records to tables and figures.

    python -m experiments.report     all recorded comparisons under results/

Prints, for each data set and model, accuracy by method and sparsity, and writes the same as CSV,
Markdown and PNG. (Other experiments report when their command is given again: nothing is done
twice.)
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from experiments import results
from experiments.protocol import DENSE
from prunejax.files import write_atomically


@dataclass(frozen=True)
class Report:
    """Gathers recorded runs into tables (CSV, Markdown) and a figure (PNG) per comparison.

    Attributes:
      results: where results are kept.
    """

    results: Path = Path("results")


EXPERIMENT = "compare"
NEEDS = ("accuracy", "kept_weights", "kept_parameters", "empty_layers")
"""The metrics that a record must have to be reported."""


def rows(records: Sequence[results.Record]) -> pl.DataFrame:
    """One row a run: what identifies it and its numbers.

    Args:
      records: records of ``experiments.results``.

    Returns:
      Columns dataset, model, method, sparsity, seed, accuracy (%), kept_weights, kept_parameters,
      empty_layers (their number), scoring_seconds, training_seconds, settings (a hash of the rest
      of the configuration: runs that share it may be averaged).
    """
    return pl.DataFrame(
        [
            {
                "dataset": record["config"]["dataset"],
                "model": record["config"]["model"],
                "method": record["config"]["method"],
                "sparsity": float(record["config"]["sparsity"]),
                "seed": int(record["config"]["seed"]),
                "accuracy": 100 * record["metrics"]["accuracy"],
                "kept_weights": record["metrics"]["kept_weights"],
                "kept_parameters": record["metrics"]["kept_parameters"],
                "empty_layers": len(record["metrics"]["empty_layers"]),
                "scoring_seconds": record["seconds"]["scoring"],
                "training_seconds": record["seconds"]["training"],
                "settings": results.config_hash(
                    {
                        name: value
                        for name, value in record["config"].items()
                        if name not in ("method", "method_settings", "sparsity", "seed")
                    }
                )[:6],
            }
            for record in records
        ]
    )


def summary(frame: pl.DataFrame) -> pl.DataFrame:
    """Means and spreads over seeds.

    Args:
      frame: from ``rows``.

    Returns:
      One row for each data set, model, settings, method and sparsity, in the order of the frame:
      ``accuracy`` (mean, %), ``spread`` (sample standard deviation over seeds, null for one),
      ``lowest``, ``highest``, ``seeds``, ``kept_parameters``, ``empty_layers`` (most in any run),
      ``scoring_seconds`` (median: the first run of a program also compiles it).
    """
    return frame.group_by(
        "dataset", "model", "settings", "method", "sparsity", maintain_order=True
    ).agg(
        pl.col("accuracy").mean().alias("accuracy"),
        pl.col("accuracy").std().alias("spread"),
        pl.col("accuracy").min().alias("lowest"),
        pl.col("accuracy").max().alias("highest"),
        pl.len().alias("seeds"),
        pl.col("kept_parameters").mean().round().cast(pl.Int64),
        pl.col("empty_layers").max(),
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
    sparsities = _sparsities(table)
    header = ["method", *(f"{value:.4g}" for value in sparsities), "scoring s"]
    lines = []
    for method in dict.fromkeys(table["method"]):
        part = table.filter(pl.col("method") == method)
        if method == DENSE:
            lines.append([method, _accuracy(part), *([""] * (len(sparsities) - 1)), ""])
            continue
        cells = [_accuracy(part.filter(pl.col("sparsity") == value)) for value in sparsities]
        lines.append([method, *cells, f"{part['scoring_seconds'].median():.3g}"])
    kept = [
        f"{table.filter(pl.col('sparsity') == value)['kept_parameters'].max():,}"
        for value in sparsities
    ]
    lines.append(["parameters kept", *kept, ""])
    return header, lines


def _sparsities(table: pl.DataFrame) -> list[float]:
    return sorted(table.filter(pl.col("method") != DENSE)["sparsity"].unique())


def _accuracy(part: pl.DataFrame) -> str:
    if part.is_empty():
        return "-"
    row = part.row(0, named=True)
    spread = "" if row["spread"] is None else f" ± {row['spread']:.1f}"
    # A layer of which nothing is left cannot pass anything on: the accuracy is that of guessing.
    return f"{row['accuracy']:.1f}{spread}" + (" (empty layer)" if row["empty_layers"] else "")


def markdown(table: pl.DataFrame) -> str:
    """The table of ``pivot`` in Markdown."""
    return markdown_table(*pivot(table))


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A header and rows of text in Markdown."""
    cells = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def print_table(
    console: Console, caption: str, header: Sequence[str], body: Sequence[Sequence[str]]
) -> None:
    """Prints a caption and a table without lines, its first column to the left."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for position, name in enumerate(header):
        shown.add_column(name, justify="left" if position == 0 else "right", no_wrap=True)
    for line in body:
        shown.add_row(*line)
    console.print(caption, highlight=False)
    console.print(shown)


def canvas(panels: int, *, height: float = 4.5) -> tuple[Any, Any]:
    """A figure with some axes side by side, drawn without a display."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(
        1, panels, figsize=(max(7, 4.5 * panels), height), layout="constrained", squeeze=False
    )
    for one in axes[0]:
        one.grid(alpha=0.3)
    return drawn, axes[0]


def save_figure(drawn: Any, path: Path, title: str) -> None:
    """Writes a figure as PNG in one atomic step, and lets it go."""
    from matplotlib import pyplot

    drawn.suptitle(title, fontsize="medium")
    image = io.BytesIO()
    drawn.savefig(image, format="png", dpi=150)
    pyplot.close(drawn)
    write_atomically(path, image.getvalue())


def figure(table: pl.DataFrame, path: Path, title: str) -> None:
    """Draws accuracy against sparsity, one line a method, with the spread over seeds as bars.

    Args:
      table: rows of ``summary`` of one data set, model and settings.
      path: the PNG to write.
      title: what stands above it.
    """
    drawn, (axes,) = canvas(1)
    dense = table.filter(pl.col("method") == DENSE)
    if not dense.is_empty():
        axes.axhline(dense["accuracy"][0], color="black", linestyle="--", label=DENSE)
    methods = [method for method in dict.fromkeys(table["method"]) if method != DENSE]
    positions = _sparsities(table)
    for index, method in enumerate(methods):
        part = table.filter(pl.col("method") == method).sort("sparsity")
        # Methods stand side by side, so that their bars can be told apart.
        shift = (index - (len(methods) - 1) / 2) * 0.6 / max(len(methods), 1)
        places = [positions.index(value) + shift for value in part["sparsity"]]
        axes.errorbar(
            places,
            part["accuracy"].to_numpy(),
            yerr=part["spread"].fill_null(0.0).to_numpy(),
            marker="o",
            markersize=4,
            capsize=3,
            label=method,
        )
    axes.set_xticks(range(len(positions)), [f"{value:.4g}" for value in positions])
    axes.set_xlabel("sparsity (fraction of prunable weights removed)")
    axes.set_ylabel("test accuracy (%)")
    axes.legend(loc="lower left", ncols=2, fontsize="small")
    save_figure(drawn, path, title)


def details(record: results.Record) -> str:
    """One paragraph on what the runs of a comparison share: settings, versions, device, date."""
    protocol = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in record["config"].get("protocol", {}).items()
        if value is not None
    )
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return (
        "Test accuracy in %, mean ± sample standard deviation over seeds; columns are the fraction "
        "of prunable weights removed; scoring in seconds, the median over runs.\n\n"
        f"Settings: {protocol}. {versions}. {record['device']}, {record['date']}.\n"
    )


def write(
    frame: pl.DataFrame, folder: Path, title: str, console: Console, about: str = ""
) -> list[Path]:
    """Prints one comparison's table, and writes it as CSV and Markdown beside the figure.

    Args:
      frame: ``rows`` of one data set, model and settings.
      folder: where to; made where it is missing.
      title: of table and figure.
      console: where to print.
      about: a paragraph for the Markdown file, from ``details``.

    Returns:
      The files written.
    """
    table = summary(frame)
    header, lines = pivot(table)
    shown = Table(title=f"{title}: test accuracy (%), mean ± standard deviation over seeds")
    for position, name in enumerate(header):
        shown.add_column(name, justify="left" if position == 0 else "right")
    for line in lines:
        label = f"{DENSE} (sparsity 0)" if line[0] == DENSE else line[0]
        shown.add_row(label, *line[1:], end_section=line[0] == DENSE or line is lines[-2])
    console.print(shown)
    files = [folder / name for name in ("accuracy.csv", "accuracy.md", "accuracy.png")]
    write_atomically(files[0], table.write_csv().encode())
    write_atomically(files[1], f"# {title}\n\n{markdown(table)}\n{about}".encode())
    figure(table, files[2], title)
    return files


def folder_of(frame: pl.DataFrame, root: Path, experiment: str) -> Path:
    """Where one comparison's files go: a folder for each data set, model and settings."""
    dataset, model, settings = frame.select("dataset", "model", "settings").row(0)
    return root / experiment / f"{dataset}-{model}-{settings}"


def main(config: Report, console: Console | None = None) -> int:
    """Reports every comparison that is recorded; returns the exit status."""
    console = Console() if console is None else console
    try:
        return _report(config, console)
    except (OSError, ValueError, TypeError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1


def _report(config: Report, console: Console) -> int:
    records = [
        record
        for record in results.load_all(config.results, EXPERIMENT, needs=NEEDS)
        if "method" in record["config"]
    ]
    if not records:
        console.print(
            f"nothing is recorded under {config.results / EXPERIMENT}; run "
            "python -m experiments.compare first"
        )
        return 1
    unordered = rows(records)
    ordered = unordered.sort(
        pl.col("method") != DENSE, "method", "sparsity", "seed", maintain_order=True
    )
    for (dataset, model, settings), part in ordered.group_by(
        "dataset", "model", "settings", maintain_order=True
    ):
        folder = folder_of(part, config.results, EXPERIMENT)
        of_settings = [
            record
            for record, row in zip(records, unordered.iter_rows(named=True), strict=True)
            if (row["dataset"], row["model"], row["settings"]) == (dataset, model, settings)
        ]
        about = details(of_settings[0])
        files = write(part, folder, f"{model} on {dataset} ({settings})", console, about)
        console.print(about.splitlines()[-1], highlight=False)
        console.print("written: " + ", ".join(str(file) for file in files), soft_wrap=True)
    return 0


if __name__ == "__main__":
    import tyro

    sys.exit(main(tyro.cli(Report, description=__doc__)))
