"""The model whose hidden layers hold only their links: what differs from the other models.

It shares the tests of test_models.py and test_description.py. It does not share those of resizing
and slicing (test_resizing.py, tests/network/test_sliced.py): a kernel of links has no channels.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import models, network, sparse

FIELDS = {"hidden_widths": (12, 9), "sparsity": (0.8, 0.5)}


def made(**fields):
    model = models.build("sparse_mlp", num_classes=4, **FIELDS | fields)
    x = jax.random.normal(jax.random.key(1), (5, 6, 6, 1))
    return model, model.init(jax.random.key(0), x), x


def test_an_mlp_on_masks_computes_the_same_and_back():
    model, variables, x = made()
    dense, masks = sparse.to_dense(variables["params"], variables["links"])
    mlp = models.build("mlp", num_classes=4, hidden_widths=(12, 9))
    expected = model.apply(variables, x)
    np.testing.assert_allclose(mlp.apply({"params": dense}, x), expected, rtol=1e-5, atol=1e-5)
    assert masks["classifier"] == {"kernel": None, "bias": None}
    params, links = sparse.from_masks(dense, masks)
    again = model.apply({"params": params, "links": links}, x)
    np.testing.assert_array_equal(again, expected)


def test_links_that_are_not_given_are_those_of_the_seed():
    model, variables, x = made()
    params = {"params": variables["params"]}
    alone = model.apply(params, x)
    np.testing.assert_array_equal(alone, jax.jit(model.apply)(params, x))
    others = [model.apply(variables, x), model.clone(seed=1).apply(params, x)]
    for one, other in itertools.combinations([alone, *others], 2):
        assert np.abs(one - other).max() > 1e-2


def test_other_links_do_not_recompile():
    model, variables, x = made()
    other = model.init(jax.random.key(7), x)
    compiled = jax.jit(model.apply)
    outputs = [compiled({**variables, "links": links}, x) for links in (
        variables["links"], other["links"])]  # fmt: skip
    assert compiled._cache_size() == 1
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


def test_many_seeds_in_one_program():
    model, _, x = made()
    keys = jax.random.split(jax.random.key(3), 3)
    many = jax.jit(jax.vmap(model.init, (0, None)))(keys, x)
    assert many["links"]["hidden1"]["kernel"].sources.shape == (3, 86)
    logits = jax.jit(jax.vmap(model.apply, (0, None)))(many, x)
    for seed in range(3):
        alone = model.apply(jax.tree.map(lambda leaf: leaf[seed], many), x)  # noqa: B023
        np.testing.assert_allclose(logits[seed], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fan_in, size", [("inputs", 2 / 400), ("links", 2 / 20)])
def test_initial_weights(fan_in, size):
    """The sample deviation of 4e3 values within 5 per cent."""
    model = models.build(
        "sparse_mlp", num_classes=4, hidden_widths=(200,), sparsity=0.95, fan_in=fan_in
    )
    params = model.init(jax.random.key(0), jnp.zeros((1, 400)))["params"]
    assert params["hidden1"]["kernel"].shape == (4000,)
    assert np.isclose(np.std(params["hidden1"]["kernel"]), size**0.5, rtol=0.05)
    assert not np.any(params["hidden1"]["bias"])


@pytest.mark.filterwarnings("ignore:no rule for:UserWarning")
@pytest.mark.filterwarnings("ignore:no channel of this network:UserWarning")
def test_no_channel_can_be_cut_out():
    model, variables, x = made(backend="densify")
    assert network.trace(model.apply, {"params": variables["params"]}, x[:1]).groups == {}
    kept = {"params/hidden1/bias": [np.arange(12) > 3]}
    with pytest.raises(ValueError, match="channels of SparseMLP cannot be cut out"):
        models.resized(model, kept)


def test_a_layer_without_links_is_named():
    model = models.build("sparse_mlp", num_classes=4, hidden_widths=(5, 3))
    with pytest.raises(ValueError, match=r"no link is left of hidden2: sparsity 0.99 of 5 x 3"):
        model.init(jax.random.key(0), jnp.zeros((1, 36)))
