"""Claims: processes that share one results folder do no run twice at the same time.

A run is claimed by a lock on a file named after its record. A process that dies loses the lock, so
that another one can do the run.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from prunejax.files import remove_unfinished

FOLDER = ".claims"
PATIENCE = 0.5
"""Seconds between looks at runs that other processes have claimed."""


def lock_of(path: Path) -> FileLock:
    """The lock that claims the run of a record."""
    folder = path.parent.parent / FOLDER / path.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{path.stem}.lock")


def in_turns(paths: Iterable[Path], on_wait: Callable[[int], None]) -> Generator[Path, None, None]:
    """The paths one by one, each claimed by this process while it is dealt with.

    What another process has claimed comes last, when that process is done with it or has died: the
    caller looks whether it is recorded by now.

    Args:
      paths: of the runs' records.
      on_wait: told how many runs other processes are doing, when nothing else is left.

    Yields:
      The path of a claimed run.
    """
    waiting = list(paths)
    while waiting:
        claimed = False
        for path in list(waiting):
            lock = lock_of(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            claimed = True
            waiting.remove(path)
            try:
                remove_unfinished(path.parent, path.stem)
                yield path
            finally:
                lock.release()
        if waiting and not claimed:
            on_wait(len(waiting))
            time.sleep(PATIENCE)


@contextlib.contextmanager
def alone(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Claims the run of a record; waits while another process does it.

    Args:
      path: of the record.
      on_wait: told once where another process has it.

    Yields:
      Nothing; the run is claimed inside the block.
    """
    lock = lock_of(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        remove_unfinished(path.parent, path.stem)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def unless_claimed(path: Path) -> Iterator[bool]:
    """Claims the run of a record if nobody has it.

    Args:
      path: of the record.

    Yields:
      Whether the run is this process's inside the block.
    """
    lock = lock_of(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
