"""From solved programs and sub-networks trained again to tables; figures beside them."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
from rich.console import Console

from experiments.common.gathering import Recorded, write_table
from experiments.common.outputs import Outputs
from experiments.common.records import Record
from experiments.common.records import diverged as has_diverged
from experiments.common.tables import Table, markdown_table, print_table
from experiments.critical_neurons import figures
from experiments.critical_neurons.figures import NAMES, SUBNETWORK_NAMES
from experiments.critical_neurons.program import source
from experiments.critical_neurons.retraining import STARTS, SUBNETWORKS, Subnetwork
from experiments.critical_neurons.rivals import RIVALS
from experiments.critical_neurons.run import NEEDS
from experiments.critical_neurons.studies import StudyName
from prunejax.channels import keep_above
from solvers.critical_neurons import MODES


def rows(records: Sequence[Record]) -> pl.DataFrame:
    """One row per rival and program: accuracies and shares in %, and the program's certificate."""
    return pl.DataFrame(
        [
            {
                **{name: record["config"][name] for name in ("seed", "batch", "mode")},
                "balanced": "as many of each class" if record["config"]["balanced"] else "any",
                "loss_weight": float(record["config"]["loss_weight"]),
                "rival": name,
                "reference": 100 * record["metrics"]["reference"],
                **{key: 100 * value for key, value in record["metrics"]["rivals"][name].items()},
                **{
                    key: record["metrics"]["certificate"][key]
                    for key in ("status", "gap", "violation")
                },
                "seconds": record["seconds"]["scoring"],
            }
            for record in records
            for name in RIVALS
        ]
    )


def retrained_rows(records: Sequence[Record]) -> pl.DataFrame:
    """One row per sub-network: accuracy and shares in %."""
    return pl.DataFrame(
        [
            {
                **{name: record["config"][name] for name in ("seed", "target", "subnetwork")},
                "start": record["config"]["start"],
                **{key: 100 * record["metrics"][key] for key in Subnetwork._fields},
                "seconds": record["seconds"]["training"],
            }
            for record in records
        ]
    )


def write(
    records: Sequence[Record],
    studies: Mapping[StudyName, Sequence[Record]],
    *,
    outputs: Outputs,
    title: str,
    console: Console,
) -> None:
    """Prints a table of each study, and writes tables and figures.

    Args:
      records: of all runs.
      studies: study -> the records of its runs, without those that failed.
      outputs: where to, and in which formats.
      title: of tables and figures.
      console: where to print.
    """
    text = [f"# {title}\n"]
    console.print(f"[bold]{title}[/]: test accuracy and shares in %, mean±standard deviation")
    for study, part in studies.items():
        if not part:
            continue
        frame, caption, header, body = TABLES[study](part)
        caption += _diverged(part)
        print_table(console, caption, header, body)
        text += [f"\n{caption}\n\n", markdown_table(header, body)]
        outputs.numbers(study, frame)
        outputs.latex(study, header, body, caption)
        if study in figures.OF_STUDY:
            figures.OF_STUDY[study](frame, outputs.figure(study), title)
    solved = [record for record in records if record["config"]["kind"] == "solved"]
    first = next((record for record in solved if "curve" in record["metrics"]), solved[0])
    for name, draw in figures.OF_PROGRAM.items():
        draw(first, outputs.figure(name), title)
    config = first["config"]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    dates = sorted(record["date"] for record in records)
    text.append(
        "\nTest accuracy and shares in %, mean ± sample standard deviation (one number: one run). "
        "Inactive: what is 0 on the whole batch. "
        f"lambda {config['loss_weight']:g}, images per class: {config['per_class']}, threshold "
        f"{config['threshold']}, fine-tuning {config['fine_tuning']['epochs']} epochs. {versions}. "
        f"{first['device']}, {dates[0]} to {dates[-1]}.\n"
    )
    outputs.report("report", "".join(text))


def recorded(records: Sequence[Record]) -> Table:
    """The rivals' table of recorded programs of one kind."""
    config = records[0]["config"]
    frame, caption, header, body = _rivals(records)
    caption = f"Mode {config['mode']}, lambda {config['loss_weight']:g}. {caption}"
    return Table(frame, caption + _diverged(records), header, body)


def _diverged(records: Sequence[Record]) -> str:
    """A sentence on runs whose loss was not finite, where there are any."""
    count = sum(has_diverged(record) for record in records)
    return f" **{count} of {len(records)} runs diverged.**" if count else ""


def _rivals(records: Sequence[Record]) -> Table:
    frame = rows(records)
    header = ["pruned", "accuracy", "fine-tuned", "neurons", "parameters"]
    body = []
    for name in RIVALS:
        part = frame.filter(pl.col("rival") == name)
        columns = ("accuracy", "fine_tuned", "neurons", "parameters")
        body.append([NAMES[name], *(_spread(part[column]) for column in columns)])
    caption = (
        "Rivals: what is pruned, by score, as many neurons of each layer but for the last row; "
        "neurons and parameters are the shares removed."
    )
    return Table(frame, f"{caption} {_whole(frame)} {_certified(frame)}", header, body)


def _batches(records: Sequence[Record]) -> Table:
    frame, caption, header, body = _rivals(records)
    caption = (
        f"{len(records)} batches of one network. {_whole(frame)} Of the neurons that either of two "
        f"batches prunes, {100 * _agreement(records):.1f} % are pruned by both (mean over pairs). "
        f"{_certified(frame)}"
    )
    return Table(frame, caption, header, body)


