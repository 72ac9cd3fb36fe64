"""A cache folder for each test, and tiny data sets in tensorflow-datasets' own layout."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from prunejax.data import cache, loading


def forget_loaded():
    """Empties the in-process caches, as a new process would."""
    for function in (loading._raw, loading._standardised, loading._statistics):
        function.cache_clear()
    cache._warn_unwritable.cache_clear()


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", str(folder))
    forget_loaded()
    yield folder
    forget_loaded()


@pytest.fixture
def new_process():
    return forget_loaded


@pytest.fixture
def data_dir(tmp_path):
    """An empty folder for prepared data sets."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    return folder


@pytest.fixture
def prepare(data_dir):
    """A function that writes a data set as `tfds build --file_format=array_record` lays it out."""

    def write(tfds_name, version, splits, *, classes, shards=1, extra=None):
        import tensorflow_datasets as tfds

        folder = data_dir / tfds_name / version
        folder.mkdir(parents=True, exist_ok=True)
        shape = next(iter(splits.values()))[0].shape[1:]
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape, encoding_format="png"),
                "label": tfds.features.ClassLabel(num_classes=classes),
                **{key: tfds.features.ClassLabel(num_classes=1) for key in extra or {}},
            }
        )
        features.save_config(folder)
        name = tfds_name.split("/")[0]
        description = {
            "name": name,
            "version": version,
            "fileFormat": "array_record",
            "moduleName": "tests",
            "splits": [
                _write_split(folder, name, split, arrays, shards, extra or {})
                for split, arrays in splits.items()
            ],
        }
        (folder / "dataset_info.json").write_text(json.dumps(description))
        return folder

    return write


def _write_split(folder, name, split, arrays, shards, extra):
    from array_record.python.array_record_module import ArrayRecordWriter

    images, labels = arrays
    parts = np.array_split(np.arange(len(labels)), shards)
    for number, indices in enumerate(parts):
        file = folder / f"{name}-{split}.array_record-{number:05d}-of-{shards:05d}"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for index in indices:
            writer.write(_example(images[index], {"label": labels[index], **extra}))
        writer.close()
    return {
        "name": split,
        "shardLengths": [str(len(part)) for part in parts],
        "numBytes": str(images.size),
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }


def _example(image, integers):
    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    png = io.BytesIO()
    Image.fromarray(image.squeeze()).save(png, format="png")
    feature = {
        "image": tf_feature_pb2.Feature(
            bytes_list=tf_feature_pb2.BytesList(value=[png.getvalue()])
        ),
        **{
            key: tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[int(value)]))
            for key, value in integers.items()
        },
    }
    features = tf_feature_pb2.Features(feature=feature)
    return tf_example_pb2.Example(features=features).SerializeToString()


@pytest.fixture
def real_data_dir():
    """A function that gives the folder with a real data set, or skips the test."""

    def find(name):
        folder = os.environ.get("TFDS_DATA_DIR")
        if not folder:
            pytest.skip("TFDS_DATA_DIR is not set")
        if not list(Path(folder, name).glob("*/dataset_info.json")):
            pytest.skip(f"TFDS_DATA_DIR={folder} lacks {name}")
        return Path(folder)

    return find
