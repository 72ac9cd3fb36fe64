"""Reading plans and archives that may be damaged or made to do harm: sizes before contents."""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prunejax.files import read_arrays

WIDEST = 2**24
"""All groups of a file together may be so wide: no network comes near it, and it fits in memory."""

DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a file may raise that is not what it says it is."""


def parsed(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Args:
      content: of a file.

    Returns:
      The object.

    Raises:
      ValueError: the bytes are no JSON object.
    """
    try:
        loaded = json.loads(content)
    except (RecursionError, MemoryError) as error:
        raise ValueError("its lists are nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text: {error}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"it is a {type(loaded).__name__}, not an object")
    return loaded


def kept(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Which channels a plan keeps.

    Args:
      content: of a plan's file.

    Returns:
      For each group a bool array, [width].

    Raises:
      ValueError: a width or a channel is no number in its range.
    """
    entries = content["keep"]
    if not isinstance(entries, dict):
        raise ValueError(f"what it keeps is a {type(entries).__name__}, not an object")
    keep, left = {}, WIDEST
    for group, entry in entries.items():
        width, channels = entry["width"], entry["channels"]
        if type(width) is not int or not 0 < width <= left:
            raise ValueError(f"the width of {group!r} is {str(width)[:40]}, not 1 to {left}")
        left -= width
        whole = isinstance(channels, list) and all(type(each) is int for each in channels)
        if not whole:
            raise ValueError(f"the channels of {group!r} are no list of whole numbers")
        inside = all(0 <= each < width for each in channels)
        if not inside or len(set(channels)) != len(channels):
            raise ValueError(f"the channels of {group!r} are not among its {width}")
        keep[group] = np.zeros(width, bool)
        keep[group][channels] = True
    return keep


def unarchived(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` that ``exporting.archive`` wrote, none of which is compressed.

    Args:
      path: the file.

    Returns:
      The arrays by path.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an array does not have the number of bytes that its shape needs, is compressed, or
        holds no numbers.
      zipfile.BadZipFile: it is no such file.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"the array {info.filename.removesuffix('.npy')!r} is compressed")
    arrays = read_arrays(path, most_bytes=path.stat().st_size)
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise ValueError(f"the array {name!r} holds {array.dtype}, not numbers")
    return arrays
