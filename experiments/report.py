"""From records to tables and figures.

    python -m experiments.report                          all that is recorded under results/
    python -m experiments.report --dataset mnist --methods snip synflow --formats tex pdf

Prints, for each experiment, data set, model and settings, what is recorded, and writes the same as
CSV and Markdown, for the comparison with a figure. (Each command's own tables and figures, in a
folder of its own, stay as they are; they come again when the command is given again, since nothing
is done twice.)
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import tyro
from rich.console import Console
from rich.markup import escape

from experiments import (
    comparison,
    filter_report,
    filter_runs,
    neuron_report,
    neuron_runs,
    results,
    shell,
)
from experiments.methods import METHODS, settings
from experiments.outputs import DEFAULT, Format, Outputs
from experiments.protocol import DENSE
from experiments.tables import markdown_table, print_table
from prunejax import data, models
from solvers.critical_neurons import MODES

if TYPE_CHECKING:
    from typing import TypeAlias

    DatasetName: TypeAlias = str
    ModelName: TypeAlias = str
else:
    DatasetName = tyro.extras.literal_type_from_choices(data.DATASETS)
    ModelName = tyro.extras.literal_type_from_choices(models.MODELS)


@dataclass(frozen=True)
class Report:
    """Gathers recorded runs into tables and figures; nothing given means all.

    Attributes:
      dataset: only runs on these data sets.
      model: only runs of these models.
      methods: only runs of these methods (of the comparison or of filter pruning; of programs,
        modes). The dense network is shown too.
      formats: of tables (csv, md, tex) and figures (png, pdf).
      results: where results are kept.
    """

    dataset: tuple[DatasetName, ...] = ()
    model: tuple[ModelName, ...] = ()
    methods: tuple[str, ...] = ()
    formats: tuple[Format, ...] = DEFAULT
    results: Path = Path("results")


NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "compare": ("method", (DENSE, *METHODS)),
    "entropy_kcore": ("method", filter_runs.METHODS),
    "critical_neurons": ("mode", tuple(MODES)),
}
"""Experiment -> what of a configuration names the method, and what it may be."""


def main(config: Report, console: Console | None = None) -> int:
    """Reports what is recorded; returns the exit status."""
    console = Console() if console is None else console
    try:
        return _report(config, console)
    except (OSError, ValueError, TypeError, KeyError) as error:
        shell.fail(console, f"{error}")
        return 1


def _report(config: Report, console: Console) -> int:
    known = {name for _, names in NAMES.values() for name in names}
    for name in config.methods:
        if name not in known:
            raise ValueError(f"no method {name!r}; there are {', '.join(sorted(known))}")
    found = [REPORTS[experiment](config, console) for experiment in NAMES]
    if any(found):
        return 0
    asked = " of what was asked for" if config.dataset or config.model or config.methods else ""
    console.print(
        f"nothing{asked} is recorded under {config.results}; run python -m experiments.compare "
        "first",
        soft_wrap=True,
    )
    return 1


def _wanted(
    config: Report, console: Console, experiment: str, kind: str | None, needs: tuple[str, ...]
) -> list[results.Record]:
    """The records of an experiment that were asked for and whose names are known.

    A name becomes part of a folder's, and a record may come from anywhere.
    """
    key, methods = NAMES[experiment]
    chosen = []
    for record in results.load_all(config.results, experiment, kind=kind, needs=needs):
        one = record["config"]
        named = {"dataset": data.DATASETS, "model": models.MODELS, key: methods}
        wrong = [
            f"{name} {one.get(name)!r}"
            for name, names in named.items()
            if not isinstance(one.get(name), str) or one[name] not in names
        ]
        problem = f"unknown {', '.join(wrong)}" if wrong else _misshapen(record, experiment)
        if problem:
            path = results.path_of(config.results, experiment, one)
            shell.warn(console, f"{path} is left out: {problem}")
            continue
        asked = {"dataset": config.dataset, "model": config.model, key: config.methods}
        if all(not of or one[name] in (*of, DENSE) for name, of in asked.items()):
            chosen.append(record)
    return chosen


def _misshapen(record: results.Record, experiment: str) -> str | None:
    """What of a record the tables could not read, or None: it may come from anywhere."""
    try:
        one = record["config"]
        for mapping in (
            one.get("protocol", {}),
            one.get("method_settings", {}),
            record["versions"],
        ):
            dict(mapping).items()
        if not isinstance(record["date"], str) or not isinstance(record["device"], str):
            return "its date or device is no text"
        READS[experiment]([record])
    except Exception as error:  # whatever a stranger has put there
        return f"it cannot be read ({type(error).__name__}: {error})"
    return None


READS: dict[str, Callable[[list[results.Record]], object]] = {
    "compare": comparison.rows,
    "entropy_kcore": filter_report.rows,
    "critical_neurons": neuron_report.recorded,
}
"""Experiment -> what reads its records."""


def _groups(
    records: list[results.Record], *varying: str
) -> list[tuple[dict[str, Any], list[results.Record]]]:
    """Records of one data set, model and settings together; what varies within is named."""
    groups: dict[str, tuple[dict[str, Any], list[results.Record]]] = {}
    for record in records:
        shared = {key: value for key, value in record["config"].items() if key not in varying}
        name = results.config_hash(shared)
        groups.setdefault(name, (shared, []))[1].append(record)
    return list(groups.values())


def _filter(config: Report) -> str:
    """What tells a filtered report's folder from that of all runs: "" without a filter."""
    asked = {name: getattr(config, name) for name in ("dataset", "model", "methods")}
    return results.config_hash(asked)[:6] if any(asked.values()) else ""


