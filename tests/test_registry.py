"""What a name, a function or a partial stands for in a registry."""

import functools

import pytest

from prunejax import criteria, filters
from prunejax.registry import find_entry


def test_names_entries_functions_and_partials_mean_their_entry():
    entry = filters.FILTER_CRITERIA["apoz"]
    assert filters.as_filter_criterion("apoz") is entry
    assert filters.as_filter_criterion(entry) is entry
    assert filters.as_filter_criterion(filters.apoz).needs == ("activations",)
    partial = functools.partial(filters.entropy_kcore, tau=0.6)
    assert filters.as_filter_criterion(partial).score is partial
    assert filters.as_filter_criterion(partial).needs == ("maps",)
    assert criteria.as_criterion(functools.partial(criteria.magnitude)).needs_loss is False


def test_a_partial_of_an_entry_of_ones_own_keeps_what_it_needs():
    own = criteria.Criterion(lambda *given, **settings: None, rounds=7)
    assert criteria.as_criterion(functools.partial(own, steps=2)).rounds == 7


def test_other_functions_have_no_entry():
    assert find_entry("criterion", len, criteria.CRITERIA) is None
    assert criteria.as_criterion(len).rounds == 1
    assert filters.as_filter_criterion(len).needs == ("kernel", "maps")
    with pytest.raises(ValueError, match=r"unknown criterion 'snap'; allowed are random, .*'snip'"):
        find_entry("criterion", "snap", criteria.CRITERIA)
