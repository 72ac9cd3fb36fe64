import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from prunejax.data import Statistics, normalize
from prunejax.data.normalization import measure

STATISTICS = Statistics(
    np.array([0.1, 0.5, 0.7], np.float32), np.array([0.2, 0.25, 0.4], np.float32)
)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("maximum", [255, 16])
def test_normalize_is_the_formula(images, maximum):
    expected = np.empty(images.shape)
    for channel in range(3):
        scaled = images[..., channel].astype(np.float64) / maximum
        expected[..., channel] = scaled - STATISTICS.mean[channel]
        expected[..., channel] /= STATISTICS.std[channel]
    result = normalize(images, STATISTICS, maximum)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_normalize_agrees_on_the_device_and_inside_jit(images):
    expected = normalize(images, STATISTICS)
    with jax.numpy_dtype_promotion("strict"):
        eager = normalize(jnp.asarray(images), STATISTICS)
        traced = jax.jit(normalize)(images, STATISTICS)
        on_device = jax.jit(normalize)(images, jax.tree.map(jnp.asarray, STATISTICS))
    for result in (eager, traced, on_device):
        assert isinstance(result, jax.Array)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_normalize_takes_one_image_and_stacks_of_batches(images):
    expected = normalize(images, STATISTICS)
    np.testing.assert_array_equal(normalize(images[0], STATISTICS), expected[0])
    np.testing.assert_array_equal(normalize(images[None], STATISTICS), expected[None])


def test_normalize_refuses_what_does_not_fit(images):
    with pytest.raises(ValueError, match=r"images of 1 channels need mean and std of shape \(1,\)"):
        normalize(images[..., :1], STATISTICS)
    with pytest.raises(ValueError, match="maximum must be positive, got 0"):
        normalize(images, STATISTICS, 0)
    with pytest.raises((ValueError, TypeCheckError)):
        normalize(images[0, 0], STATISTICS)


def test_measured_statistics_are_those_of_numpy(images):
    measured = measure(images, 255)
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(measured.mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(measured.std, pixels.std(axis=0), rtol=1e-6)


def test_measuring_many_bright_pixels_does_not_overflow():
    images = np.full((300, 256, 256, 1), 255, np.uint8)  # squares sum to more than 2^32
    images[:, :, ::2] = 253
    measured = measure(images, 255)
    np.testing.assert_allclose(measured.mean, [254 / 255], rtol=1e-6)
    np.testing.assert_allclose(measured.std, [1 / 255], rtol=1e-6)
