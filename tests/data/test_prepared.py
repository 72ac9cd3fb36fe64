"""Data sets in tensorflow-datasets' layout: tiny ones written here, and the real ones."""

import json
import logging
import os

import numpy as np
import pytest

from prunejax import data
from prunejax.data import prepared


def fake(shape, labels, seed=0):
    labels = np.asarray(labels)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return images, labels


@pytest.fixture
def fake_mnist(prepare):
    splits = {
        "train": fake((28, 28, 1), np.arange(40) % 10),
        "test": fake((28, 28, 1), np.arange(12) % 10, seed=1),
    }
    return prepare("mnist", "3.0.1", splits, classes=10), splits


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    "name, extra", [("kmnist", {}), ("fashion_mnist", {}), ("cifar100", {"coarse_label": 0})]
)
def test_raw_data_are_what_was_written(prepare, data_dir, monkeypatch, name, extra, shards):
    monkeypatch.setattr(prepared, "_CHUNK", 7)
    info = data.DATASETS[name]
    splits = {
        "train": fake(info.shape, np.arange(50) % info.classes),
        "test": fake(info.shape, np.arange(20)[::-1] % info.classes, seed=1),
    }
    prepare(name, "3.0.1", splits, classes=info.classes, shards=shards, extra=extra)
    for split, (images, labels) in splits.items():
        loaded = data.load(name, split, normalize=False, data_dir=data_dir)
        np.testing.assert_array_equal(loaded.images, images)
        np.testing.assert_array_equal(loaded.labels, labels)
        assert loaded.images.dtype == np.uint8
        assert loaded.labels.dtype == np.int32


def test_colour_images_are_standardised_by_the_training_split(prepare, data_dir):
    splits = {"train": fake((32, 32, 3), range(10)), "test": fake((32, 32, 3), [3, 4], seed=1)}
    splits["train"][0][..., 1] //= 3
    prepare("cifar10", "3.0.2", splits, classes=10)
    pixels = splits["train"][0].reshape(-1, 3) / 255
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    measured = data.statistics("cifar10", data_dir=data_dir)
    np.testing.assert_allclose(measured.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(measured.std, std, rtol=1e-6)
    for split, (images, labels) in splits.items():
        loaded = data.load("cifar10", split, data_dir=data_dir)
        np.testing.assert_allclose(loaded.images, (images / 255 - mean) / std, atol=1e-5)
        np.testing.assert_array_equal(loaded.labels, labels)
    one = data.load("cifar10", "test", data_dir=data_dir, limit=1).images
    distances = np.abs(one - data.load("cifar10", "test", data_dir=data_dir).images)
    assert distances.max(axis=(1, 2, 3)).min() < 1e-6


def test_letters_come_upright_and_labelled_from_0(prepare, data_dir):
    upright, labels = fake((28, 28, 1), np.arange(30) % 26)
    upright[0], upright[0, 3, 20] = 0, 200
    stored = np.stack([image[:, :, 0].T[:, :, None] for image in upright])
    prepare("emnist/letters", "3.1.0", {"train": (stored, labels + 1)}, classes=37)
    loaded = data.load("emnist_letters", normalize=False, data_dir=data_dir)
    np.testing.assert_array_equal(loaded.images, upright)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert np.argwhere(loaded.images[0]).tolist() == [[3, 20, 0]]


def test_the_folder_comes_from_the_environment_unless_given(fake_mnist, data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert len(data.load("mnist", "test").labels) == 12
    assert len(data.load("mnist", "test", data_dir=str(data_dir)).labels) == 12
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir / "elsewhere"))
    assert len(data.load("mnist", "test", data_dir=data_dir).labels) == 12
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        data.load("mnist", "test")


def test_without_either_the_folder_is_in_the_home(fake_mnist, data_dir, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(data_dir.parent))
    data_dir.rename(data_dir.parent / "tensorflow_datasets")
    assert len(data.load("mnist", "test").labels) == 12


def test_the_newest_finished_version_is_read(prepare, data_dir):
    for version, count in (("3.0.9", 3), ("3.0.10", 5), ("incomplete.ABC_3.0.11", 7)):
        prepare("mnist", version, {"train": fake((28, 28, 1), range(count))}, classes=10)
    (data_dir / "mnist" / "4.0.0").mkdir()
    assert len(data.load("mnist", data_dir=data_dir, normalize=False).labels) == 5


