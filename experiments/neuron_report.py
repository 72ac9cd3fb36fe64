"""From solved programs to the table of rivals, the certificates, and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from experiments import report, results
from experiments.neuron_runs import RIVALS, Setting
from prunejax.files import write_atomically

NAMES = {
    "method": "method: lowest scores",
    "random": "random",
    "critical": "critical: highest scores",
    "inactive": "inactive on the batch",
}


def rows(records: Sequence[results.Record]) -> pl.DataFrame:
    """One row a rival and program: accuracies and shares in %, and the program's certificate."""
    return pl.DataFrame(
        [
            {
                "seed": record["config"]["seed"],
                "batch": record["config"]["batch"],
                "loss_weight": float(record["config"]["loss_weight"]),
                "rival": name,
                "reference": 100 * record["metrics"]["reference"],
                **{key: 100 * value for key, value in record["metrics"]["rivals"][name].items()},
                "status": record["metrics"]["certificate"]["status"],
                "gap": record["metrics"]["certificate"]["gap"],
                "violation": record["metrics"]["certificate"]["violation"],
                "seconds": sum(record["metrics"]["certificate"]["seconds"].values()),
            }
            for record in records
            for name in RIVALS
        ]
    )


def write(
    records: Sequence[results.Record],
    studies: Mapping[str, Sequence[tuple[int, Setting]]],
    *,
    folder: Path,
    title: str,
    console: Console,
) -> list[Path]:
    """Prints a table of each study, and writes tables (CSV, Markdown) and figures.

    Args:
      records: of all programs.
      studies: study -> the seeds and programs it asked for.
      folder: where to.
      title: of tables and figures.
      console: where to print.

    Returns:
      The files written.
    """
    text, files = [f"# {title}\n"], []
    console.print(f"[bold]{title}[/]: test accuracy and shares in %, mean±standard deviation")
    for study, wanted in studies.items():
        keys = set(wanted)
        part = [record for record in records if _key(record) in keys]
        frame = rows(part)
        header, body = TABLES[study](frame)
        reference = frame["reference"].unique()
        caption = f"{ABOUT[study]} Whole network: {_spread(reference)} %. {_certified(frame)}"
        report.print_table(console, caption, header, body)
        text += [f"\n{caption}\n\n", report.markdown_table(header, body)]
        files.append(folder / f"{study}.csv")
        write_atomically(files[-1], frame.write_csv().encode())
    first = next((record for record in records if "curve" in record["metrics"]), records[0])
    for name, draw in FIGURES.items():
        if draw(first, records, folder / f"{name}.png", title):
            files.append(folder / f"{name}.png")
    config = first["config"]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    dates = sorted(record["date"] for record in records)
    text.append(
        f"\nlambda {config['loss_weight']:g}, {config['per_class']} images a class, threshold "
        f"{config['threshold']}, fine-tuning {config['fine_tuning']['epochs']} epochs. {versions}. "
        f"{first['device']}, {dates[0]} to {dates[-1]}.\n"
    )
    files.append(folder / "report.md")
    write_atomically(files[-1], "".join(text).encode())
    return files


def _key(record: results.Record) -> tuple[int, Setting]:
    config = record["config"]
    return config["seed"], Setting(*(config[name] for name in Setting._fields))


