"""Which channels stay, by scores alone."""

import jax
import numpy as np
import pytest

from prunejax.channels import at_random, best_of_each, keep_above, keep_best

SCORES = {"a": np.array([0.3, 0.9, 0.3, 0.1]), "b": np.array([0.2, 0.8])}


def test_as_many_as_another_selection_keeps():
    kept = {"a": np.array([True, False, True, False]), "b": np.array([False, True])}
    chosen = best_of_each(kept, {**SCORES, "c": np.ones(3)})
    assert {group: stays.tolist() for group, stays in chosen.items()} == {
        "a": [True, True, False, False],
        "b": [False, True],
    }


def test_the_best_of_each_and_those_above():
    assert keep_best(SCORES, 0.5)["a"].tolist() == [True, True, False, False]
    assert keep_above(SCORES, 0.3)["a"].tolist() == [True, True, True, False]
    assert keep_above(SCORES, 1.0)["b"].tolist() == [False, True]


def test_random_scores_come_from_the_key_and_differ_between_groups():
    alike = {"a": np.ones(5), "b": np.ones(5)}
    first, again, other = (at_random(alike, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["a"], again["a"])
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], other["a"])


def test_numbers_of_channels_are_not_negative():
    with pytest.raises(ValueError, match="min_channels must be a whole number from 0 on"):
        keep_above(SCORES, 0.1, min_channels=-1)
