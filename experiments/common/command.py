"""A study as a command: options in, runs done, tables out, an exit status."""

import time
from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console

from experiments.common import shell
from experiments.common.desk import Desk
from experiments.common.options import ALL
from experiments.common.run import Run
from experiments.common.study import Done, conduct


class Study(NamedTuple):
    """What a study has to say; ``main`` does the rest.

    Attributes:
      name: of its folder under ``results/`` and of its command.
      runs: configuration -> what to do, in order.
      report: ``(configuration, done, desk, console) -> files``: prints tables, writes them.
      method: a run -> what ``--redo`` calls it.
      check: raises ValueError for a configuration that no run could follow.
      prepare: ``(configuration, desk)``, before the first run: refuses what the data or the model
        cannot do. Not called where runs are done on a cluster.
      shorten: configuration -> what ``--quick`` leaves of it.
    """

    name: str
    runs: Callable[[Any], Sequence[Run]]
    report: Callable[[Any, Done, Desk, Console], Sequence[Path]]
    method: Callable[[Any], str] = lambda run: run.study
    check: Callable[[Any], None] = lambda *_: None
    prepare: Callable[[Any, Desk], None] = lambda *_: None
    shorten: Callable[[Any], Any] = lambda config: config


def start(study: Study, config: type, about: str | None) -> None:
    """Reads the command line, does the study, and ends the process with its exit status."""
    installed = find_spec(f"experiments.{study.name}") is not None
    prog = f"prunejax {study.name}" if installed else None  # None: as it was called
    shell.leave(main(study, tyro.cli(config, prog=prog, description=about)))


def main(study: Study, config: Any, console: Console | None = None) -> int:
    """Does a study and reports it.

    Args:
      study: the study.
      config: what is asked; its field ``running`` is a ``RunningOptions``.
      console: where to print.

    Returns:
      The exit status: 1 where a run failed, 130 after Ctrl-C.
    """
    console = Console() if console is None else console
    return shell.guarded(
        console,
        lambda: _main(study, config, console),
        stopped="Every finished run is recorded; the same command goes on from there, and [bold]"
        f"prunejax report --results {config.running.results}[/] shows what there is.",
    )


def _main(study: Study, config: Any, console: Console) -> int:
    started, config = time.perf_counter(), study.shorten(config)
    running = config.running
    running.check()
    study.check(config)
    desk = Desk(running.results)
    runs = study.runs(config)
    check_redo(running.redo, [study.method(run) for run in runs])
    again = {run for run in runs if {ALL, study.method(run)}.intersection(running.redo)}
    done = conduct(
        runs, running, console, desk, again=again, prepare=lambda: study.prepare(config, desk)
    )
    if runs and not done.records:
        raise ValueError("no run ended well; there is nothing to report")
    console.print()
    files = study.report(config, done, desk, console)
    console.print(
        f"{len(done.records)} runs, {done.new} of them now, {shell.seconds_since(started)}. "
        "Written:"
    )
    for file in files:
        console.print(f"  {file}", soft_wrap=True, highlight=False)
    if done.failed:
        console.print(
            f"[bold red]{len(done.failed)} runs failed[/], see above; the tables are without them."
        )
    return 1 if done.failed else 0


def check_redo(redo: Collection[str], names: Collection[str]) -> None:
    """Refuses to do again what nobody asked for.

    Raises:
      ValueError: a name that is neither "all" nor one of ``names``.
    """
    for name in redo:
        if name not in (ALL, *names):
            asked = ", ".join(dict.fromkeys(names))
            raise ValueError(f"redo takes {ALL!r} or what is asked for ({asked}), got {name!r}")
