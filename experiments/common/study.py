"""The engine of runs: does what is missing, needs first; a run that fails leaves the others."""

import functools
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from experiments.common import attempts, claims, shell
from experiments.common.attempts import Answer, Job
from experiments.common.desk import Desk
from experiments.common.means import Dask, Means, Processes, ThisProcess, WorkerDiedError
from experiments.common.options import RunningOptions
from experiments.common.profiling import FOLDER, profiled
from experiments.common.records import Record, diverged
from experiments.common.run import Run, path_of, recorded
from experiments.common.schedule import Schedule, with_needs

PATIENCE = 0.5
"""Seconds between looks at what goes on elsewhere."""


class Done(NamedTuple):
    """What became of the runs of a command.

    Attributes:
      records: run -> its record, in the order in which they were asked for.
      failed: run -> why it has none.
      new: how many of the records this command made.
    """

    records: dict[Run, Record]
    failed: dict[Run, str]
    new: int

    def of(self, runs: Iterable[Run]) -> list[Record]:
        """The records of some runs, without those that failed."""
        return [self.records[run] for run in runs if run in self.records]


def conduct(
    runs: Iterable[Run],
    running: RunningOptions,
    console: Console,
    desk: Desk,
    *,
    again: Collection[Run] = (),
    prepare: Callable[[], None] = lambda: None,
) -> Done:
    """Does the runs that are not recorded yet; a run that fails leaves the others.

    Args:
      runs: what is asked for; what they need is done too where it is not recorded.
      running: where results go and where runs are done.
      console: where progress is shown.
      desk: of this process.
      again: runs that are done although they are recorded.
      prepare: called before the first run, unless runs are done on a cluster.

    Returns:
      Records and failures.

    Raises:
      OSError: a file could not be read or written.
      KeyboardInterrupt: it was stopped; what is finished is recorded.
    """
    asked, results = list(dict.fromkeys(runs)), running.results
    again = {*again, *(kept for run in again for kept in run.keeps)}
    is_recorded = functools.cache(lambda run: recorded(run, results))
    known = {run: None if run in again else is_recorded(run) for run in asked}
    missing = [run for run, record in known.items() if record is None]
    if len(missing) < len(asked):
        console.print(f"{len(asked) - len(missing)} of {len(asked)} runs are recorded already")
    for run in known.keys() - set(missing):
        clear_remains(path_of(run, results))
    kept = [run for one in asked for run in one.keeps if run in again or not is_recorded(run)]
    if not missing and not kept:
        return Done({run: record for run, record in known.items() if record}, {}, 0)
    shell.refuse_unwritable(results)
    here = running.scheduler is None and running.workers == 1
    if running.scheduler is None:
        with shell.waiting(console) as desk.show:
            prepare()
        desk.show = lambda *_: None
    ordered = with_needs([*kept, *missing], lambda run: is_recorded(run) is not None)
    old = {run: path_of(run, results) for run in ordered if run in again}
    since = {run: path.stat().st_mtime_ns for run, path in old.items() if path.exists()}
    means: Means = (
        ThisProcess(desk)
        if here
        else Processes(running.workers, results)
        if running.scheduler is None
        else Dask(running.scheduler, results)
    )
    if not here:
        results = results.resolve()
    total = len(asked) + len(set(ordered) - set(asked))
    try:
        folder = results / FOLDER if running.profile else None
        with (
            shell.Bars(console, total=total, done=total - len(ordered)) as bars,
            profiled(folder) as trace,
        ):
            bars.show("starting", 0, 1)
            desk.show = bars.show
            made = _Conductor(
                Schedule(ordered), means, bars, since, results, console, running.networks_together()
            ).go()
        if trace is not None:
            said = f"a trace of one epoch is in {folder}"
            said = said if trace.is_written else "nothing was trained that --profile can trace"
            console.print(said, highlight=False, soft_wrap=True)
    finally:
        desk.show = lambda *_: None
        means.close()
    now = {run: known[run] or made.records.get(run) for run in asked}
    return Done(
        {run: record for run, record in now.items() if record},
        {run: why for run, why in made.failed.items() if run in known},
        sum(run in known for run in made.new),
    )


