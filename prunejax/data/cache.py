"""Decoded data sets kept as .npy files, so that each is decoded once on a machine.

A cache can only cost or save time: a file that is missing, cut short or altered is made again,
and a folder that cannot be written to is done without. It may be deleted at any time.
"""

import functools
import io
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from prunejax.data.catalogue import DATASETS
from prunejax.data.prepared import Prepared
from prunejax.files import cache_folder, remove_unfinished, write_atomically

ABANDONED = 3600.0
"""Nobody writes a data set for so many seconds: a process died meanwhile."""


def cache_path(prepared: Prepared) -> Path:
    """The file that keeps a split, named by data set, version, split and source fingerprint."""
    parts = (prepared.name, prepared.folder.name, prepared.split, prepared.fingerprint)
    return cache_folder() / f"{'-'.join(parts)}.npy"


def read(
    prepared: Prepared,
) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]] | None:
    """Reads a split from the cache.

    Args:
      prepared: the split.

    Returns:
      Images and labels; None if there is no file, or, with a warning, if it is damaged.
    """
    path = cache_path(prepared)
    try:
        file = path.open("rb")
    except OSError:
        return None
    try:
        with file:
            images, labels, checksum = (np.load(file, allow_pickle=False) for _ in range(3))
        if images.shape != (len(labels), *DATASETS[prepared.name].shape):
            raise ValueError(f"images of shape {images.shape} for {len(labels)} labels")
        if checksum != _checksum(images, labels):
            raise ValueError("the checksum differs")
    except Exception as error:  # np.load raises almost anything on altered bytes
        warnings.warn(
            f"the cached data set {path} is damaged ({error}); decoding it again", stacklevel=2
        )
        return None
    return images, labels


def write(
    prepared: Prepared, images: UInt8[np.ndarray, "n h w c"], labels: Int32[np.ndarray, " n"]
) -> None:
    """Writes a split to the cache, or warns, once for a folder, that it cannot be written to.

    The file is three arrays one after another: images, labels, and the CRC-32 of both.

    Args:
      prepared: the split.
      images: decoded.
      labels: decoded.
    """
    content = io.BytesIO()
    for array in (images, labels, _checksum(images, labels)):
        np.save(content, array, allow_pickle=False)
    path = cache_path(prepared)
    try:
        remove_unfinished(path.parent, older_than=ABANDONED)
        write_atomically(path, content.getvalue())
    except OSError as error:
        _warn_unwritable(path.parent, os.strerror(error.errno or 0))


def _checksum(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(zlib.crc32(labels.data, zlib.crc32(images.data)), np.uint32)


@functools.cache
def _warn_unwritable(folder: Path, reason: str) -> None:
    warnings.warn(
        f"decoded data sets cannot be kept in {folder} ({reason}), so every process decodes them "
        "again; set PRUNEJAX_CACHE_DIR to a folder that can be written to",
        stacklevel=3,
    )
