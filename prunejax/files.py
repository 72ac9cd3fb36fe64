"""Writing a file so that a reader never sees half of it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".unfinished"
"""How the names of files end that are being written."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes ``content`` to ``path``, making its folder, in one step that either happens or not.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name.
    On any failure (a full disk, no permission, Ctrl-C) the temporary file is removed, whatever
    stood under ``path`` before is still there, and the error goes on.

    Args:
      path: the file to make or to replace.
      content: its bytes.

    Returns:
      The path written.

    Raises:
      OSError: the bytes could not be written; the message names ``path``.
    """
    with written_atomically(path) as file:
        file.write(content)
    return Path(path)


@contextlib.contextmanager
def written_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to that takes its name when the block ends without an error.

    Args:
      path: the file to make or to replace; its folder is made too.

    Yields:
      The temporary file, open for writing bytes.

    Raises:
      OSError: the bytes could not be written; the message names ``path``, and what stood there
        is unchanged.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent
        )
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"cannot write {path}: {error.strerror}; what stood there is unchanged"
            raise OSError(error.errno, message) from error
        raise


def remove_unfinished(folder: str | os.PathLike[str], stem: str = "") -> None:
    """Removes what processes that died left half written in a folder.

    Only for a caller that holds a lock on these files, so that nobody else is writing them.

    Args:
      folder: the folder.
      stem: how the files' names begin; by default all of the folder.
    """
    for path in Path(folder).glob(f".{stem}*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
