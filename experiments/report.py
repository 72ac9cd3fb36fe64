"""From records to tables and figures.

    prunejax report                          all that is recorded under results/
    prunejax report --dataset mnist --methods snip synflow --formats tex pdf

Prints, for each study, data set, model and settings, what is recorded, and writes the same as CSV
and Markdown, for the comparison with a figure. (Each command's own tables and figures, in a folder
of its own, stay as they are; they come again when the command is given again, since nothing is done
twice.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from experiments.common import gathering, records, shell
from experiments.common.gathering import Recorded
from experiments.common.options import DatasetName, ModelName
from experiments.common.outputs import DEFAULT, Format
from experiments.common.protocol import DENSE
from experiments.common.records import Record, config_hash, latest
from prunejax import data, models, names


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


def main(config: Report, console: Console | None = None) -> int:
    """Reports what is recorded; returns the exit status."""
    console = Console() if console is None else console
    return shell.guarded(
        console, lambda: _report(config, console), stopped="What is written stays as it is."
    )


def _report(config: Report, console: Console) -> int:
    try:
        return _all_studies(config, console)
    except (TypeError, KeyError) as error:  # of records that a stranger has written
        raise ValueError(f"{error}") from error


def _all_studies(config: Report, console: Console) -> int:
    studies = gathering.gatherings()
    known = {name for recorded in studies.values() for name in recorded.names}
    for name in config.methods:
        if name not in known and not any(one.others(name) for one in studies.values()):
            near = names.suggestion(name, known)
            raise ValueError(f"no method {name!r}; there are {', '.join(sorted(known))}{near}")
    written = [_study(config, console, name, recorded) for name, recorded in studies.items()]
    if any(written):
        return 0
    asked = " of what was asked for" if config.dataset or config.model or config.methods else ""
    console.print(
        f"nothing{asked} is recorded under {config.results}; run prunejax compare first",
        soft_wrap=True,
    )
    return 1


def _study(config: Report, console: Console, name: str, recorded: Recorded) -> bool:
    """Prints and writes the tables of a study; False where nothing of it is recorded."""
    wanted = _wanted(config, console, name, recorded)
    groups = _groups(wanted, recorded.varying)
    headings = [heading(name, shared, recorded) for shared, _ in groups]
    for (shared, part), title in zip(groups, headings, strict=True):
        settings = config_hash(shared)[:6]
        parts = (shared["dataset"], shared["model"], settings, _filter(config) or "all")
        if headings.count(title) > 1:  # they differ in what no heading says
            title += f" (settings {settings})"
        files = recorded.write(
            latest(part, recorded.source),
            config.results / name / "-".join(parts),
            title,
            config.formats,
            console,
        )
        console.print("Written:")
        for file in files:
            console.print(f"  {file}", soft_wrap=True, highlight=False)
    return bool(wanted)


def heading(name: str, shared: Mapping[str, Any], recorded: Recorded) -> str:
    """What a table is of, for people: what is said of the runs, or the name of their study."""
    network = f"{shared['model']} on {shared['dataset']}"
    return f"{network}{recorded.said(shared)}" if recorded.said else f"{name}: {network}"


def _wanted(config: Report, console: Console, name: str, recorded: Recorded) -> list[Record]:
    """The records of a study that were asked for and that its tables can use."""
    known = {"dataset": tuple(data.DATASETS), "model": tuple(models.MODELS)}
    asked = {"dataset": config.dataset, "model": config.model, recorded.key: config.methods}
    chosen = []
    for record in records.load_all(config.results, name, kind=recorded.kind, needs=recorded.needs):
        if problem := gathering.problem_of(record, recorded, known):
            path = records.path_of(config.results, name, record["config"])
            shell.warn(console, f"{path} is left out: {problem}")
        elif all(not of or record["config"][key] in (*of, DENSE) for key, of in asked.items()):
            chosen.append(record)
    if config.methods and all(record["config"][recorded.key] == DENSE for record in chosen):
        return []  # the dense network alone is not what was asked for
    return chosen


def _groups(
    of: Sequence[Record], varying: Sequence[str]
) -> list[tuple[dict[str, Any], list[Record]]]:
    """Records of one data set, model and settings together; what varies within is named."""
    groups: dict[str, tuple[dict[str, Any], list[Record]]] = {}
    for record in of:
        shared = {key: value for key, value in record["config"].items() if key not in varying}
        groups.setdefault(config_hash(shared), (shared, []))[1].append(record)
    return list(groups.values())


def _filter(config: Report) -> str:
    """What tells a filtered report's folder from that of all runs: "" without a filter."""
    asked = {name: getattr(config, name) for name in ("dataset", "model", "methods")}
    return config_hash(asked)[:6] if any(asked.values()) else ""


def start() -> None:
    """Reads the command line and reports."""
    shell.leave(main(tyro.cli(Report, prog="prunejax report", description=__doc__)))


if __name__ == "__main__":
    start()
