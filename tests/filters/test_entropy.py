"""Entropy against NumPy's histograms."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from prunejax import filters
from tests.support import filter_reference as reference

# One of the 600 values of a channel in another bin changes its entropy by more than 1e-4.
TOLERANCE = {"rtol": 2e-6, "atol": 1e-6}


@pytest.fixture
def maps():
    random = np.random.default_rng(2)
    maps = random.normal(size=(6, 10, 10, 5)) * np.array([1, 3, 0.1, 10, 1])
    maps[..., 4] = np.maximum(maps[..., 4], 0)
    return maps.astype(np.float32)


@pytest.mark.parametrize("bins", [256, 10, 2])
def test_it_is_that_of_a_histogram(maps, bins):
    expected = [reference.entropy(maps[..., c], bins) for c in range(5)]
    np.testing.assert_allclose(filters.entropy(jnp.asarray(maps), bins), expected, **TOLERANCE)


def test_256_bins_unless_told(maps):
    np.testing.assert_array_equal(
        filters.entropy(jnp.asarray(maps)), filters.entropy(jnp.asarray(maps), 256)
    )


def test_bins_are_numpys_on_whole_numbers():
    maps = np.random.default_rng(3).integers(0, 17, size=(4, 6, 6, 3)).astype(np.float32)
    maps[0, 0, :2, :] = np.array([0, 16])[:, None]
    expected = [scipy.stats.entropy(np.histogram(maps[..., c], bins=8)[0]) for c in range(3)]
    np.testing.assert_allclose(filters.entropy(jnp.asarray(maps), 8), expected, **TOLERANCE)


def test_known_values():
    maps = jnp.zeros((1, 2, 2, 3)).at[0, :, :, 1].set(jnp.arange(4.0).reshape(2, 2))
    maps = maps.at[0, 0, 0, 2].set(1)
    expected = [0, np.log(4), 0.25 * np.log(4) + 0.75 * np.log(4 / 3)]
    np.testing.assert_allclose(filters.entropy(maps), expected, **TOLERANCE)


def test_a_constant_map_has_none():
    constant = jnp.full((3, 4, 4, 2), 0.1)
    for over in ("activations", "images", "pooled"):
        np.testing.assert_array_equal(filters.entropy(constant, over=over), [0, 0])


def test_limits_of_the_layer(maps):
    expected = [reference.entropy(maps[..., c], 256, maps.min(), maps.max()) for c in range(5)]
    values = filters.entropy(jnp.asarray(maps), limits="layer")
    np.testing.assert_allclose(values, expected, **TOLERANCE)


def test_mean_over_images(maps):
    expected = [
        np.mean(
            [
                reference.entropy(image[..., c], 256, maps[..., c].min(), maps[..., c].max())
                for image in maps
            ]
        )
        for c in range(5)
    ]
    values = filters.entropy(jnp.asarray(maps), over="images")
    np.testing.assert_allclose(values, expected, **TOLERANCE)


def test_pooled_maps_in_ten_bins():
    maps = np.random.default_rng(4).integers(-8, 8, size=(40, 4, 4, 3)).astype(np.float32)
    expected = [reference.entropy(maps[..., c].mean((1, 2)), 10) for c in range(3)]
    values = filters.entropy(jnp.asarray(maps), over="pooled")
    np.testing.assert_allclose(values, expected, **TOLERANCE)


def test_it_jits(maps):
    compiled = jax.jit(lambda maps: filters.entropy(maps, 16))
    np.testing.assert_allclose(
        compiled(jnp.asarray(maps)), filters.entropy(jnp.asarray(maps), 16), **TOLERANCE
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 0}, "bins must be at least 1, got 0"),
        ({"bins": 2.5}, "bins must be an integer"),
        ({"over": "time"}, "unknown over 'time'; allowed are activations, images, pooled"),
        ({"limits": "network"}, "unknown limits 'network'; allowed are filter, layer"),
    ],
)
def test_bad_options_are_refused(maps, options, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(filters.entropy)(jnp.asarray(maps), **options)


def test_nan_is_refused(maps):
    maps[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        filters.entropy(jnp.asarray(maps))


@pytest.mark.parametrize("place", [0, 12_345, 40_959])
def test_nan_is_refused_wherever_it_is_in_a_large_array(place):
    maps = np.random.default_rng(0).normal(size=40_960).astype(np.float32)
    maps[place] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        filters.entropy(jnp.asarray(maps.reshape(20, 16, 16, 8)))


@pytest.mark.parametrize("over", ["activations", "images", "pooled"])
@pytest.mark.parametrize("limits", ["filter", "layer"])
@pytest.mark.parametrize(
    "factor, shift",
    [(1e-37, 0), (1e-38, 0), (2e-41, 0), (3e38, 0), (1.5e38, 1.5e38), (1e-30, 0), (1e30, 0)],
)
def test_ranges_at_the_ends_of_float32(over, limits, factor, shift):
    """Neither a reciprocal that overflows nor numbers that XLA takes for 0 change an entropy."""
    random = np.random.default_rng(8)
    steps = random.integers(0, 2000, size=(5, 6, 6, 2)) / 1000 - 1
    maps = (steps * factor + shift).astype(np.float32)
    assert np.isfinite(maps).all()
    found = filters.entropy(jnp.asarray(maps), 16, over=over, limits=limits)
    wide = maps.astype(np.float64)
    if over == "pooled":
        wide = wide.mean(axis=(1, 2), keepdims=True)
    pieces = wide[:, None] if over == "images" else wide[None]
    for channel in range(2):
        ends = wide if limits == "layer" else wide[..., channel]
        expected = np.mean(
            [
                scipy.stats.entropy(
                    np.histogram(piece[..., channel], 16, (ends.min(), ends.max()))[0]
                )
                for piece in pieces
            ]
        )
        np.testing.assert_allclose(found[channel], expected, rtol=0.01)
