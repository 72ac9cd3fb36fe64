"""Files written in one step, so that a reader never sees half of one; arrays read with care."""

import contextlib
import io
import math
import os
import secrets
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

UNFINISHED = ".unfinished"
"""How the names of files end that are being written."""

LOCK = ".lock"

DAMAGED = (
    ValueError, KeyError, TypeError, EOFError, OverflowError, NotImplementedError, RuntimeError,
    SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading altered bytes as a zip file, an array or JSON may raise (too deep a nesting is a
RuntimeError). A disk that fails and a lack of memory are not among them."""


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
    """Opens a temporary file that takes its name when the block ends without an error.

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
        temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}"
        # the system takes the process's umask off the mode
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"cannot write {path}: {error.strerror}; what stood there is unchanged"
            raise OSError(error.errno, message) from error
        raise


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a folder's lock, waiting for it; a process that dies loses it.

    Args:
      folder: made where it is missing; the lock is its file ``.lock``.

    Yields:
      Nothing; no other process is in such a block of the same folder.

    Raises:
      OSError: the folder cannot be written to.
    """
    from filelock import FileLock

    Path(folder).mkdir(parents=True, exist_ok=True)
    with FileLock(Path(folder) / LOCK):
        yield


def remove_unfinished(
    folder: str | os.PathLike[str], stem: str = "", *, older_than: float = 0.0
) -> None:
    """Removes the half-written files that dead processes left in a folder.

    Only for a caller that holds a lock on these files, or that names an age which no file reaches
    while it is being written.

    Args:
      folder: the folder.
      stem: how the files' names begin; by default all of the folder.
      older_than: seconds since they were last written to.
    """
    for path in Path(folder).glob(f".{stem}*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()


def read_arrays(
    path: str | os.PathLike[str], *, most_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Reads the arrays of an ``.npz`` file and checks everything before it is believed.

    Checksums are compared, a stored shape must be that of the stored bytes, and no pickled object
    is loaded. (``numpy.load`` reads a header before it knows the checksum, and takes its word for
    the memory that it needs.)

    Args:
      path: the file.
      most_bytes: how large the arrays may be together; None for any size.

    Returns:
      Name -> array.

    Raises:
      OSError: there is no such file, or it cannot be read now.
      ValueError: its content is damaged, is not of this format, or is larger than ``most_bytes``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # each has a header of its own, of 128 bytes mostly
            size = sum(entry.file_size for entry in entries) - 256 * len(entries)
            if most_bytes is not None and size > most_bytes:
                raise ValueError(
                    f"its arrays take {size:,} bytes, at most {most_bytes:,} can belong"
                )
            if len({entry.filename.removesuffix(".npy") for entry in entries}) < len(entries):
                raise ValueError("two of its arrays have one name")
            return {
                entry.filename.removesuffix(".npy"): _array(archive.read(entry))
                for entry in entries
            }
    except DAMAGED as error:
        raise ValueError(str(error) or type(error).__name__) from error


_BINARY = getattr(os, "O_BINARY", 0)
"""Windows translates line ends unless it is told that a file is binary."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _array(content: bytes) -> np.ndarray:
    """The array that the bytes of an ``.npy`` file hold."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"an array is of format {version}, which is not read")
    shape, fortran_order, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("an array holds Python objects")
    start = stream.tell()
    if math.prod(shape) * dtype.itemsize != len(content) - start or min(shape, default=0) < 0:
        raise ValueError(
            f"an array of {len(content) - start} bytes says it is {dtype}{list(shape)}"
        )
    flat = np.frombuffer(content, dtype, math.prod(shape), start)
    return flat.reshape(shape, order="F" if fortran_order else "C").copy()


def cache_folder() -> Path:
    """Where what can be made again is kept: decoded data sets, compiled kernels.

    Returns:
      ``$PRUNEJAX_CACHE_DIR``, else ``$XDG_CACHE_HOME/prunejax``, else ``~/.cache/prunejax``.
    """
    if chosen := os.environ.get("PRUNEJAX_CACHE_DIR"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "prunejax"