def _list(files: list[Path], console: Console) -> None:
    console.print("Written:")
    for file in files:
        console.print(f"  {file}", soft_wrap=True, highlight=False)


def _compare(config: Report, console: Console) -> bool:
    name = comparison.EXPERIMENT
    records = comparison.latest(
        _wanted(config, console, name, None, comparison.NEEDS), lambda one: settings(one)["source"]
    )
    if not records:
        return False
    frame = comparison.rows(records)
    for (dataset, model, chosen), part in comparison.ordered(frame.with_row_index()).group_by(
        "dataset", "model", "settings", maintain_order=True
    ):
        folder = comparison.folder_of(part, config.results, name, _filter(config))
        about = comparison.details(records[part["index"][0]])
        title = f"{model} on {dataset} ({chosen})"
        files = comparison.write(part, folder, title, console, about, config.formats)
        console.print(escape(about.splitlines()[-1]), highlight=False)
        _list(files, console)
    return True


def _entropy_kcore(config: Report, console: Console) -> bool:
    name = "entropy_kcore"
    records = _wanted(config, console, name, "pruned", filter_report.NEEDS)
    varying = ("method", "source", "tau", "images", "seed", "curve", "fine_tuning")
    for shared, part in _groups(records, *varying):
        frame, header, body = filter_report.recorded(comparison.latest(part, filter_runs.source))
        _write(config, console, name, shared, frame, filter_report.RECORDED, header, body)
    return bool(records)


def _critical_neurons(config: Report, console: Console) -> bool:
    name = "critical_neurons"
    records = _wanted(config, console, name, "solved", neuron_report.NEEDS)
    for shared, part in _groups(records, "seed", "batch", "source"):
        table = neuron_report.recorded(comparison.latest(part, neuron_runs.source))
        caption = f"Mode {shared['mode']}, lambda {shared['loss_weight']:g}. {table.caption}"
        _write(config, console, name, shared, table.frame, caption, table.header, table.body)
    return bool(records)


def _write(
    config: Report,
    console: Console,
    experiment: str,
    shared: Mapping[str, Any],
    frame: pl.DataFrame,
    caption: str,
    header: list[str],
    body: list[list[str]],
) -> None:
    """Prints one table and writes it."""
    settings = results.config_hash(shared)[:6]
    title = f"{experiment}: {shared['model']} on {shared['dataset']} ({settings})"
    chosen = _filter(config) or "all"
    names = (shared["dataset"], shared["model"], settings, chosen)
    folder = config.results / experiment / "-".join(names)
    outputs = Outputs(folder, config.formats)
    console.print(f"[bold]{escape(title)}[/]")
    print_table(console, caption, header, body)
    outputs.numbers("recorded", frame)
    outputs.report("recorded", f"# {title}\n\n{caption}\n\n{markdown_table(header, body)}")
    outputs.latex("recorded", header, body, f"{title}. {caption}")
    _list(outputs.files, console)


REPORTS: dict[str, Callable[[Report, Console], bool]] = {
    "compare": _compare,
    "entropy_kcore": _entropy_kcore,
    "critical_neurons": _critical_neurons,
}
"""Experiment -> prints and writes what is recorded of it; False where that is nothing."""


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Report, prog="python -m experiments.report", description=__doc__)))
