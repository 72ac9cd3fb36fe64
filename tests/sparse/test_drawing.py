"""Distinct random numbers: distinct, in range, and even."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.sparse.drawing import distinct


@pytest.mark.parametrize(
    ("count", "below", "at_most"), [(10, 10, 10), (1, 1, 1), (3, 3, 1000), (5000, 10**6, 10**6)]
)
def test_numbers_are_distinct_and_in_range(count, below, at_most):
    drawn = np.asarray(distinct(jax.random.key(0), count, below, at_most=at_most))
    assert len(set(drawn.tolist())) == count
    assert drawn.min() >= 0
    assert drawn.max() < below


def test_numbers_that_are_not_there_are_minus_one():
    drawn = distinct(jax.random.key(0), 5, jnp.int32(3), at_most=10)
    assert sorted(drawn.tolist()) == [-1, -1, 0, 1, 2]


def test_every_set_is_as_likely():
    keys = jax.random.split(jax.random.key(0), 20000)
    drawn = jax.vmap(lambda key: distinct(key, 3, 7, at_most=12))(keys)
    sets = [tuple(each) for each in np.sort(drawn, axis=1).tolist()]
    expected = len(sets) / 35
    counts = np.array([sets.count(each) for each in combinations(range(7), 3)])
    assert counts.sum() == len(sets)
    assert np.sum((counts - expected) ** 2) / expected < 72  # chance of 1 in 10,000 at 34 degrees
