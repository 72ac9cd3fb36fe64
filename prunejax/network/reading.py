"""Reading plans and archives that may be damaged or made to do harm: sizes before contents."""

import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

WIDEST = 2**24
"""All groups of a file together may be so wide: no network comes near, and memory is no matter."""

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
        ValueError: if it is none.
    """
    try:
        found = json.loads(content)
    except (RecursionError, MemoryError) as error:
        raise ValueError("its lists are nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it is a {type(found).__name__}, not an object")
    return found


def kept(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Which channels a plan keeps.

    Args:
        content: of a plan's file.

    Returns:
        For each group a bool array, [width].

    Raises:
        ValueError: if it says nothing sensible.
    """
    entries = content["keep"]
    if not isinstance(entries, dict):
        raise ValueError(f"what it keeps is a {type(entries).__name__}, not an object")
    found, left = {}, WIDEST
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
        found[group] = np.zeros(width, bool)
        found[group][channels] = True
    return found


def unarchived(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` that `exporting.archive` wrote, none of which is compressed.

    Args:
        content: of the file.

    Returns:
        The arrays by path.

    Raises:
        ValueError: if an array has not the number of bytes that its shape says, is compressed, or
            holds no numbers.
    """
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                raise ValueError(f"the array {name!r} is compressed")
            if name in arrays:
                raise ValueError(f"there are two arrays {name!r}")
            arrays[name] = _array(name, archive.read(info))
    return arrays


def _array(name: str, held: bytes) -> np.ndarray:
    file = BytesIO(held)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"the array {name!r} has a format of NumPy's that is not known")
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, columns_first, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "biufc":
        raise ValueError(f"the array {name!r} holds {dtype}, not numbers")
    body = held[file.tell() :]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(
            f"the array {name!r} has {len(body)} bytes, which are not {dtype}{list(shape)}"
        )
    order = "F" if columns_first else "C"
    return np.frombuffer(body, dtype).reshape(shape, order=order)
