"""Replaces a folder as a whole; the next call repairs what a killed process left.

The new folder is filled in a hidden workplace beside the one that it replaces. Two renames follow:
the old folder goes into the workplace, the new one takes its name. A process that is killed between
them leaves nothing under the name, but the old folder whole in its workplace, from where
``recover`` takes it back. Each workplace has a lock, which its process loses when it dies.
"""

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from prunejax.files import LOCK, locked

NEW, OLD = "new", "old"

BEGINNING = 3600.0
"""So many seconds old, a workplace with nothing in it is no longer one that is just being made."""


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, then to ``put`` in another's place; it is gone at the end.

    Args:
      folder: what shall be replaced, or made.

    Yields:
      The folder to fill.

    Raises:
      OSError: it cannot be made.
    """
    work = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with locked(work):
        try:
            (work / NEW).mkdir()
            yield work / NEW
        finally:
            _clear(work, folder)
    shutil.rmtree(work, ignore_errors=True)  # where a file that is locked cannot be removed


def put(new: Path, folder: Path) -> None:
    """Gives a folder its name; what had the name before goes into the workplace.

    Args:
      new: what ``workplace`` gave, filled.
      folder: what it shall be called.

    Raises:
      OSError: it cannot be renamed.
    """
    old = new.with_name(OLD)
    while True:
        with contextlib.suppress(FileNotFoundError):
            if folder.exists():
                os.rename(folder, old)
        try:
            os.rename(new, folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)  # another process has put a newer one in its place


def recover(folder: Path) -> None:
    """Takes back what a killed process moved away, and removes what dead processes left.

    If a living process is between its two renames, this function waits for it.

    Args:
      folder: what was to be replaced.

    Raises:
      OSError: it cannot be renamed.
    """
    from filelock import FileLock, Timeout

    for work in _workplaces(folder):
        between = (work / OLD).exists() and not folder.exists()
        if not between and not (work / NEW).exists() and _age(work) < BEGINNING:
            continue
        with (
            contextlib.suppress(Timeout, FileNotFoundError),  # alive, or gone meanwhile
            FileLock(work / LOCK, timeout=-1 if between else 0),
        ):
            _clear(work, folder)
        if not (work / NEW).exists() and not (work / OLD).exists():
            shutil.rmtree(work, ignore_errors=True)


def _workplaces(folder: Path) -> list[Path]:
    """All workplaces for a folder; the one with the newest old folder first."""
    form = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{32}}")
    try:
        workplaces = [path for path in folder.parent.iterdir() if form.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(workplaces, key=lambda work: _age(work / OLD))


def _age(path: Path) -> float:
    """Seconds since something was made in a folder; 0 if it is not there."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _clear(work: Path, folder: Path) -> None:
    """Removes a workplace, whose lock is held; the old folder goes back where there is no other."""
    if (work / OLD).exists() and not folder.exists():
        os.rename(work / OLD, folder)
    shutil.rmtree(work, ignore_errors=True)