def _agreement(records: Sequence[Record]) -> float:
    """The mean over pairs of programs of |both prune| / |either prunes|."""
    pruned = []
    for record in records:
        scores = record["metrics"]["certificate"]["scores"]
        kept = keep_above(
            {group: np.array(each) for group, each in scores.items()}, record["config"]["threshold"]
        )
        pruned.append(~np.concatenate(list(kept.values())))
    shares = [
        (one & other).sum() / max((one | other).sum(), 1)
        for one, other in itertools.combinations(pruned, 2)
    ]
    return float(np.mean(shares)) if shares else 1.0


def _by(column: str, label: str, about: str) -> Callable[[Sequence[Record]], Table]:
    """A table with a row for each value of a program."""

    def table(records: Sequence[Record]) -> Table:
        frame = rows(records)
        header = [label, "gone", "accuracy", "fine-tuned", "random", "critical", "s"]
        body = []
        for value in frame[column].unique(maintain_order=True):
            part = {
                name: frame.filter((pl.col(column) == value) & (pl.col("rival") == name))
                for name in RIVALS
            }
            ours = part["method"]
            body.append(
                [
                    value if isinstance(value, str) else f"{value:g}",
                    *(_spread(ours[one]) for one in ("neurons", "accuracy", "fine_tuned")),
                    *(_spread(part[name]["accuracy"]) for name in ("random", "critical")),
                    _spread(ours["seconds"]),
                ]
            )
        caption = (
            f"{about} Of the neurons so many are gone; accuracy of the method without and with "
            "fine-tuning, and without it of random pruning and of pruning the critical ones; "
            f"seconds per program. {_whole(frame)} {_certified(frame)}"
        )
        return Table(frame, caption, header, body)

    return table


def _transfer(records: Sequence[Record]) -> Table:
    frame, config = retrained_rows(records), records[0]["config"]
    header = ["trained anew", "accuracy", "to whole", "neurons gone", "parameters gone"]
    body = [
        [SUBNETWORK_NAMES[name], *_against(frame.filter(pl.col("start") == "new"), name)]
        for name in SUBNETWORKS
    ]
    caption = (
        f"Transfer: neurons chosen on {config['dataset']}, trained on {config['target']} from "
        f"other initial weights, {config['target_protocol']['epochs']} epochs; as many neurons of "
        "each layer, or as many weights."
    )
    return Table(frame, caption, header, body)


def _initialisation(records: Sequence[Record]) -> Table:
    frame, config = retrained_rows(records), records[0]["config"]
    header = ["network", "weights", "accuracy", "to whole", "neurons gone", "parameters gone"]
    words = {"new": "others", "same": "its own"}
    body = [
        [
            SUBNETWORK_NAMES[name],
            words[start],
            *_against(frame.filter(pl.col("start") == start), name),
        ]
        for name in SUBNETWORKS[:3]
        for start in STARTS
    ]
    caption = (
        f"Initialisation: sub-networks trained on {config['target']} from the beginning, "
        f"{config['target_protocol']['epochs']} epochs."
    )
    return Table(frame, caption, header, body)


def _against(frame: pl.DataFrame, name: str) -> list[str]:
    """Accuracy, its difference to the whole network of the same seed, and shares."""
    part = frame.filter(pl.col("subnetwork") == name).sort("seed")
    whole = frame.filter(pl.col("subnetwork") == "whole").sort("seed")
    return [
        _spread(part["accuracy"]),
        _spread(part["accuracy"] - whole["accuracy"], sign=True),
        *(_spread(part[column]) for column in ("neurons", "parameters")),
    ]


def _spread(values: pl.Series, *, sign: bool = False) -> str:
    numbers = values.to_numpy()
    plus = "+" if sign else ""
    if len(numbers) == 1:
        return f"{numbers[0]:{plus}.2f}"
    return f"{numbers.mean():{plus}.1f}±{numbers.std(ddof=1):.1f}"


def _whole(frame: pl.DataFrame) -> str:
    return f"Whole network: {_spread(frame.unique('seed')['reference'])} %."


def _certified(frame: pl.DataFrame) -> str:
    one = frame.filter(pl.col("rival") == RIVALS[0])
    statuses = ", ".join(
        f"{count} {word}" for word, count in one["status"].value_counts().sort("status").rows()
    )
    violation = np.abs(one["violation"].to_numpy()).max()
    return (
        f"Programs: {statuses}, largest gap {one['gap'].max():.2g}, largest violation "
        f"{violation:.2g}, {one['seconds'].median():.2f} s each (median)."
    )


TABLES: dict[StudyName, Callable[[Sequence[Record]], Table]] = {
    "table": _rivals,
    "batch-robustness": _batches,
    "lambda": _by("loss_weight", "lambda", "Lambda: the loss's weight in the program."),
    "per-class": _by("mode", "mode", "One program of all classes, or one per class and the mean."),
    "balance": _by("balanced", "images of a batch", "Balanced batches, or as many of any class."),
    "transfer": _transfer,
    "initialisation": _initialisation,
}

RECORDED = Recorded(
    key="mode",
    names=tuple(MODES),
    needs=NEEDS,
    source=source,
    varying=("seed", "batch", "source", "rivals"),
    read=recorded,
    write=write_table(recorded),
    kind="solved",
)