def _rivals(frame: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    header = ["pruned", "accuracy", "fine-tuned", "neurons", "parameters"]
    body = []
    for name in RIVALS:
        part = frame.filter(pl.col("rival") == name)
        columns = ("accuracy", "fine_tuned", "neurons", "parameters")
        body.append([NAMES[name], *(_spread(part[column]) for column in columns)])
    return header, body


def _weights(frame: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    header = ["lambda", "neurons", "accuracy", "fine-tuned", "random", "critical"]
    body = []
    for weight in frame["loss_weight"].unique().sort():
        part = {
            name: frame.filter((pl.col("loss_weight") == weight) & (pl.col("rival") == name))
            for name in RIVALS
        }
        ours = part["method"]
        body.append(
            [
                f"{weight:g}",
                *(_spread(ours[column]) for column in ("neurons", "accuracy", "fine_tuned")),
                *(_spread(part[name]["accuracy"]) for name in ("random", "critical")),
            ]
        )
    return header, body


def _spread(values: pl.Series) -> str:
    numbers = values.to_numpy()
    if len(numbers) == 1:
        return f"{numbers[0]:.2f}"
    return f"{numbers.mean():.1f}±{numbers.std(ddof=1):.1f}"


def _certified(frame: pl.DataFrame) -> str:
    one = frame.filter(pl.col("rival") == RIVALS[0])
    statuses = ", ".join(f"{count} {word}" for word, count in one["status"].value_counts().rows())
    return (
        f"Programs: {statuses}, largest gap {one['gap'].max():.2g}, largest violation "
        f"{one['violation'].max():.2g}, {one['seconds'].median():.2f} s each (median)."
    )


def _scores(first: results.Record, _: Any, path: Path, title: str) -> bool:
    """Draws each layer's scores in falling order."""
    drawn, (axes,) = report.canvas(1)
    for group, scores in first["metrics"]["certificate"]["scores"].items():
        ordered = np.sort(np.array(scores))[::-1]
        axes.plot(np.linspace(0, 1, len(ordered)), ordered, label=f"{group} ({len(ordered)})")
    axes.axhline(first["config"]["threshold"], color="black", linestyle="--", label="threshold")
    axes.set_xlabel("neurons of the layer, best first (fraction)")
    axes.set_ylabel("score")
    axes.legend(fontsize="small")
    report.save_figure(drawn, path, title)
    return True


def _curve(first: results.Record, _: Any, path: Path, title: str) -> bool:
    """Draws accuracy against the pruned share of each layer."""
    curve = first["metrics"].get("curve")
    if curve is None:
        return False
    drawn, (axes,) = report.canvas(1)
    for name in ("method", "random", "critical"):
        axes.plot(curve["share"], 100 * np.array(curve[name]), marker="o", label=NAMES[name])
    axes.set_xlabel("share of each layer's neurons pruned")
    axes.set_ylabel("test accuracy, not fine-tuned (%)")
    axes.legend()
    report.save_figure(drawn, path, title)
    return True


def _trajectory(first: results.Record, _: Any, path: Path, title: str) -> bool:
    """Draws incumbent and bound over time."""
    moved = np.array(
        [
            [np.nan if value is None else value for value in row]
            for row in first["metrics"]["certificate"]["trajectory"]
        ]
    )
    drawn, (axes,) = report.canvas(1)
    for column, label in ((1, "objective"), (2, "bound")):
        axes.step(moved[:, 0], moved[:, column], where="post", label=label)
    axes.set_xlabel("seconds")
    axes.set_ylabel("objective")
    finite = moved[:, 1][np.isfinite(moved[:, 1])]
    if len(finite):
        spread = max(float(np.ptp(finite)), 0.1)
        axes.set_ylim(finite.min() - 2 * spread, finite.max() + 0.2 * spread)
    axes.legend()
    report.save_figure(drawn, path, title)
    return True


def _sweep(_: Any, records: Sequence[results.Record], path: Path, title: str) -> bool:
    """Draws what is pruned, and accuracy, against lambda; where several were solved."""
    frame = rows(records).filter((pl.col("seed") == 0) & (pl.col("batch") == 0))
    frame = frame.sort("loss_weight")
    if frame["loss_weight"].n_unique() < 2:
        return False
    drawn, (left, right) = report.canvas(2)
    ours = frame.filter(pl.col("rival") == "method")
    left.plot(ours["loss_weight"].to_numpy(), ours["neurons"].to_numpy(), marker="o")
    left.set_ylabel("neurons pruned (%)")
    for name in RIVALS[:3]:
        part = frame.filter(pl.col("rival") == name)
        right.plot(
            part["loss_weight"].to_numpy(),
            part["accuracy"].to_numpy(),
            marker="o",
            label=NAMES[name],
        )
    right.set_ylabel("test accuracy, not fine-tuned (%)")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.set_xlabel("lambda")
    report.save_figure(drawn, path, title)
    return True


TABLES = {"table": _rivals, "batches": _rivals, "loss_weight": _weights}
ABOUT = {
    "table": "Rivals: what is pruned, as many neurons of each layer but for the last row.",
    "batches": "Batches: one network, 25 batches.",
    "loss_weight": "Lambda: the loss's weight in the program.",
}
FIGURES = {"scores": _scores, "curve": _curve, "trajectory": _trajectory, "lambda": _sweep}
"""Name of a file -> a figure; False where there is nothing to draw."""
