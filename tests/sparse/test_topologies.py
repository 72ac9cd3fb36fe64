"""Links to begin with: exact counts, uniform over all sets, the highest correlations."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.sparse import correlated, erdos_renyi


@pytest.mark.parametrize("count", [1, 7, 300, 301, 599, 600])
def test_exact_counts_at_any_density(count):
    links = erdos_renyi(jax.random.key(0), (20, 30), count)
    assert len(links) == count
    assert links.shape == (20, 30)
    assert links.to_mask().sum() == count
    numbers = np.asarray(links.numbers)
    assert np.all(np.diff(numbers) > 0)


@pytest.mark.parametrize("count", [2, 4])
def test_every_set_is_equally_likely(count):
    """15 sets, 6000 draws: each about 400 times, give or take five standard deviations of 19."""
    keys = jax.random.split(jax.random.key(1), 6000)
    drawn = jax.jit(jax.vmap(lambda key: erdos_renyi(key, (2, 3), count).numbers))(keys)
    seen = collections.Counter(map(tuple, np.asarray(drawn).tolist()))
    assert set(seen) == set(itertools.combinations(range(6), count))
    assert max(abs(times - 400) for times in seen.values()) < 5 * 19.4


def test_the_key_decides():
    one, same, other = (erdos_renyi(jax.random.key(seed), (50, 40), 100) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.numbers, same.numbers)
    assert np.any(one.numbers != other.numbers)


def test_a_large_layer_takes_memory_for_its_links_alone():
    """46,000 x 46,000 pairs as bytes would be 2 GB."""
    draw = jax.jit(lambda key: erdos_renyi(key, (46_000, 46_000), 1000).numbers)
    memory = draw.lower(jax.random.key(0)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 1e6
    assert np.all(np.diff(draw(jax.random.key(0))) > 0)


def test_correlated_takes_the_highest_correlations():
    random = np.random.default_rng(0)
    examples = random.normal(size=(60, 8)) @ random.normal(size=(8, 8))
    links = correlated(jnp.asarray(examples, jnp.float32), 8, 26)
    expected = np.abs(np.corrcoef(examples.T))
    order = np.argsort(-expected.sum(0))  # which feature each output stands for
    scores = expected[:, order]
    threshold = np.sort(scores.ravel())[-26]  # the diagonal, and both of nine pairs
    np.testing.assert_array_equal(links.to_mask(), scores >= threshold)


@pytest.mark.parametrize("outputs", [3, 13])
def test_fewer_and_more_outputs_than_features(outputs):
    random = np.random.default_rng(1)
    examples = random.normal(size=(40, 5)) @ random.normal(size=(5, 5))
    links = correlated(jnp.asarray(examples, jnp.float32), outputs, outputs)
    order = np.argsort(-np.abs(np.corrcoef(examples.T)).sum(0))
    # as many links as outputs: each output's own feature
    np.testing.assert_array_equal(links.sources, np.resize(order, outputs))
    np.testing.assert_array_equal(links.targets, np.arange(outputs))


def test_what_never_changes_is_correlated_with_nothing():
    examples = jnp.array([[0.1, 3, 1], [0.1, 4, 5], [0.1, 5, 2]], jnp.float32)
    mask = correlated(examples, 3, 4).to_mask()
    assert not mask[0].any()
    assert not np.isnan(np.asarray(correlated(examples, 3, 9).numbers)).any()
    np.testing.assert_array_equal(
        mask, correlated(np.round(10 * np.asarray(examples)).astype(int), 3, 4).to_mask()
    )


@pytest.mark.parametrize("count", [0, -1, 7])
def test_refuses_counts(count):
    message = rf"shape \(2, 3\) has 1 to 6 links, not {count}"
    with pytest.raises(ValueError, match=message):
        erdos_renyi(jax.random.key(0), (2, 3), count)
    with pytest.raises(ValueError, match=message):
        correlated(jnp.ones((4, 2)), 3, count)


@pytest.mark.usefixtures("without_type_checks")
def test_refuses_examples():
    with pytest.raises(ValueError, match=r"two or more; got \(1, 4\)"):
        correlated(jnp.ones((1, 4)), 3, 2)
    with pytest.raises(ValueError, match=r"\[examples, features\], two or more; got \(4,\)"):
        correlated(jnp.ones(4), 3, 2)
    with pytest.raises(ValueError, match="outputs must be at least 1, got 0"):
        correlated(jnp.ones((4, 3)), 0, 2)
