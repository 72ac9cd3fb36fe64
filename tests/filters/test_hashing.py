"""Perceptual hashes against SciPy's transform, and Pillow's resizing."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from PIL import Image

from prunejax import filters
from tests.support import filter_reference as reference

SHAPES = [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 2), (5, 7), (9, 3)]


def random_maps(height, width, images=6, channels=5, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(images, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_bits_are_those_of_scipys_transform(height, width):
    maps = random_maps(height, width)
    bits = filters.perceptual_hash(jnp.asarray(maps))
    assert bits.shape == (6, min(8, height) * min(8, width), 5)
    np.testing.assert_array_equal(bits, reference.hashes(maps))


@pytest.mark.parametrize("size", [32, 64, 12, 5])
def test_imagehash_is_a_median_over_the_resized_map(size):
    maps = random_maps(size, size)
    bits = np.asarray(filters.perceptual_hash(jnp.asarray(maps), hash="imagehash"))
    for image in range(len(maps)):
        for channel in range(maps.shape[3]):
            picture = Image.fromarray(maps[image, :, :, channel])
            resized = np.asarray(picture.resize((32, 32), Image.Resampling.LANCZOS))
            block = scipy.fft.dctn(resized.astype(np.float64), type=2)[:8, :8]
            expected = (block > np.median(block)).ravel()
            np.testing.assert_array_equal(bits[image, :, channel], expected)


def test_the_constant_frequency_counts_in_the_mean():
    bright = np.full((1, 8, 8, 2), 5.0, np.float32)
    bright[..., 1] = random_maps(8, 8)[:1, ..., 0]
    bits = filters.perceptual_hash(jnp.asarray(bright))
    assert np.flatnonzero(bits[0, :, 0]).tolist() == [0]


def test_half_precision_is_hashed_in_single():
    maps = jnp.asarray(random_maps(16, 16), jnp.bfloat16)
    single = filters.perceptual_hash(maps.astype(jnp.float32))
    np.testing.assert_array_equal(filters.perceptual_hash(maps), single)


def test_jits():
    maps = jnp.asarray(random_maps(16, 16))
    np.testing.assert_array_equal(
        jax.jit(filters.perceptual_hash)(maps), filters.perceptual_hash(maps)
    )


def test_one_by_one_maps_are_refused():
    maps = jnp.asarray(random_maps(1, 1))
    assert not filters.is_hashable(maps)
    assert filters.is_hashable(jnp.asarray(random_maps(1, 2)))
    with pytest.raises(ValueError, match="skip this layer"):
        filters.perceptual_hash(maps)
    with pytest.raises(ValueError, match="skip this layer"):
        jax.jit(filters.perceptual_hash)(maps)


def test_a_layer_of_constant_maps_is_refused_and_one_constant_channel_is_named():
    maps = random_maps(4, 4)
    maps[..., 1] = 3
    maps[:, :, :, 3] = 0
    assert filters.constant_channels(jnp.asarray(maps)).tolist() == [0, 1, 0, 1, 0]
    bits = filters.perceptual_hash(jnp.asarray(maps))
    assert bits[:, :, 3].all()  # Of zeros each frequency equals the mean.
    assert np.all(bits[:, :, 1] == (np.arange(16) == 0))
    with pytest.raises(ValueError, match="every channel of these maps is constant"):
        filters.perceptual_hash(jnp.asarray(maps[..., [1, 3]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    maps = random_maps(4, 4)
    maps[2, 1, 1, 3] = bad
    with pytest.raises(ValueError, match="maps has values that are NaN or infinite"):
        filters.perceptual_hash(jnp.asarray(maps))


# Without the annotations' own check, which users do not have.
untyped_hash = inspect.unwrap(filters.perceptual_hash)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (jnp.ones((3, 4, 4)), r"must be \[images, height, width, channels\], got shape \[3, 4, 4"),
        (jnp.ones((0, 4, 4, 2)), "holds nothing"),
        (jnp.ones((1, 4, 4, 2), jnp.int32), "must be floating point, got int32"),
        ([1.0, 2.0], "must be an array"),
    ],
)
def test_other_shapes_and_dtypes_are_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        untyped_hash(maps)


@pytest.mark.parametrize("factor", [2.0**-126, 2.0**-100, 2.0**100, 2.0**125])
@pytest.mark.parametrize("hash", ["dct", "imagehash"])
def test_maps_at_the_ends_of_float32_hash_as_others(hash, factor):
    """Of thousandths, which are denormal numbers when multiplied by the least factor."""
    maps = np.round(random_maps(9, 12) * 2**10) / 2**10
    small = np.asarray(maps * np.float64(factor), np.float32)
    assert np.isfinite(small).all()
    np.testing.assert_array_equal(
        filters.perceptual_hash(jnp.asarray(small), hash=hash),
        filters.perceptual_hash(jnp.asarray(maps, jnp.float32), hash=hash),
    )


def test_constant_channels_are_told_by_their_bits():
    """Denormal numbers differ, 0 and -0 do not."""
    maps = np.zeros((2, 3, 3, 5), np.float32)
    maps[1, 2, 0] = [0, -0.0, 1e-40, 1, 0]
    maps[..., 4] = 1e-40
    maps[1, 1, 1, 1] = -0.0
    found = filters.constant_channels(jnp.asarray(maps))
    np.testing.assert_array_equal(found, [True, True, False, False, True])


def test_an_unknown_hash_is_refused():
    with pytest.raises(ValueError, match="unknown hash 'md5'; allowed are dct, imagehash"):
        untyped_hash(jnp.asarray(random_maps(4, 4)), hash="md5")


@pytest.mark.parametrize("size", [3, 8, 16, 32, 50])
@pytest.mark.parametrize("hash", ["dct", "imagehash"])
def test_maps_without_detail_hash_by_what_they_are_and_not_by_rounding(hash, size):
    """Constant maps (dead filters) and such that vary along one axis, at any level."""
    levels = np.array([0.3, 0.7, 1e-3, 12345.6], np.float32)
    maps = np.zeros((2, size, size, 6), np.float32)
    maps[..., :4] = levels
    maps[..., 4:] = np.linspace(1, 3, size)[:, None, None] * np.array([1, 7])
    bits = np.asarray(filters.perceptual_hash(jnp.asarray(maps), hash=hash))
    if hash == "imagehash":
        expected = np.zeros(64, bool)
        expected[0] = True  # the constant frequency alone is above the median, 0
        for channel in range(4):
            np.testing.assert_array_equal(bits[0, :, channel], expected)
        # Frequencies along the other axis are 0, and nothing that is 0 is above the median.
        assert not bits[0, :, 4].reshape(8, 8)[:, 1:].any()
    for first, second in ((0, 1), (0, 2), (0, 3), (4, 5)):
        np.testing.assert_array_equal(bits[:, :, first], bits[:, :, second])
