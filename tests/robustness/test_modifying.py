"""Weights that are shuffled or moved, against a slow version and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.robustness import PERTURBATIONS
from tests.support import robustness_reference as reference

SHUFFLE = jax.jit(PERTURBATIONS["shuffling"].change)
NOISE = jax.jit(PERTURBATIONS["noise"].change)


def weights(seed=0, size=200):
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


@pytest.mark.parametrize("strength", [0.001, 0.03, 0.1, 0.25, 0.3, 0.5, 0.7, 0.99, 1.0])
def test_each_bin_keeps_its_values(strength):
    before = weights()
    after = np.asarray(SHUFFLE(jax.random.key(0), jnp.asarray(before), jnp.float32(strength)))
    reference.check_shuffled(before, after, strength)
    alone = [reference.bins(before, strength).count(n) for n in reference.bins(before, strength)]
    if max(alone) > 20:
        assert (before != after).mean() > 0.3
    assert SHUFFLE._cache_size() == 1


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_bins_of_tied_weights_and_weights_at_their_edges(strength):
    before = np.repeat(np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32), 40)
    after = np.asarray(SHUFFLE(jax.random.key(0), jnp.asarray(before), jnp.float32(strength)))
    reference.check_shuffled(before, after, strength)
    mixed = {0.25: {3: {0.75, 1.0}, 0: {0.0}}, 0.5: {0: {0.0, 0.25}}, 1.0: {0: set(before)}}
    in_bins = np.array(reference.bins(before, strength))
    for number, values in mixed[strength].items():
        assert set(after[in_bins == number].tolist()) == values


def test_equal_weights_can_be_shuffled():
    before = jnp.full(30, 0.7)
    np.testing.assert_array_equal(SHUFFLE(jax.random.key(0), before, jnp.float32(0.3)), before)


def test_every_value_comes_to_every_link_of_its_bin_equally_often():
    keys = jax.random.split(jax.random.key(0), 3000)
    before = jnp.arange(5.0)
    after = np.asarray(jax.vmap(lambda key: SHUFFLE(key, before, jnp.float32(1)))(keys))
    for link in range(5):
        often = np.bincount(after[:, link].astype(int), minlength=5) / 3000
        assert np.abs(often - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 3000)


def test_noise_has_the_deviation_that_it_says():
    before = weights(size=40_000)
    moved = [
        np.asarray(NOISE(jax.random.key(3), jnp.asarray(before), jnp.float32(strength))) - before
        for strength in (0.5, 2.0)
    ]
    mean = np.abs(before).mean()
    for difference, strength in zip(moved, (0.5, 2.0), strict=True):
        assert difference.std() == pytest.approx(strength * mean, rel=0.02)
        assert abs(difference.mean()) < 4 * strength * mean / 200
        assert abs(np.corrcoef(difference, before)[0, 1]) < 0.02
        assert (np.abs(difference) < strength * mean).mean() == pytest.approx(0.6827, abs=0.01)
    np.testing.assert_allclose(moved[1], 4 * moved[0], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("change", [SHUFFLE, NOISE])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_nothing_changes_without_strength(change, dtype):
    before = jnp.asarray(weights(), dtype).at[0].set(-0.0)
    after = change(jax.random.key(0), before, jnp.float32(0))
    assert after.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(after).view(np.uint8), np.asarray(before).view(np.uint8)
    )


def test_shuffling_in_half_precision_keeps_the_values():
    before = jnp.asarray(weights(), jnp.bfloat16)
    after = SHUFFLE(jax.random.key(0), before, jnp.float32(0.4))
    assert after.dtype == jnp.bfloat16
    np.testing.assert_array_equal(jnp.sort(after), jnp.sort(before))
