"""Similarity against the pair loop, to the last bit."""

import importlib
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import filters
from tests.support import filter_reference as reference

similarity_module = importlib.import_module("prunejax.filters.similarity")


def random_maps(height, width, images=7, channels=9):
    random = np.random.default_rng(1)
    common = random.normal(size=(images, height, width, 1))
    own = random.normal(size=(images, height, width, channels))
    weight = np.linspace(0, 1, channels)
    return (weight * common + (1 - weight) * own).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 5), (2, 2)])
def test_similarity_is_the_pair_loops_exactly(height, width):
    maps = random_maps(height, width)
    matrix = filters.similarity(jnp.asarray(maps))
    assert matrix.dtype == jnp.float32
    np.testing.assert_array_equal(matrix, reference.similarity(reference.hashes(maps)))
    assert len(np.unique(matrix)) > 5


def test_imagehash_goes_through():
    maps = jnp.asarray(random_maps(8, 8))
    bits = np.asarray(filters.perceptual_hash(maps, hash="imagehash"))
    np.testing.assert_array_equal(
        filters.similarity(maps, hash="imagehash"), reference.similarity(bits)
    )


def test_it_is_the_same_inside_jit():
    maps = jnp.asarray(random_maps(8, 5))
    np.testing.assert_array_equal(jax.jit(filters.similarity)(maps), filters.similarity(maps))


def test_batches_add_up():
    maps = jnp.asarray(random_maps(8, 8))
    whole = filters.agreement(maps)
    parts = [filters.agreement(part) for part in (maps[:2], maps[2:3], maps[3:])]
    added = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *parts)
    np.testing.assert_array_equal(added.counts, whole.counts)
    assert int(added.total) == int(whole.total) == 7 * 64
    np.testing.assert_array_equal(added.similarity, filters.similarity(maps))
    assert np.all(np.diag(whole.counts) == 7 * 64)


def test_more_bits_than_can_be_counted_exactly_are_refused():
    maps = jax.ShapeDtypeStruct((2**18 + 1, 8, 8, 1), jnp.float32)
    with pytest.raises(ValueError, match="pass the images in batches"):
        jax.eval_shape(filters.agreement, maps)


@pytest.mark.parametrize("most", [7, 1344, 6300, 2**24, 2**31 - 1])
def test_quotients_by_bits_are_rounded_once(most):
    """Where a device's own division is not exact: an H100's differed in the last bit."""
    random = np.random.default_rng(most)
    totals = random.integers(most // 2 + 1, most, 2000, endpoint=True).astype(np.int32)
    counts = (totals * random.uniform(1 / 32, 1, totals.size)).astype(np.int32)
    counts[:50] = totals[:50]
    counts[50:100] = 0
    made = similarity_module._divided_by_bits(jnp.asarray(counts), jnp.asarray(totals))
    exact = np.array([float(Fraction(int(c), int(t))) for c, t in zip(counts, totals, strict=True)])
    np.testing.assert_array_equal(made, exact.astype(np.float32))
