"""Codings of images in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.neurons import CODINGS, encode, fold, unfold


def test_direct_shows_the_image_at_each_step():
    images = jax.random.normal(jax.random.key(0), (2, 3))
    np.testing.assert_array_equal(encode(images, 4), np.stack([images] * 4))


def test_rate_draws_spikes_with_the_intensity_for_their_probability():
    images = jnp.array([[0.0, 0.3, 1.0]])
    spikes = encode(images, 5000, "rate", jax.random.key(0))
    assert set(np.unique(spikes)) == {0.0, 1.0}
    rates = np.asarray(spikes.mean(axis=0))[0]
    assert rates[0] == 0
    assert rates[2] == 1
    assert abs(rates[1] - 0.3) < 4 * (0.3 * 0.7 / 5000) ** 0.5
    again = encode(images, 5000, "rate", jax.random.key(0))
    np.testing.assert_array_equal(spikes, again)


def test_latency_fires_once_the_sooner_the_brighter():
    spikes = np.asarray(encode(jnp.array([[0.0, 0.01, 0.5, 0.75, 1.0]]), 4, "latency"))
    assert spikes.sum(axis=0).tolist() == [[0, 1, 1, 1, 1]]
    assert spikes.argmax(axis=0)[0, 1:].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    "given, said",
    [
        ((0,), "timesteps must be a whole number of at least 1, got 0"),
        ((3, "burst"), "unknown coding 'burst'"),
        ((3, "rate"), "give it a key"),
    ],
)
def test_bad_arguments(given, said):
    with pytest.raises(ValueError, match=said):
        encode(jnp.ones((1, 2)), *given)


@pytest.mark.parametrize("coding", [one for one in CODINGS if one != "direct"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_intensities_outside_0_and_1(coding, value):
    with pytest.raises(ValueError, match=r"takes intensities in \[0, 1\]"):
        encode(jnp.array([[0.5, value]]), 3, coding, jax.random.key(0))


def test_time_in_the_batch_and_out_of_it():
    x = jnp.arange(24.0).reshape(3, 2, 4)
    np.testing.assert_array_equal(fold(x)[2:4], x[1])
    np.testing.assert_array_equal(unfold(fold(x), 3), x)
    with pytest.raises(ValueError, match="6 entries are no batches of 4 steps"):
        unfold(fold(x), 4)
