"""Trees of links and trees of masks are two forms of the same network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks
from prunejax.sparse import Links, from_masks, to_dense


def network():
    random = np.random.default_rng(0)
    params = {
        "first": {"kernel": jnp.asarray(random.normal(size=(4, 6))), "bias": jnp.ones(6)},
        "others": [
            jnp.asarray(random.normal(size=(3, 3, 2))),
            jnp.asarray(random.normal(size=(6, 2))),
        ],
    }
    kept = {
        "first": {"kernel": jnp.asarray(random.random((4, 6)) < 0.5), "bias": None},
        "others": [None, jnp.asarray(random.random((6, 2)) < 0.5)],
    }
    return masks.apply(params, kept), kept


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_there_and_back():
    params, kept = network()
    weights, links = from_masks(params, kept)
    assert weights["first"]["kernel"].shape == (int(kept["first"]["kernel"].sum()),)
    assert weights["others"][0] is params["others"][0]
    assert links["first"]["bias"] is None
    assert isinstance(links["others"][1], Links)
    dense, again = to_dense(weights, links)
    equal(dense, params)
    equal(again, kept)
    masks.validate(dense, again)
    equal(jax.jit(to_dense)(weights, links), (params, kept))


def test_leaves_without_links_may_be_missing():
    params, kept = network()
    weights, links = from_masks(params, kept)
    equal(
        to_dense(weights, {"first": {"kernel": links["first"]["kernel"]}})[1],
        {"first": kept["first"], "others": [None, None]},
    )


def test_links_refused():
    params, kept = network()
    weights, links = from_masks(params, kept)
    first = links["first"]["kernel"]
    with pytest.raises(
        ValueError, match=r"links for 'first/kernle', but no parameter .*'first/kernel'"
    ):
        to_dense(weights, {"first": {"kernle": first}})
    with pytest.raises(ValueError, match=r"'first/bias' has \d+ links, but .* shape \(6,\)"):
        to_dense(weights, {"first": {"bias": first}})
    with pytest.raises(ValueError, match="'first/kernel' must have Links or None"):
        to_dense(weights, {"first": {"kernel": kept["first"]["kernel"]}})


def test_masks_refused():
    params, kept = network()
    with pytest.raises(ValueError, match=r"only a matrix .* 'first/bias' has the shape \(6,\)"):
        from_masks(params, {"first": {"bias": jnp.ones(6, bool)}})
    with pytest.raises(
        ValueError, match=r"mask of 'first/kernel' has shape \(6, 4\), not \(4, 6\)"
    ):
        from_masks(params, {"first": {"kernel": kept["first"]["kernel"].T}})
    with pytest.raises(ValueError, match="'first/kernel': the mask keeps no link"):
        from_masks(params, {"first": {"kernel": jnp.zeros((4, 6), bool)}})
    with pytest.raises(ValueError, match="a mask for 'last', but no parameter of that path"):
        from_masks(params, {"last": jnp.ones((4, 6), bool)})
