"""The cache of decoded data sets."""

import os
import warnings

import numpy as np
import pytest

from prunejax import data
from prunejax.data import cache, prepared


def shard(data_dir):
    (path,) = data_dir.glob("kmnist/*/*.array_record-*")
    return path


@pytest.fixture
def decodings(prepare, data_dir, monkeypatch):
    """A prepared data set; the list of decodings so far."""
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1), dtype=np.uint8)
    prepare("kmnist", "3.0.1", {"train": (images, np.arange(30) % 10)}, classes=10)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    done = []
    decode = prepared.decode
    monkeypatch.setattr(
        prepared, "decode", lambda source, told: done.append(source) or decode(source, told)
    )
    return done


def load_raw():
    return data.load("kmnist", normalize=False)


def test_a_data_set_is_decoded_once(decodings, cache_folder, new_process):
    first = load_raw()
    data.load("kmnist")
    assert len(decodings) == 1
    new_process()
    second = load_raw()
    assert len(decodings) == 1
    assert second.images is not first.images
    np.testing.assert_array_equal(second.images, first.images)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert second.labels.dtype == np.int32
    assert not second.images.flags.writeable
    (file,) = cache_folder.iterdir()
    assert file.name.startswith("kmnist-3.0.1-train-")
    np.testing.assert_array_equal(np.load(file), first.images)  # a plain .npy file to others


def test_a_source_that_changed_is_decoded_again_even_in_one_process(
    decodings, prepare, cache_folder
):
    load_raw()
    images = np.full((31, 28, 28, 1), 7, np.uint8)
    prepare("kmnist", "3.0.1", {"train": (images, np.zeros(31, int))}, classes=10)
    np.testing.assert_array_equal(load_raw().images, images)
    assert len(decodings) == 2


def test_a_source_that_was_only_touched_is_decoded_again(decodings, data_dir, new_process):
    load_raw()
    os.utime(shard(data_dir), ns=(0, shard(data_dir).stat().st_mtime_ns + 1))
    load_raw()
    assert len(decodings) == 2


def test_a_source_of_the_same_size_and_time_is_told_apart_by_its_description(
    decodings, prepare, data_dir
):
    load_raw()
    before = shard(data_dir).stat()
    images = np.full((31, 28, 28, 1), 7, np.uint8)
    prepare("kmnist", "3.0.1", {"train": (images, np.zeros(31, int))}, classes=10)
    assert shard(data_dir).stat().st_size == before.st_size
    os.utime(shard(data_dir), ns=(0, before.st_mtime_ns))
    np.testing.assert_array_equal(load_raw().images, images)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_in_the_images(path):
    path.write_bytes(path.read_bytes()[:5000])


def empty(path):
    path.write_bytes(b"")


def flip_a_pixel(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def flip_a_label(path):
    content = bytearray(path.read_bytes())
    content[-136] ^= 1  # the checksum behind the labels takes 132 bytes
    path.write_bytes(content)


def spoil_the_header(path):
    content = bytearray(path.read_bytes())
    content[10:60] = bytes(range(50))
    path.write_bytes(content)


def replace_by_another_shape(path):
    arrays = np.zeros((30, 8, 8, 1), np.uint8), np.zeros(30, np.int32)
    with path.open("wb") as file:
        for array in (*arrays, cache._checksum(*arrays)):
            np.save(file, array)


def replace_by_a_pickle(path):
    with path.open("wb") as file:
        np.save(file, np.array([{}], dtype=object))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        cut_in_the_images,
        empty,
        flip_a_pixel,
        flip_a_label,
        spoil_the_header,
        replace_by_another_shape,
        replace_by_a_pickle,
    ],
)
def test_a_damaged_file_is_named_and_made_again(decodings, cache_folder, new_process, damage):
    first = load_raw()
    (file,) = cache_folder.iterdir()
    sound = file.read_bytes()
    damage(file)
    new_process()
    with pytest.warns(UserWarning, match=f"{file} is damaged"):
        second = load_raw()
    np.testing.assert_array_equal(second.images, first.images)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert len(decodings) == 2
    assert file.read_bytes() == sound
    new_process()
    load_raw()
    assert len(decodings) == 2


def test_a_folder_that_cannot_be_written_to_costs_one_warning(
    decodings, tmp_path, prepare, monkeypatch
):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", str(in_the_way / "cache"))
    with pytest.warns(UserWarning, match=f"cannot be kept in {in_the_way / 'cache'}") as caught:
        first = load_raw()
    assert len(caught) == 1
    assert "PRUNEJAX_CACHE_DIR" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare("kmnist", "3.0.2", {"train": (first.images[:5], first.labels[:5])}, classes=10)
        assert len(load_raw().labels) == 5
        load_raw()
    assert len(decodings) == 2


def test_a_full_disk_costs_one_warning(decodings, monkeypatch, cache_folder):
    def fail(*_):
        raise OSError(28, "cannot write")

    monkeypatch.setattr(cache, "write_atomically", fail)
    with pytest.warns(UserWarning, match="No space left"):
        assert len(load_raw().labels) == 30


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache.cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("PRUNEJAX_CACHE_DIR")
    assert cache.cache_folder() == tmp_path / "xdg" / "prunejax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "prunejax"


def test_digits_are_not_cached(cache_folder):
    data.load("digits")
    assert not cache_folder.exists()


def test_what_a_killed_process_left_goes_when_nobody_can_be_writing_it(decodings, cache_folder):
    cache_folder.mkdir(parents=True, exist_ok=True)
    for name, age in ((".old.npy.x.unfinished", 7200), (".new.npy.y.unfinished", 10)):
        (cache_folder / name).write_bytes(b"half")
        now = (cache_folder / name).stat().st_mtime
        os.utime(cache_folder / name, (now - age, now - age))
    load_raw()
    left = {path.name for path in cache_folder.iterdir() if path.name.startswith(".")}
    assert left == {".new.npy.y.unfinished"}


def test_progress_is_told_while_a_data_set_is_decoded(decodings, new_process):
    told = []
    data.load("kmnist", on_progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (30, 30)
    assert all(done <= of == 30 for done, of in told)
    new_process()
    again = []
    data.load("kmnist", on_progress=lambda done, of: again.append((done, of)))
    assert again == []  # it is read from the cache
    assert len(decodings) == 1
