"""The line that wrote an operation, as users know it."""

import itertools
from pathlib import PurePath
from typing import Any

LIBRARIES = ("site-packages", "dist-packages", "importlib")
"""A line in a folder of such a name was not written by the user."""


def where(source: Any) -> str:
    """The line that wrote an operation.

    Args:
      source: as JAX keeps it.

    Returns:
      The file, with the folder that it is in, and the line: of the innermost function that does not
      belong to an installed package, otherwise of the innermost that does not belong to JAX. ""
      where JAX does not say.
    """
    try:
        frames = source.traceback.frames
    except AttributeError:
        return ""
    outside = [frame for frame in frames if not _of(frame.file_name, ("jax", "jaxlib"))]
    own = [frame for frame in outside if not any(each in frame.file_name for each in LIBRARIES)]
    for frame in (*own, *outside):
        parts = PurePath(frame.file_name).parts
        return f"{'/'.join(parts[-2:])}:{frame.line_num}"
    return ""


def _of(file: str, packages: tuple[str, ...]) -> bool:
    """Whether a file belongs to one of some installed packages."""
    parts = PurePath(file).parts
    return any(
        before in LIBRARIES and after in packages for before, after in itertools.pairwise(parts)
    )
