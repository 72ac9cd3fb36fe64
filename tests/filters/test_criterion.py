"""Each channel criterion against an independent computation, and what all of them must do."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

from prunejax import filters
from prunejax.filters import FILTER_CRITERIA, ChannelFeatures
from tests.support import filter_reference as reference

CHANNELS = 6
READS = {
    "entropy_kcore": ["maps"],
    "entropy": ["maps"],
    "kcore_random": ["maps"],
    "kcore_l1": ["maps", "kernel"],
    "l1": ["kernel"],
    "l2": ["kernel"],
    "fpgm": ["kernel"],
    "apoz": ["activations"],
    "hrank": ["maps"],
    "bn_scale": ["scale"],
    "chip": ["maps"],
    "random": ["kernel"],
}


@functools.cache
def features(seed=0, size=8):
    """A layer in which filters 1 and 3 resemble 0, and 5 resembles 4."""
    random = np.random.default_rng(seed)
    maps = random.normal(size=(5, size, size, CHANNELS))
    maps[..., 1] = 2 * maps[..., 0] + 0.02 * maps[..., 1]
    maps[..., 3] = maps[..., 0] + 0.02 * maps[..., 3]
    maps[..., 5] = maps[..., 4] + 0.02 * maps[..., 5]
    single = {
        "kernel": random.normal(size=(3, 3, 4, CHANNELS)),
        "scale": random.normal(size=CHANNELS),
        "maps": maps,
        "activations": np.maximum(maps - random.random(CHANNELS), 0),
    }
    return ChannelFeatures(**{k: jnp.asarray(v, jnp.float32) for k, v in single.items()})


def score(name, known, seed=0):
    return np.asarray(FILTER_CRITERIA[name](known, key=jax.random.key(seed)))


def flat_kernel():
    return np.asarray(features().kernel, np.float64).reshape(-1, CHANNELS)


def test_l1():
    np.testing.assert_allclose(score("l1", features()), np.abs(flat_kernel()).sum(0), rtol=1e-5)


def test_l2():
    expected = np.sqrt((flat_kernel() ** 2).sum(0))
    np.testing.assert_allclose(score("l2", features()), expected, rtol=1e-5)


def test_fpgm():
    expected = cdist(flat_kernel().T, flat_kernel().T).sum(0)
    np.testing.assert_allclose(score("fpgm", features()), expected, rtol=1e-5)


def test_fpgm_tells_near_filters_from_equal_ones():
    kernel = np.full((1000, 3), 100.0, np.float32)
    kernel[0, 2] += 1e-3
    scores = score("fpgm", ChannelFeatures(kernel=jnp.asarray(kernel)))
    np.testing.assert_allclose(scores, cdist(kernel.T, kernel.T).sum(0), rtol=1e-5)
    assert scores[0] < scores[2]


def test_kernels_of_dense_layers_have_norms_too():
    kernel = jnp.asarray([[1.0, -2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(score("l1", ChannelFeatures(kernel=kernel)), [4, 2])


def test_apoz():
    activations = np.asarray(features().activations)
    zeros = [np.mean(activations[..., c] == 0) for c in range(CHANNELS)]
    assert min(zeros) < max(zeros)
    np.testing.assert_allclose(score("apoz", features()), -np.array(zeros), rtol=1e-6)


def test_apoz_of_a_dense_layer():
    activations = jnp.asarray([[0.0, 1.0], [0.0, 0.0], [2.0, 3.0], [0.0, 1.0]])
    np.testing.assert_array_equal(
        score("apoz", ChannelFeatures(activations=activations)), [-0.75, -0.25]
    )


def test_bn_scale():
    np.testing.assert_array_equal(score("bn_scale", features()), np.abs(features().scale))


def test_hrank():
    random = np.random.default_rng(1)
    ranks = np.array([[0, 1, 2], [5, 3, 7]])
    maps = np.zeros((2, 7, 9, 3), np.float32)
    for (image, channel), rank in np.ndenumerate(ranks):
        factors = random.normal(size=(7, rank)) @ random.normal(size=(rank, 9))
        maps[image, :, :, channel] = factors
    expected = np.linalg.matrix_rank(maps.transpose(0, 3, 1, 2)).mean(0)
    np.testing.assert_array_equal(expected, ranks.mean(0))
    np.testing.assert_array_equal(score("hrank", ChannelFeatures(maps=jnp.asarray(maps))), expected)


def independence(maps):
    """The fall of the nuclear norm, channel by channel and image by image."""
    maps = np.asarray(maps, np.float64)
    falls = np.zeros(maps.shape[-1])
    for image in maps:
        matrix = image.reshape(-1, maps.shape[-1]).T
        for channel in range(len(matrix)):
            masked = matrix.copy()
            masked[channel] = 0
            falls[channel] += np.linalg.norm(matrix, "nuc") - np.linalg.norm(masked, "nuc")
    return falls / len(maps)


@pytest.mark.parametrize("size", [2, 8])
def test_chip(size):
    """More channels than places, and fewer."""
    known = features(size=size)
    np.testing.assert_allclose(score("chip", known), independence(known.maps), rtol=1e-4)


@pytest.mark.parametrize("size", [2, 8])
def test_chip_with_dead_and_doubled_channels(size):
    maps = features(size=size).maps.at[..., 4].set(0)
    maps = maps.at[..., 3].set(maps[..., 0])
    scores = score("chip", ChannelFeatures(maps=maps))
    np.testing.assert_allclose(scores, independence(maps), rtol=2e-3, atol=1e-4)
    assert np.argmin(scores) == 4


FACTORS = [2.0**-145, 1e-38, 1e-32, 1e-25, 1e-10, 1.0, 1e10, 1e20, 1e30, 8e37]
"""The least leaves nothing but denormal numbers, the greatest all but overflows."""

IN_DOUBLE = {
    "l1": ("kernel", lambda kernel: np.abs(kernel.reshape(-1, CHANNELS)).sum(0), 1e-5),
    "l2": ("kernel", lambda kernel: np.linalg.norm(kernel.reshape(-1, CHANNELS), axis=0), 1e-5),
    "fpgm": (
        "kernel",
        lambda kernel: cdist(kernel.reshape(-1, CHANNELS).T, kernel.reshape(-1, CHANNELS).T).sum(0),
        1e-5,
    ),
    "chip": ("maps", independence, 1e-3),
    "hrank": (
        "maps",
        lambda maps: np.linalg.matrix_rank(
            maps.transpose(0, 3, 1, 2), tol=None if maps.any() else 0
        ).mean(0),
        1e-6,
    ),
    "bn_scale": ("scale", np.abs, 1e-6),
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", IN_DOUBLE)
def test_weights_and_maps_at_the_ends_of_float32(name, factor):
    """In their unit where that is a normal number; at the ends times one power of two."""
    member, measure, tolerance = IN_DOUBLE[name]
    given = np.asarray(getattr(features(), member))
    given = (given / np.abs(given).max() * factor).astype(np.float32)
    expected = measure(given.astype(np.float64))
    scores = score(name, ChannelFeatures(**{member: jnp.asarray(given)})).astype(np.float64)
    ratio = scores.max() / expected.max()
    if 1e-30 < expected.max() < 3e38 or name in ("hrank", "bn_scale"):
        assert ratio == pytest.approx(1, rel=tolerance)
    else:
        assert 2.0 ** np.round(np.log2(ratio)) == pytest.approx(ratio, rel=tolerance)
    np.testing.assert_allclose(scores, ratio * expected, rtol=tolerance)


def test_l2_of_filters_far_smaller_than_others():
    kernel = np.ones((10, 5), np.float32) * np.float32([1, 0, 3e-25, 1e-25, 2e-30])
    scores = score("l2", ChannelFeatures(kernel=jnp.asarray(kernel)))
    np.testing.assert_allclose(scores, np.linalg.norm(kernel.astype(float), axis=0), rtol=1e-6)


def test_entropy():
    expected = [reference.entropy(features().maps[..., c], 256) for c in range(CHANNELS)]
    np.testing.assert_allclose(score("entropy", features()), expected, rtol=2e-6)


def worth_of(name):
    if name == "kcore_random":
        return np.asarray(jax.random.uniform(jax.random.key(0), (CHANNELS,)))
    if name == "kcore_l1":
        return np.abs(flat_kernel()).sum(0)
    return np.array([reference.entropy(features().maps[..., c], 256) for c in range(CHANNELS)])


@pytest.mark.parametrize("name", ["entropy_kcore", "kcore_random", "kcore_l1"])
@pytest.mark.parametrize("tau", [0.6, 0.7, 0.8])
def test_redundant_filters_score_below_all_representatives(name, tau):
    known, worth = features(), worth_of(name)
    matrix = reference.similarity(reference.hashes(np.asarray(known.maps)))
    kept = reference.algorithm_2(reference.redundancy_graph(matrix, tau), worth)
    assert 0 < len(kept) < CHANNELS
    expected = sorted(range(CHANNELS), key=lambda c: (c not in kept, -worth[c]))
    scores = np.asarray(FILTER_CRITERIA[name](known, key=jax.random.key(0), tau=tau))
    assert np.argsort(-scores).tolist() == expected
    assert set(np.flatnonzero(scores >= 1).tolist()) == kept
    assert len(set(scores.tolist())) == CHANNELS
    representative = name.removeprefix("kcore_").removesuffix("_kcore")
    made = filters.keep(known, tau, representative=representative, key=jax.random.key(0))
    assert set(np.flatnonzero(made).tolist()) == kept


def test_ties_rank_the_lower_index_first():
    known = features()._replace(kernel=jnp.ones((3, 3, 4, CHANNELS)))
    scores = np.asarray(filters.kcore_l1(known, tau=1.0))
    np.testing.assert_allclose(scores, 1 + np.arange(CHANNELS)[::-1] / CHANNELS, rtol=1e-6)


def test_keep_takes_the_options_of_its_parts():
    known = features()
    matrix = filters.similarity(known.maps, hash="imagehash")
    level = float(np.sort(np.unique(matrix))[-2])
    worth = filters.entropy(known.maps)
    expected = filters.select(matrix, worth, level, inclusive=True, min_channels=5)
    made = filters.keep(known, level, hash="imagehash", inclusive=True, min_channels=5)
    np.testing.assert_array_equal(made, expected)
    assert int(made.sum()) == 5


def test_representatives_differ():
    random = [tuple(score("kcore_random", features(), seed) >= 1) for seed in range(8)]
    assert len(set(random)) > 1


@pytest.mark.parametrize("name", sorted(FILTER_CRITERIA))
class TestEveryCriterion:
    def test_one_finite_score_for_each_channel(self, name):
        known = ChannelFeatures(**{member: getattr(features(), member) for member in READS[name]})
        scores = score(name, known)
        assert scores.shape == (CHANNELS,)
        assert scores.dtype == np.float32
        assert np.all(np.isfinite(scores))
        assert len(set(scores.tolist())) > 1 or name == "hrank"

    def test_deterministic_and_jits_once(self, name):
        compiled = jax.jit(lambda known, key: FILTER_CRITERIA[name](known, key=key))
        for seed in (0, 1):
            scores = compiled(features(seed), jax.random.key(seed))
            np.testing.assert_allclose(scores, score(name, features(seed), seed), rtol=1e-4)
        assert compiled._cache_size() == 1

    def test_names_what_it_lacks(self, name):
        for member in READS[name]:
            others = {other: getattr(features(), other) for other in READS[name] if other != member}
            lacks = r"a member of ChannelFeatures" if name == "random" else rf".*\({member}="
            with pytest.raises(ValueError, match=f"'{name}' needs {lacks}"):
                score(name, ChannelFeatures(**others))
            if name != "random":
                with pytest.raises(ValueError, match=rf"'{name}' needs ChannelFeatures\({member}="):
                    score(name, features()._replace(**{member: None}))

    def test_refuses_nan_and_other_ranks(self, name):
        for member in READS[name]:
            value = getattr(features(), member)
            with pytest.raises(ValueError, match=f"{member} has values that are NaN"):
                score(name, features()._replace(**{member: value.at[..., 0].set(jnp.nan)}))
            with pytest.raises(ValueError, match=f"{member} must be"):
                score(name, features()._replace(**{member: value.sum()}))


def test_the_registry_is_the_table_above():
    assert set(FILTER_CRITERIA) == set(READS)
    assert {name: list(entry.needs) for name, entry in FILTER_CRITERIA.items()} == READS


def test_random_is_uniform_and_comes_from_the_key():
    known = ChannelFeatures(kernel=jnp.ones((3, 2000)))
    scores = score("random", known)
    assert scores.min() >= 0
    assert scores.max() < 1
    assert scipy.stats.kstest(scores, "uniform").pvalue > 0.01
    np.testing.assert_array_equal(scores, score("random", known))
    assert not np.any(scores == score("random", known, seed=1))


@pytest.mark.parametrize("member", ChannelFeatures._fields)
def test_random_counts_the_channels_of_any_member(member):
    known = ChannelFeatures(**{member: getattr(features(), member)})
    np.testing.assert_array_equal(score("random", known), score("random", features()))


def test_random_needs_a_key():
    with pytest.raises(ValueError, match="'random' needs a key"):
        filters.random(features(), key=None)


def test_kcore_random_needs_a_key():
    with pytest.raises(ValueError, match="'kcore_random' needs a key"):
        filters.kcore_random(features(), key=None)


def test_a_kernel_of_another_layer_is_refused():
    other = features()._replace(kernel=jnp.ones((3, 3, 4, 7)))
    with pytest.raises(ValueError, match="the kernel has 7 channels, the maps 6"):
        filters.kcore_l1(other)


def test_an_unknown_representative_is_refused():
    with pytest.raises(
        ValueError, match="unknown representative 'best'; allowed are entropy, random, l1"
    ):
        inspect.unwrap(filters.keep)(features(), 0.7, representative="best")


@pytest.mark.parametrize("name", ["entropy_kcore", "kcore_random", "kcore_l1"])
def test_one_by_one_maps_say_to_skip_the_layer(name):
    known = features()._replace(maps=features().maps[:, :1, :1])
    with pytest.raises(ValueError, match="skip this layer"):
        score(name, known)