class _Made(NamedTuple):
    records: dict[Run, Record]
    failed: dict[Run, str]
    new: set[Run]


class _Conductor:
    """Gives runs to processes and takes their answers."""

    def __init__(
        self,
        schedule: Schedule,
        means: Means,
        bars: shell.Bars,
        since: dict[Run, int],
        results: Path,
        console: Console,
        together: int,
    ) -> None:
        self._schedule, self._means, self._bars = schedule, means, bars
        self._since, self._results, self._console = since, results, console
        self._together = together
        self._begun: dict[Any, list[Run]] = {}
        self._deaths: dict[Run, int] = {}
        self._looked = time.monotonic()
        self._made = _Made({}, schedule.failed, set())

    def go(self) -> _Made:
        """Until every run is recorded or failed."""
        while self._schedule.waiting or self._begun:
            shell.stop_if_interrupted()
            self._begin()
            if not self._begun:  # other processes do all that is left
                count = self._schedule.look_again()
                runs = "a run" if count == 1 else f"{count} runs"
                self._bars.show(f"waiting for {runs} of another process", 0, 1)
                time.sleep(self._means.patience)
                continue
            if time.monotonic() - self._looked > self._means.patience:
                self._schedule.look_again()
                self._looked = time.monotonic()
            for future in self._means.finished(list(self._begun), PATIENCE):
                self._end(future)
            for what, done, of in self._means.news():
                self._bars.show(what, done, of)
        return self._made

    def _begin(self) -> None:
        while len(self._begun) < self._means.width:
            if any(run.alone for runs in self._begun.values() for run in runs):
                return
            run = self._schedule.begin()
            if run is None:
                return
            if run.alone and self._begun:
                self._schedule.again(run)
                return
            runs = [run]
            if run not in self._deaths:
                runs += self._schedule.begin_with(run, self._together - 1)
            jobs = [Job(each, path_of(each, self._results), self._since.get(each)) for each in runs]
            self._begun[self._means.start(jobs)] = runs

    def _end(self, future: Any) -> None:
        runs = self._begun.pop(future)
        try:
            answers = self._means.answer(future)
        except WorkerDiedError:
            for run in reversed(runs):
                self._died(run)
            return
        for run, answer in zip(runs, answers, strict=True):
            self._answered(run, answer)

    def _died(self, run: Run) -> None:
        self._deaths[run] = self._deaths.get(run, 0) + 1
        if self._deaths[run] > self._means.retries:
            self._fail(run, "its worker died, again and again")
        else:
            shell.warn(self._console, f"the worker of {run.title} died; it is begun anew")
            self._schedule.again(run)

    def _answered(self, run: Run, answer: Answer) -> None:
        for message in answer.warnings:
            shell.warn(self._console, message)
        if answer.record is not None:
            self._made.records[run] = answer.record
            self._schedule.settle(run)
            self._bars.advance()
            if answer.state == "done":
                self._made.new.add(run)
                if diverged(answer.record):
                    about = "its loss is not finite; tables mark it"
                    shell.fail(self._console, about, f"{run.title} diverged:")
        elif answer.state == "busy":
            self._schedule.postpone(run)
        else:
            self._fail(run, answer.message)

    def _fail(self, run: Run, why: str) -> None:
        # a message that names the run needs no other name
        shell.fail(self._console, why, "" if run.title in why else f"{run.title} failed:")
        left_out = self._schedule.fail(run, why)
        self._bars.advance(1 + len(left_out))
        if left_out:
            count = "a run" if len(left_out) == 1 else f"{len(left_out)} runs"
            shell.fail(self._console, f"{run.title} is what {count} need", "left out:")


def clear_remains(path: Path) -> None:
    """Removes the checkpoints that a process left which was killed after it wrote the record."""
    if (path.parent / attempts.CHECKPOINTS).exists():
        with claims.unless_claimed(path) as ours:
            if ours:  # otherwise another process does this run again
                attempts.clear(path)
