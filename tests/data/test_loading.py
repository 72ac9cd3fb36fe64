"""`load`, `statistics` and the catalogue, on the data set that needs no file."""

import subprocess
import sys
import zlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from prunejax import data


def rows(images, labels):
    """One tuple an example, sortable."""
    return sorted((*image.ravel(), label) for image, label in zip(images, labels, strict=True))


def test_the_catalogue_is_consistent():
    assert list(data.DATASETS) == [
        "digits",
        "digits28",
        "mnist",
        "fashion_mnist",
        "kmnist",
        "emnist_letters",
        "cifar10",
        "cifar100",
    ]
    for info in data.DATASETS.values():
        assert info.splits == ("train", "test")
        assert len(info.shape) == 3
    assert [name for name, info in data.DATASETS.items() if info.horizontal_flip] == [
        "cifar10",
        "cifar100",
    ]


def test_enlarged_digits_are_the_same_images():
    for split in ("train", "test"):
        small = data.load("digits", split, normalize=False)
        large = data.load("digits28", split, normalize=False)
        assert large.images.shape == (len(small.labels), 28, 28, 1)
        np.testing.assert_array_equal(large.labels, small.labels)
        # the corners of a bilinear enlargement are the original's
        corners = large.images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
        expected = small.images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0] * (255 / 16)
        np.testing.assert_allclose(corners, expected, atol=0.5)
        # inside, each lies between its four neighbours: 27 steps go over 7 pixels
        at = np.arange(28) * 7 / 27
        low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
        around = np.stack(
            [
                small.images[:, rows][:, :, columns, 0]
                for rows in (low, high)
                for columns in (low, high)
            ]
        ) * (255 / 16)
        found = large.images[..., 0]
        assert (found >= around.min(axis=0) - 0.51).all()
        assert (found <= around.max(axis=0) + 0.51).all()
    assert data.load("digits28", "train", normalize=False).images.max() == 255


def test_digits_are_those_of_scikit_learn_split_once():
    train = data.load("digits", "train", normalize=False)
    test = data.load("digits", "test", normalize=False)
    assert train.images.shape == (1437, 8, 8, 1)
    assert test.images.shape == (360, 8, 8, 1)
    assert train.images.dtype == test.images.dtype == np.uint8
    assert train.labels.dtype == test.labels.dtype == np.int32
    assert train.images.max() == data.DATASETS["digits"].maximum

    bundled = load_digits()
    both = rows(train.images, train.labels) + rows(test.images, test.labels)
    assert sorted(both) == rows(bundled.images.astype(int), bundled.target)
    in_test = np.bincount(test.labels) / np.bincount(bundled.target)
    np.testing.assert_allclose(in_test, 360 / 1797, atol=1 / 174)  # one of the smallest class


def test_the_split_of_digits_never_changes():
    test = data.load("digits", "test", normalize=False)
    assert zlib.crc32(test.images.tobytes()) == 1814970648  # of the first release


def test_both_splits_are_standardised_by_the_training_split():
    raw = data.load("digits", "train", normalize=False).images / 16
    mean, std = raw.mean(), raw.std()
    measured = data.statistics("digits")
    assert measured.mean.dtype == measured.std.dtype == np.float32
    np.testing.assert_allclose(measured.mean, [mean], rtol=1e-6)
    np.testing.assert_allclose(measured.std, [std], rtol=1e-6)
    for split in ("train", "test"):
        expected = (data.load("digits", split, normalize=False).images / 16 - mean) / std
        images = data.load("digits", split).images
        assert images.dtype == np.float32
        np.testing.assert_allclose(images, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"normalize": False}, {"limit": 7}])
def test_arrays_are_read_only(options):
    for array in data.load("digits", **options):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_loading_again_gives_the_same_arrays():
    assert data.load("digits").images is data.load("digits").images


@pytest.mark.parametrize("normalize", [False, True])
def test_a_limit_takes_a_stratified_part_in_an_order_that_is_fixed(normalize):
    whole = data.load("digits", normalize=normalize)
    order = data.load("digits", normalize=normalize, limit=1437)
    assert not np.array_equal(order.labels, whole.labels)
    assert rows(*order) == rows(*whole)
    shares = np.bincount(whole.labels) / 1437
    for limit in (1, 10, 100, 1000):
        part = data.load("digits", normalize=normalize, limit=limit)
        assert part.images.dtype == whole.images.dtype
        assert part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.images, order.images[:limit])
        np.testing.assert_array_equal(part.labels, order.labels[:limit])
        assert np.abs(np.bincount(part.labels, minlength=10) - limit * shares).max() <= 1.5


def test_a_limit_does_not_take_the_first_of_each_class():
    whole = data.load("digits", normalize=False)
    part = data.load("digits", normalize=False, limit=100)
    first = np.concatenate([whole.images[whole.labels == c][:10] for c in range(10)])
    assert len({image.tobytes() for image in first} & {i.tobytes() for i in part.images}) < 50


@pytest.mark.parametrize("limit", [-1, 0, 361])
def test_a_limit_outside_the_split_is_refused(limit):
    with pytest.raises(ValueError, match=rf"1\.\.360.*got {limit}"):
        data.load("digits", "test", limit=limit)


@pytest.mark.parametrize("function", [data.load, data.statistics])
def test_an_unknown_name_is_answered_with_the_closest_and_all(function):
    with pytest.raises(
        ValueError, match=r"'mnits'; allowed are digits, digits28, mnist, .*; did you mean 'mnist'"
    ) as e:
        function("mnits")
    assert all(name in str(e.value) for name in data.DATASETS)


def test_an_unknown_split_is_answered_with_the_closest_and_all():
    with pytest.raises(
        ValueError, match="of digits 'tset'; allowed are train, test; did you mean 'test'"
    ):
        data.load("digits", "tset")


def test_importing_and_loading_digits_needs_no_optional_package():
    program = """if True:
        import sys
        import prunejax.data
        heavy = {"tensorflow_datasets", "tensorflow", "sklearn", "matplotlib", "PIL"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        sys.modules |= dict.fromkeys(heavy - {"sklearn"})
        assert len(prunejax.data.load("digits", "test").labels) == 360
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
