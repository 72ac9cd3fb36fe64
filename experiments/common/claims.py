"""Claims: processes that share one results folder do no run twice at the same time.

A run is claimed by a lock on a file named after it. A process that dies loses the lock, so that
another one can do the run.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = ".claims"
"""Where the locks are, under the folder of results."""


def lock_of(path: Path) -> FileLock:
    """The lock that claims the run of a record."""
    run = path.parent
    folder = run.parent.parent / FOLDER / run.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{run.name}.lock")


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
