"""One run in one process: claimed, done unless it is recorded, and recorded with its files."""

import contextlib
import shutil
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.common import claims, records
from experiments.common.desk import Desk, Show
from experiments.common.run import Outcome, Run, path_of, recorded
from experiments.common.together import TrainingRun, together
from prunejax.files import remove_unfinished, write_atomically

CHECKPOINTS = "checkpoints"
"""The folder beside a record that is of use only while its run is done."""


ERROR = "error.txt"
"""Where a run that failed came to grief, with all lines of the traceback."""


class Job(NamedTuple):
    """A run that a process is asked to do.

    Attributes:
      run: the run.
      path: of its record; the process must name it the same, or its code is another.
      since: do it although it is recorded, unless the record is no longer the one that was
        changed at this time (``st_mtime_ns``).
    """

    run: Run
    path: Path
    since: int | None = None


class Answer(NamedTuple):
    """What became of a job.

    Attributes:
      state: "done" now; "found" recorded; "busy": another process does it; "failed".
      record: of a run that is done or found.
      message: why a run failed.
      warnings: what the run warned of, where it was done in another process.
    """

    state: Literal["done", "found", "busy", "failed"]
    record: records.Record | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()


def attempt(job: Job, desk: Desk) -> Answer:
    """Does a job unless another process has claimed its run.

    Raises:
      OSError: a file could not be read or written, which no other run would escape either.
      KeyboardInterrupt: it was stopped; nothing is recorded.
    """
    return attempt_together([job], desk)[0]


def attempt_together(jobs: Sequence[Job], desk: Desk) -> list[Answer]:
    """Does jobs, the trainings that they ask for as one program where they are of one kind.

    Args:
      jobs: one, or several of runs that train.
      desk: where they are done.

    Returns:
      An answer to each. One that fails leaves the others.

    Raises:
      OSError: a file could not be read or written, which no other run would escape either.
      KeyboardInterrupt: it was stopped; what had ended is recorded.
    """
    answers: dict[Path, Answer] = {}
    with contextlib.ExitStack() as stack:
        ours: list[Job] = []
        for job in jobs:
            answer = _claimed(job, desk, stack)
            if answer is None:
                ours.append(job)
            else:
                answers[job.path] = answer
        works = {job: job.run.work(desk) for job in ours if isinstance(job.run, TrainingRun)}

        def ended(job: Job, outcome: Outcome | Exception) -> None:
            answers[job.path] = _answered(job, desk, outcome)

        if len(works) > 1:
            together(works, desk.show, ended)
        for job in ours:
            if job.path not in answers:
                answers[job.path] = _answered(job, desk, None)
    return [answers[job.path] for job in jobs]


def _claimed(job: Job, desk: Desk, stack: contextlib.ExitStack) -> Answer | None:
    """Claims a run until the stack ends; the answer where it is not to be done.

    Raises:
      ValueError: this process names the run otherwise.
    """
    if path_of(job.run, desk.results) != job.path:
        raise ValueError(
            f"{job.run.title} has another configuration in this process: its code or versions are "
            "not those of the command"
        )
    if not stack.enter_context(claims.unless_claimed(job.path)):
        return Answer("busy")
    known = recorded(job.run, desk.results)
    if known is not None and job.since != job.path.stat().st_mtime_ns:
        return Answer("found", known)
    if known is not None:  # it is done again, and from the beginning
        shutil.rmtree(job.path.parent / CHECKPOINTS, ignore_errors=True)
    remove_unfinished(job.path.parent)
    return None


def _answered(job: Job, desk: Desk, outcome: Outcome | Exception | None) -> Answer:
    """Records what a run gave, or why it failed; does it first where there is no outcome yet."""
    try:
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            return Answer("done", perform(job.run, desk))
        return Answer("done", record(job.run, outcome, desk))
    except OSError:
        raise
    except Exception as error:
        note = job.path.parent / ERROR
        write_atomically(note, traceback.format_exc().encode())
        if isinstance(error, ValueError):  # as runs say what they cannot do
            return Answer("failed", message=str(error))
        return Answer("failed", message=f"{type(error).__name__}: {error} (see {note})")


def perform(run: Run, desk: Desk) -> records.Record:
    """Does a run that this process has claimed, and records it with its files.

    Args:
      run: the run.
      desk: what the process keeps between runs.

    Returns:
      The record.
    """
    return record(run, run.do(desk), desk)


def record(run: Run, outcome: Outcome, desk: Desk) -> records.Record:
    """Records what a run gave, with its files."""
    path = path_of(run, desk.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    if outcome.files:  # an old record never stands beside new files
        path.unlink(missing_ok=True)
    for name, write in outcome.files.items():
        write(path.parent / name)
    saved = records.save(
        path,
        config=run.config(),
        metrics=outcome.metrics,
        history=list(map(dict, outcome.history)),
        seconds=outcome.seconds,
    )
    clear(path)
    return saved


def clear(path: Path) -> None:
    """Removes what is of use only while a run is done."""
    shutil.rmtree(path.parent / CHECKPOINTS, ignore_errors=True)
    (path.parent / ERROR).unlink(missing_ok=True)


_DESKS: dict[Path, Desk] = {}
_ONE_AT_A_TIME = threading.Lock()


def attempt_elsewhere(jobs: Sequence[Job], results: Path, show: Show | None = None) -> list[Answer]:
    """``attempt_together`` in a process of workers, whose desk stays; what it warns of comes back.

    One thing at a time, however many threads a worker has: they would share a desk.

    Args:
      jobs: the jobs.
      results: the folder of all results, which workers share.
      show: told how the run goes on.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        desk = _DESKS.setdefault(results, Desk(results))
        desk.show = seldom(show) if show else lambda *_: None
        try:
            answers = attempt_together(jobs, desk)
        except OSError as error:  # of one machine, maybe
            answers = [Answer("failed", message=str(error)) for _ in jobs]
    said = (f"{one.message}" for one in caught if issubclass(one.category, UserWarning))
    first, *rest = answers
    return [first._replace(warnings=tuple(dict.fromkeys(said))), *rest]


def seldom(show: Show, *, seconds: float = 0.2) -> Show:
    """``show``, called at most once in so many seconds: each message crosses to another process."""
    last = [0.0]

    def told(what: str, done: int, of: int) -> None:
        if time.monotonic() - last[0] >= seconds:
            last[0] = time.monotonic()
            show(what, done, of)

    return told
