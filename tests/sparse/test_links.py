"""Links against masks, for all small layers that hypothesis thinks of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunejax.sparse import Links

SHAPES = st.sampled_from([(1, 1), (1, 5), (6, 1), (4, 5)])  # each compiles anew
MASKS = hnp.arrays(bool, SHAPES).filter(np.any)


@settings(max_examples=30)
@given(MASKS)
def test_there_and_back(mask):
    links = Links.from_mask(mask)
    assert len(links) == mask.sum()
    assert links.sources.dtype == links.targets.dtype == jnp.int32
    np.testing.assert_array_equal(links.to_mask(), mask)
    order = list(zip(links.targets.tolist(), links.sources.tolist(), strict=True))
    assert order == sorted(set(order))
    np.testing.assert_array_equal(links.in_degrees(), mask.sum(0))
    np.testing.assert_array_equal(links.out_degrees(), mask.sum(1))
    np.testing.assert_array_equal(links.numbers, np.flatnonzero(mask.T))
    again = Links.from_numbers(links.numbers[::-1], mask.shape)
    np.testing.assert_array_equal(again.to_mask(), mask)
    values = jnp.arange(1.0, len(links) + 1)
    np.testing.assert_array_equal(links.gather(links.scatter(values)), values)
    np.testing.assert_array_equal(np.asarray(links.scatter(values)) != 0, mask)


def test_inside_jit_with_a_size_and_without_recompiling():
    masks = np.random.default_rng(0).permuted(np.arange(20).reshape(1, 20) < 7, axis=1)
    masks = [masks.reshape(4, 5), masks.reshape(4, 5)[::-1]]
    there_and_back = jax.jit(lambda mask: Links.from_mask(mask, size=7).to_mask())
    for mask in masks:
        np.testing.assert_array_equal(there_and_back(mask), mask)
    assert there_and_back._cache_size() == 1


def test_many_links_are_one_tree():
    masks = np.eye(6, dtype=bool)[:, :, None] & np.ones(2, bool)
    stacked = jax.vmap(lambda mask: Links.from_mask(mask, size=2))(masks.reshape(6, 3, 4))
    assert stacked.sources.shape == (6, 2)
    assert len(stacked) == 2
    assert stacked.shape == (3, 4)
    np.testing.assert_array_equal(jax.vmap(Links.to_mask)(stacked), masks.reshape(6, 3, 4))
    assert jax.tree.map(np.shape, stacked).sources == (6, 2)


def test_the_largest_layer_is_numbered_right():
    links = Links.from_numbers(jnp.array([2**31 - 2, 0]), (2**31 - 1, 1))
    assert links.numbers.tolist() == [0, 2**31 - 2]
    assert links.sources.tolist() == [0, 2**31 - 2]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "mask, size, message",
    [
        (np.ones(3, bool), None, r"need a mask, .* got bool, shape \(3,\)"),
        (np.ones((2, 2)), None, "need a mask, .* got float64"),
        ([[True]], None, "need a mask, .* got <class 'list'>"),
        (np.zeros((2, 3), bool), None, "keeps no link"),
        (np.ones((2, 3), bool), 5, "keeps 6 links, not 5"),
        (jax.ShapeDtypeStruct((2**16, 2**16), bool), 5, "at most 2147483647 pairs"),
    ],
)
def test_refuses(mask, size, message):
    with pytest.raises(ValueError, match=message):
        Links.from_mask(mask, size=size)


@pytest.mark.parametrize("size, message", [(None, "needs size="), (5, "has 1 to 4 links, not 5")])
def test_refuses_inside_jit(size, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda mask: Links.from_mask(mask, size=size), np.ones((2, 2), bool))
