"""Data sets that tensorflow-datasets has prepared on this machine: finding and decoding them."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from prunejax.data.catalogue import DATASETS, Info
from prunejax.extras import hinted

_CHUNK = 1000  # records read at a time


class Prepared(NamedTuple):
    """One split of one prepared data set.

    Attributes:
      name: of the data set in ``DATASETS``.
      split: of the data set.
      folder: the version's folder, the one with ``dataset_info.json``.
      shards: the split's array_record files, in order.
      fingerprint: changes when any of these files does (their sizes, their times of change, and
        the bytes of ``dataset_info.json``).
    """

    name: str
    split: str
    folder: Path
    shards: tuple[Path, ...]
    fingerprint: str


def find(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> Prepared:
    """Finds the newest prepared version of a data set, touching nothing.

    This comes before any call to tensorflow-datasets, which makes folders, and may download, where
    a data set is missing.

    Args:
      name: of the data set in ``DATASETS``.
      split: of the data set.
      data_dir: the folder that holds prepared data sets; None for ``TFDS_DATA_DIR``, or without
        it ``~/tensorflow_datasets``.

    Returns:
      Where the split is.

    Raises:
      FileNotFoundError: the data set is not there, or not in array_record format; the message
        says how to get it.
      OSError: a file there cannot be read.
    """
    tfds_name = DATASETS[name].tfds_name
    assert tfds_name is not None
    if data_dir is not None:
        root, origin = Path(data_dir), "data_dir="
    elif os.environ.get("TFDS_DATA_DIR"):
        root, origin = Path(os.environ["TFDS_DATA_DIR"]), "TFDS_DATA_DIR"
    else:
        root, origin = Path("~/tensorflow_datasets"), "the default; TFDS_DATA_DIR is not set"
    root = root.expanduser()
    help_text = (
        f"Set TFDS_DATA_DIR (or data_dir=) to the folder that holds it, or prepare it once, in any "
        f"environment with TensorFlow and a network: `tfds build {tfds_name} "
        f"--file_format=array_record --data_dir={root}`. The data set 'digits' needs nothing."
    )

    folder = _newest_version(root / tfds_name)
    if folder is None:
        raise FileNotFoundError(
            f"no prepared data set {name!r}: looked for "
            f"{root / tfds_name / '<version>' / 'dataset_info.json'} ({origin}). {help_text}"
        )
    description = _read_json(folder / "dataset_info.json")
    _read_json(folder / "features.json")
    shards = tuple(sorted(folder.glob(f"*-{split}.array_record-*")))
    if not shards:
        raise FileNotFoundError(
            f"{folder} holds no array_record files of the split {split!r} of {name!r} "
            f"(dataset_info.json: {_file_format(description)}). {help_text}"
        )
    fingerprint = hashlib.sha256(description)
    for shard in shards:
        status = shard.stat()
        fingerprint.update(f"{shard.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return Prepared(name, split, folder, shards, fingerprint.hexdigest()[:16])


@hinted
def decode(
    prepared: Prepared, told: Callable[[int, int], None] | None = None
) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]]:
    """Reads and decodes a whole split.

    Images are decoded here, by Pillow, rather than inside tensorflow-datasets: that is faster, and
    the pixels of a JPEG do not then depend on whether OpenCV happens to be installed.

    Args:
      prepared: the split.
      told: ``(images done, of all)``, some times per second.

    Returns:
      Its images and its labels, with what ``Info`` says of the source put right.

    Raises:
      OSError: a file is damaged; the message names it.
    """
    import array_record  # noqa: F401 (tfds needs it to read the files, and says so late)
    import PIL  # noqa: F401
    import tensorflow_datasets as tfds

    info = DATASETS[prepared.name]
    try:
        builder: Any = tfds.builder_from_directory(prepared.folder)
        shard_lengths = builder.info.splits[prepared.split].shard_lengths
    except Exception as error:
        raise _damaged(prepared.folder / "dataset_info.json", error) from error
    if len(shard_lengths) != len(prepared.shards):
        raise FileNotFoundError(
            f"{prepared.folder} holds {len(prepared.shards)} array_record files of the split "
            f"{prepared.split!r}, its dataset_info.json says {len(shard_lengths)}"
        )
    parts = []
    for number, shard in enumerate(prepared.shards):
        try:
            records = builder.as_data_source(
                f"{prepared.split}[{number}shard]",
                decoders={"image": tfds.decode.SkipDecoding()},
            )
            before = sum(shard_lengths[:number])

            def so_far(done: int, before: int = before) -> None:
                if told is not None:
                    told(before + done, sum(shard_lengths))

            parts.append(_decode_shard(records, info, so_far))
        except Exception as error:
            raise _damaged(shard, error) from error
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels


def _newest_version(folder: Path) -> Path | None:
    """The subfolder with the highest version number that holds a finished data set, if any."""
    versions = {
        tuple(int(part) for part in path.parent.name.split(".")): path.parent
        for path in folder.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    }
    return versions[max(versions)] if versions else None


def _read_json(path: Path) -> bytes:
    """The bytes of a JSON file that holds an object."""
    try:
        content = path.read_bytes()
        if not isinstance(json.loads(content), dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return content


def _file_format(description: bytes) -> str:
    return f"file format {json.loads(description).get('fileFormat', 'not given')!r}"


def _damaged(path: Path, error: Exception) -> OSError:
    return OSError(f"cannot read {path}, which is damaged or incomplete: {error}")


def _decode_shard(
    records: Any, info: Info, told: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(records), *info.shape), np.uint8)
    labels = np.empty(len(records), np.int32)
    for start in range(0, len(records), _CHUNK):
        chunk = records.__getitems__(range(start, min(start + _CHUNK, len(records))))
        for index, record in enumerate(chunk, start):
            images[index] = _decode_image(record["image"], info.shape)
            labels[index] = record["label"]
        told(start + len(chunk))
    return correct(images, labels, info)


def _decode_image(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise ValueError(f"an image is {pixels.dtype} {pixels.shape}, expected uint8 {shape}")
    return pixels


def correct(
    images: UInt8[np.ndarray, "n h w c"], labels: Int32[np.ndarray, " n"], info: Info
) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]]:
    """Turns images upright and counts labels from 0, where the source does not.

    EMNIST keeps the column-major order of the MATLAB files that it comes from, so every image is
    transposed, and its letters are labelled 1 (a) to 26 (z).

    Args:
      images: as stored.
      labels: as stored.
      info: what is known about the data set.

    Returns:
      Upright images and labels 0..classes-1.

    Raises:
      ValueError: a label is outside the data set's classes.
    """
    if info.transposed:
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    labels = labels - np.int32(info.first_label)
    if labels.size and not (labels.min() >= 0 and labels.max() < info.classes):
        first, last = info.first_label, info.first_label + info.classes - 1
        raise ValueError(
            f"labels must be in {first}..{last}, got {labels.min() + first}..{labels.max() + first}"
        )
    return images, labels
