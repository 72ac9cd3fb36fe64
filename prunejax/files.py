"""Writing a file so that a reader never sees half of it."""

import os
import tempfile
from pathlib import Path


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
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
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
    return path


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
