"""The published tables, filled by the clock.

    prunejax tables                   what is recorded beside what is published
    prunejax tables --minutes 8       do what is missing, the most important first, for 8 minutes
    prunejax tables --minutes 2 --quick    the same in small, on digits: to see that it works

Runs are those of the studies' own commands, which are printed, and are never done twice. When the
time is up everything finished is recorded and what goes on is saved; the same command goes on from
there. A table is written in Markdown, with the published numbers beside ours.
"""

import importlib
import math
import shlex
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from rich.console import Console

from experiments.common import shell
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.options import Options, changed
from experiments.common.outputs import Outputs
from experiments.common.records import Record
from experiments.common.run import Run, recorded
from experiments.common.study import Done, conduct
from experiments.common.tables import markdown_table, print_table
from experiments.published import ORDER, TABLES, Cell, Published
from prunejax import names

STUDY = "tables"
"""The folder of what is written, under the results."""

NOT_RUN = "not run"


@dataclass(frozen=True)
class Tables:
    """What to fill, and for how long.

    Attributes:
      minutes: how long to do what is missing; the clock is looked at after each epoch. 0: only
        show and write what is recorded.
      tables: which tables; by default all, in the order of worth.
      quick: small versions on digits, apart from the real ones.
      together: train so many networks as one program, see the studies' --together.
      workers: do runs in so many processes of this machine.
      formats: of tables.
      results: where records and tables are kept.
    """

    minutes: float = 0.0
    tables: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="(default: all)"),
    ] = ()
    quick: bool = False
    together: int | None = None
    workers: int = 1
    formats: tuple[Literal["md", "tex"], ...] = ("md",)
    results: Path = Path("results")

    def check(self) -> None:
        """Refuses what cannot be done.

        Raises:
          ValueError: a name that is no table, or a time that is none.
        """
        if not 0 <= self.minutes < math.inf:
            raise ValueError(f"minutes must be a number from 0 on, got {self.minutes}")
        for name in self.tables:
            names.choose("table", name, TABLES)


class Step(NamedTuple):
    """A command of a table.

    Attributes:
      name: of the table.
      command: its arguments.
      study: what does it.
      config: what it asks for.
      runs: of it.
    """

    name: str
    command: str
    study: Study
    config: Options
    runs: Sequence[Run]

    @property
    def said(self) -> str:
        """The command as a user gives it."""
        return f"prunejax {TABLES[self.name].study} {self.command}"

    def missing(self, results: Path) -> list[Run]:
        """What is not recorded."""
        return [run for run in self.runs if recorded(run, results) is None]


def steps_of(config: Tables) -> list[Step]:
    """The commands that are asked for, in the order of worth."""
    chosen = config.tables or tuple(TABLES)
    if config.quick:
        asked = [(name, TABLES[name].quick) for name in TABLES if name in chosen]
    else:
        asked = [(name, TABLES[name].commands[number]) for name, number in ORDER if name in chosen]
    return [_step(name, command, config) for name, command in asked]


def _step(name: str, command: str, config: Tables) -> Step:
    module = importlib.import_module(f"experiments.{TABLES[name].study}.__main__")
    study: Study = module.STUDY
    (kind,) = [
        one for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Options) and one.__module__ == module.__name__
    ]  # fmt: skip
    asked: Any = tyro.cli(kind, args=shlex.split(command))
    running = {"results": config.results, "together": config.together, "workers": config.workers}
    asked = study.shorten(changed(asked, **running))
    asked.running.check()
    study.check(asked)
    return Step(name, command, study, asked, study.runs(asked))


def main(config: Tables, console: Console | None = None) -> int:
    """Fills the tables and writes them; returns the exit status."""
    console = Console() if console is None else console
    return shell.guarded(
        console,
        lambda: _main(config, console),
        stopped="Every finished run is recorded; the same command goes on from there.",
    )


def _main(config: Tables, console: Console) -> int:
    started = time.monotonic()
    config.check()
    steps, desk = steps_of(config), Desk(config.results)
    failed = 0
    if config.minutes:
        with shell.until(started + 60 * config.minutes):
            failed = _fill(steps, config, console, desk)
    _show(steps, config, console)
    files = _write(steps, config, console)
    minutes = (time.monotonic() - started) / 60
    console.print(f"{minutes:.1f} minutes. Written:")
    for file in files:
        console.print(f"  {file}", soft_wrap=True, highlight=False)
    return 1 if failed else 0


def _fill(steps: Sequence[Step], config: Tables, console: Console, desk: Desk) -> int:
    """Does what is missing until the time is up; returns how many runs failed."""
    failed = 0
    for step in steps:
        missing = step.missing(config.results)
        if not missing:
            continue
        console.print(f"[bold]{step.name}[/]: {step.said}", highlight=False, soft_wrap=True)
        before = time.monotonic()
        try:
            done = _conduct(step, console, desk)
            failed += len(done.failed)
        except shell.OutOfTimeError:
            left = len(step.missing(config.results))
            said = f"the time is up; {left} of {len(missing)} runs are left"
            console.print(f"{said} (those that train go on from their last epoch)")
            break
        except (FileNotFoundError, ValueError) as error:  # data that is not on this machine, say
            shell.warn(console, f"{error}")
        finally:
            spent = (time.monotonic() - before) / 60
            console.print(f"{step.name}: {spent:.1f} minutes", highlight=False)
    return failed


