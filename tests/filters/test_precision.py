"""Values that need no scaling are measured as they are: with the same result, whoever asks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.filters import ChannelFeatures, fpgm, l1, l2, precision


def kernel(scale, shape=(3, 3, 4, 8), dtype=np.float32):
    drawn = np.random.default_rng(0).normal(size=shape)
    drawn[..., 1] = 0
    return jnp.asarray((drawn * scale).astype(dtype))


@pytest.mark.parametrize("criterion", [l1, l2, fpgm])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e10])
def test_at_hand_as_under_jit(criterion, scale):
    def score(kernel):
        return criterion(ChannelFeatures(kernel=kernel))

    weights = kernel(scale)
    assert precision._ordinary(weights)
    np.testing.assert_allclose(score(weights), jax.jit(score)(weights), rtol=2e-6)


@pytest.mark.parametrize(
    ("scale", "ordinary"), [(1e-3, True), (2.0**35, True), (2.0**41, False), (2.0**-70, False)]
)
def test_what_is_near_the_ends_of_its_format_is_scaled(scale, ordinary):
    assert precision._ordinary(kernel(scale)) is ordinary


def test_one_value_decides():
    weights = np.asarray(kernel(1)).copy()
    assert precision._ordinary(jnp.asarray(weights))
    weights[0, 0, 0, 0] = 1e-44  # denormal: a product would lose it
    assert not precision._ordinary(jnp.asarray(weights))
    weights[0, 0, 0, 0] = -1e30
    assert not precision._ordinary(jnp.asarray(weights))
    assert precision._ordinary(jnp.zeros((3, 2)))


def test_the_squares_of_ordinary_values_are_safe():
    for exponent in (precision.SMALLEST, precision.LARGEST - 1):
        value = np.float32(2.0**exponent)
        assert precision._ordinary(jnp.full((2, 2), value))
        assert np.finfo(np.float32).tiny <= value * value
        assert value * value * np.float32(2.0**40) < np.finfo(np.float32).max


def test_filters_that_differ_in_their_last_digits():
    """Differences of small numbers are far smaller, and their squares are nothing."""
    digits = 1 + np.arange(6) * 2.0**-23
    weights = (2.0**-55 * digits * np.ones((3, 3, 5, 1))).astype(np.float32)
    exact = weights.astype(np.float64).reshape(-1, 6)
    right = [np.linalg.norm(exact - exact[:, [one]], axis=0).sum() for one in range(6)]
    found = fpgm(ChannelFeatures(kernel=jnp.asarray(weights)))
    np.testing.assert_allclose(found, right, rtol=1e-5)
