"""One run in one process: claimed, done unless it is recorded, and recorded with its files."""

import shutil
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.common import claims, records
from experiments.common.desk import Desk, Show
from experiments.common.run import Run, path_of, recorded
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
    results = desk.results
    if path_of(job.run, results) != job.path:
        raise ValueError(
            f"{job.run.title} has another configuration in this process: its code or versions are "
            "not those of the command"
        )
    with claims.unless_claimed(job.path) as ours:
        if not ours:
            return Answer("busy")
        record = recorded(job.run, results)
        if record is not None and job.since != job.path.stat().st_mtime_ns:
            return Answer("found", record)
        if record is not None:  # it is done again, and from the beginning
            shutil.rmtree(job.path.parent / CHECKPOINTS, ignore_errors=True)
        try:
            return Answer("done", perform(job.run, desk))
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
    path = path_of(run, desk.results)
    remove_unfinished(path.parent)
    outcome = run.do(desk)
    path.parent.mkdir(parents=True, exist_ok=True)
    if outcome.files:  # an old record never stands beside new files
        path.unlink(missing_ok=True)
    for name, write in outcome.files.items():
        write(path.parent / name)
    record = records.save(
        path,
        config=run.config(),
        metrics=outcome.metrics,
        history=list(map(dict, outcome.history)),
        seconds=outcome.seconds,
    )
    clear(path)
    return record


def clear(path: Path) -> None:
    """Removes what is of use only while a run is done."""
    shutil.rmtree(path.parent / CHECKPOINTS, ignore_errors=True)
    (path.parent / ERROR).unlink(missing_ok=True)


_DESKS: dict[Path, Desk] = {}
_ONE_AT_A_TIME = threading.Lock()


def attempt_elsewhere(job: Job, results: Path, show: Show | None = None) -> Answer:
    """``attempt`` in a process of workers, whose desk stays; what it warns of comes back.

    One run at a time, however many threads a worker has: they would share a desk.

    Args:
      job: the job.
      results: the folder of all results, which workers share.
      show: told how the run goes on.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        desk = _DESKS.setdefault(results, Desk(results))
        desk.show = seldom(show) if show else lambda *_: None
        try:
            answer = attempt(job, desk)
        except OSError as error:  # of one machine, maybe
            answer = Answer("failed", message=str(error))
    said = (f"{one.message}" for one in caught if issubclass(one.category, UserWarning))
    return answer._replace(warnings=tuple(dict.fromkeys(said)))


def seldom(show: Show, *, seconds: float = 0.2) -> Show:
    """``show``, called at most once in so many seconds: each message crosses to another process."""
    last = [0.0]

    def told(what: str, done: int, of: int) -> None:
        if time.monotonic() - last[0] >= seconds:
            last[0] = time.monotonic()
            show(what, done, of)

    return told