def _conduct(step: Step, console: Console, desk: Desk) -> Done:
    prepare = step.study.prepare
    return conduct(
        step.runs,
        step.config.running,
        console,
        desk,
        prepare=lambda: prepare(step.config, desk),
    )


def _records(steps: Iterable[Step], results: Path) -> list[Record]:
    """Of the runs and of what they need, each once."""
    asked = dict.fromkeys(one for step in steps for run in step.runs for one in (run, *run.needs))
    found = (recorded(run, results) for run in asked)
    return [record for record in found if record is not None]


def _show(steps: Sequence[Step], config: Tables, console: Console) -> None:
    """How far each command is, and how long its runs took."""
    body = []
    for step in steps:
        missing, records = step.missing(config.results), _records([step], config.results)
        spent = sum(sum(record["seconds"].values()) for record in records) / 60
        done = len(step.runs) - len(missing)
        each = f"{spent / done:.1f}" if done and spent else "-"
        body.append([step.name, f"{done} of {len(step.runs)}", f"{spent:.1f}", each])
    header = ["table", "recorded", "minutes", "each"]
    print_table(console, "In the order of worth: runs, and what they took.", header, body)
    for step in steps:
        console.print(f"{step.name}: {step.said}", highlight=False, soft_wrap=True)
    if not config.minutes and any(step.missing(config.results) for step in steps):
        console.print("--minutes 8 does what is missing, in this order, for eight minutes")
    console.print()


def _write(steps: Sequence[Step], config: Tables, console: Console) -> list[Path]:
    """Every table, with the published numbers beside ours."""
    outputs = Outputs(config.results / STUDY, config.formats)
    for name in dict.fromkeys(step.name for step in steps):
        own = [step for step in steps if step.name == name]
        records = _records(own, config.results)
        table = TABLES[name]
        if config.quick:  # nothing of it can be compared
            table = table._replace(title=f"{table.title}: in small, on digits", numbers={})
        header, body = beside(table, records)
        title = f"{table.title} ({table.unit})"
        about = _about(table, own, records)
        if records:
            print_table(console, f"{title}. {table.source}.", header, body)
        file = f"{name}_quick" if config.quick else name
        outputs.report(file, f"# {title}\n\n{about}\n\n{markdown_table(header, body)}\n")
        outputs.latex(file, header, body, title)
    return outputs.files


def _about(table: Published, steps: Sequence[Step], records: Sequence[Record]) -> str:
    """The source, the commands, and where the runs were done."""
    where = sorted({record["device"] for record in records})
    versions = sorted({f"jax {record['versions'].get('jax')}" for record in records})
    said = "\n".join(step.said for step in steps)
    made = f"{len(records)} runs on {'; '.join(where)} with {', '.join(versions)}"
    return (
        f"Published: {table.source}. Ours: mean ± sample standard deviation over seeds "
        f"(number of seeds); {made if records else 'no run is recorded'}.\n\n```\n{said}\n```"
    )


def beside(table: Published, records: Iterable[Record]) -> tuple[list[str], list[list[str]]]:
    """A table of text with a column of ours and one of the published for each column.

    Args:
      table: what is published.
      records: ours.

    Returns:
      Header and rows; "not run" where there is no record, "-" where the paper says nothing.
    """
    ours: dict[Cell, list[float]] = {}
    for record in records:
        for cell, value in table.cells(record):
            ours.setdefault(cell, []).append(value)
    cells = [*table.numbers, *ours]
    rows = dict.fromkeys(row for row, _ in cells)
    columns = dict.fromkeys(column for _, column in cells)
    header = ["", *(f"{column}, {whose}" for column in columns for whose in ("ours", "published"))]
    body = []
    for row in rows:
        line = [row]
        for column in columns:
            cell = (row, column)
            is_cell = cell in ours or cell in table.numbers
            published = table.numbers.get(cell)
            line.append(_mean(ours.get(cell)) if is_cell else "")
            line.append("" if not is_cell else "-" if published is None else f"{published:g}")
        body.append(line)
    return header, body or [[NOT_RUN, *([""] * (len(header) - 1))]]


def _mean(values: Sequence[float] | None) -> str:
    if not values:
        return NOT_RUN
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.1f} (1)"
    return f"{mean:.1f} ± {statistics.stdev(values):.1f} ({len(values)})"


def start() -> None:
    """Reads the command line and fills the tables."""
    lines = [f"  {name:<15} {table.title}" for name, table in TABLES.items()]
    about = f"{__doc__}\nTables:\n\n" + "\n".join(lines)
    shell.leave(main(tyro.cli(Tables, prog="prunejax tables", description=about)))


if __name__ == "__main__":
    start()