def tree(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")])


def test_a_missing_data_set_says_how_to_get_it_and_touches_nothing(fake_mnist, data_dir):
    before = tree(data_dir)
    with pytest.raises(FileNotFoundError) as raised:
        data.load("emnist_letters", data_dir=data_dir)
    message = str(raised.value)
    assert str(data_dir / "emnist/letters/<version>/dataset_info.json") in message
    assert "TFDS_DATA_DIR" in message
    command = f"tfds build emnist/letters --file_format=array_record --data_dir={data_dir}"
    assert command in message
    assert "'digits' needs nothing" in message
    assert tree(data_dir) == before


def test_a_missing_folder_is_not_made(data_dir):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.load("cifar10", data_dir=data_dir / "nowhere")
    assert list(data_dir.iterdir()) == []


def test_reading_writes_nothing_beside_the_data_and_nothing_on_the_screen(
    fake_mnist, data_dir, capfd, caplog
):
    before = tree(data_dir)
    with caplog.at_level(logging.WARNING):
        data.load("mnist", data_dir=data_dir)
    assert tree(data_dir) == before
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_another_file_format_is_named(fake_mnist, data_dir):
    folder, _ = fake_mnist
    description = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(description | {"fileFormat": "tfrecord"}))
    for path in folder.glob("*array_record*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"'tfrecord'.*--file_format=array_record"):
        data.load("mnist", data_dir=data_dir)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[2000] ^= 255
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def other(path):
    path.write_text('["valid JSON, but no description"]')


@pytest.mark.parametrize("damage", [cut, flip, empty, other])
def test_a_damaged_record_file_is_named(fake_mnist, data_dir, damage):
    folder, _ = fake_mnist
    path = folder / "mnist-test.array_record-00000-of-00001"
    damage(path)
    with pytest.raises(OSError, match=f"cannot read {path}, which is damaged"):
        data.load("mnist", "test", data_dir=data_dir)
    assert len(data.load("mnist", "train", data_dir=data_dir).labels) == 40


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("damage", [cut, empty, other])
def test_a_damaged_description_is_named(fake_mnist, data_dir, file, damage):
    folder, _ = fake_mnist
    damage(folder / file)
    with pytest.raises(OSError, match=f"cannot read {folder / file}, which is damaged"):
        data.load("mnist", data_dir=data_dir)


@pytest.mark.parametrize("description", [{}, {"name": "mnist", "version": "3.0.1"}])
def test_a_description_that_lacks_the_split_is_named(fake_mnist, data_dir, description):
    folder, _ = fake_mnist
    (folder / "dataset_info.json").write_text(json.dumps(description))
    with pytest.raises(OSError, match=f"cannot read {folder / 'dataset_info.json'}"):
        data.load("mnist", data_dir=data_dir)


def test_a_missing_shard_is_noticed(prepare, data_dir):
    folder = prepare("mnist", "3.0.1", {"train": fake((28, 28, 1), range(9))}, classes=10, shards=3)
    os.remove(folder / "mnist-train.array_record-00001-of-00003")
    with pytest.raises(FileNotFoundError, match=r"holds 2 array_record files.*says 3"):
        data.load("mnist", data_dir=data_dir)


@pytest.mark.parametrize(
    "shape, labels, message",
    [
        ((28, 28, 1), [0, 10], r"labels must be in 0\.\.9, got 0\.\.10"),
        ((28, 27, 1), [0, 1], r"expected uint8 \(28, 28, 1\)"),
        ((28, 28, 3), [0, 1], r"expected uint8 \(28, 28, 1\)"),
    ],
)
def test_records_of_another_kind_are_refused(prepare, data_dir, shape, labels, message):
    prepare("mnist", "3.0.1", {"train": fake(shape, labels)}, classes=20)
    with pytest.raises(OSError, match=f"mnist-train.*{message}"):
        data.load("mnist", data_dir=data_dir)


def test_letters_with_a_label_outside_the_alphabet_are_refused():
    info = data.DATASETS["emnist_letters"]
    images = np.zeros((2, 28, 28, 1), np.uint8)
    for labels in ([0, 26], [1, 27]):
        with pytest.raises(ValueError, match=rf"1\.\.26, got {labels[0]}\.\.{labels[1]}"):
            prepared.correct(images, np.asarray(labels, np.int32), info)


@pytest.mark.slow  # it decodes 70,000 images
def test_real_mnist(real_data_dir, new_process, monkeypatch):
    data_dir = real_data_dir("mnist")
    train, test = (data.load("mnist", split, data_dir=data_dir) for split in ("train", "test"))
    assert train.images.shape == (60000, 28, 28, 1)
    assert test.images.shape == (10000, 28, 28, 1)
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == published
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # LeCun's order
    measured = data.statistics("mnist", data_dir=data_dir)
    np.testing.assert_allclose(measured.mean, [0.1307], atol=5e-5)  # as published everywhere
    np.testing.assert_allclose(measured.std, [0.3081], atol=5e-5)
    np.testing.assert_allclose(train.images.mean(dtype=np.float64), 0, atol=1e-4)
    np.testing.assert_allclose(train.images.std(dtype=np.float64), 1, atol=1e-4)

    new_process()
    monkeypatch.delattr(prepared, "decode")  # from here on only the cache can answer
    again = data.load("mnist", "train", data_dir=data_dir)
    np.testing.assert_array_equal(again.images, train.images)
    np.testing.assert_array_equal(again.labels, train.labels)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_real_test_splits_are_balanced(real_data_dir, name):
    test = data.load(name, "test", normalize=False, data_dir=real_data_dir(name))
    assert test.images.shape == (10000, *data.DATASETS[name].shape)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.images.std() > 50
