"""The linen layer that holds only its links."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from prunejax import data, training
from prunejax.sparse import Links, SparseDense, erdos_renyi

KEY = jax.random.key(0)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_layer_is_a_matrix(use_bias):
    x = jax.random.normal(KEY, (2, 3, 12))
    layer = SparseDense(8, sparsity=0.75, use_bias=use_bias)
    variables = layer.init(KEY, x)
    links = variables["links"]["kernel"]
    assert isinstance(links, Links)
    assert len(links) == 24
    params = variables["params"]
    assert set(params) == {"kernel", "bias"} if use_bias else {"kernel"}
    bias = jnp.arange(8.0) if use_bias else 0.0
    if use_bias:
        params = {**params, "bias": bias}
    matrix = np.zeros((12, 8))
    matrix[links.sources, links.targets] = params["kernel"]
    y = layer.apply({**variables, "params": params}, x)
    np.testing.assert_allclose(y, np.asarray(x) @ matrix + bias, rtol=1e-5, atol=1e-5)


def test_links_of_init_are_drawn_from_its_key_and_those_of_the_seed_by_path():
    x = jnp.ones((2, 12))
    layer = SparseDense(8, sparsity=0.75)
    same, again, other = (
        layer.init(jax.random.key(seed), x)["links"]["kernel"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(same.numbers, again.numbers)
    assert np.any(same.numbers != other.numbers)

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            first = SparseDense(12, sparsity=0.75, name="first")(x)
            second = SparseDense(12, sparsity=0.75, name="second")(x)
            return first, second

    weights = {"kernel": jnp.arange(1.0, 37.0), "bias": jnp.zeros(12)}
    one, two = Two().apply({"params": {"first": weights, "second": weights}}, x)
    assert np.any(one != two)


def test_links_given_may_be_of_another_number():
    x = jax.random.normal(KEY, (5, 12))
    layer = SparseDense(8, sparsity=0.75)
    links = erdos_renyi(KEY, (12, 8), 50)
    params = {"kernel": jnp.ones(50), "bias": jnp.zeros(8)}
    y = layer.apply({"params": params, "links": {"kernel": links}}, x)
    np.testing.assert_allclose(y, x @ links.to_mask().astype(jnp.float32), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_types(dtype):
    layer = SparseDense(8, sparsity=0.5, dtype=dtype)
    x = jnp.ones((3, 12))
    variables = layer.init(KEY, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    assert layer.apply(variables, x).dtype == (dtype or jnp.float32)
    narrow = SparseDense(8, sparsity=0.5, param_dtype=jnp.bfloat16)
    params = narrow.init(KEY, x.astype(jnp.bfloat16))["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.usefixtures("optax_mixes_dtypes")
def test_it_trains_where_only_parameters_are_known():
    """Digits, 95 % of the links of two layers removed: 90 % of the images that it trains on."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = x.reshape(len(x), -1)
            x = nn.relu(SparseDense(200, 0.95, fan_in="links", name="one")(x))
            return nn.Dense(10, name="classifier")(
                nn.relu(SparseDense(100, 0.95, fan_in="links", name="two")(x))
            )

    images, labels = data.load("digits")
    model, tx = Network(), training.masked(optax.adam(3e-3))
    params, _ = training.init_variables(model, KEY, images[:1])
    state = training.init_state(params, {}, tx, key=KEY)
    step = training.make_train_step(model, tx)
    split = data.Split(images, labels)
    state, _ = training.fit(state, step, split, epochs=4, batch_size=64)
    tested = training.evaluate(training.make_eval_step(model), state.params, {}, split)
    assert tested["accuracy"] > 0.9


def test_refuses():
    x = jnp.ones((2, 12))
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got 1"):
        SparseDense(8, sparsity=1.0)
    with pytest.raises(ValueError, match="unknown fan_in 'outputs'; allowed are inputs, links"):
        SparseDense(8, fan_in="outputs")
    with pytest.raises(ValueError, match="unknown back end 'gpu'; allowed are auto, masked"):
        SparseDense(8, backend="gpu")
    with pytest.raises(
        ValueError, match=r"no link is left of this layer: sparsity 0.999 of 12 x 8"
    ):
        SparseDense(8, sparsity=0.999).init(KEY, x)
    layer = SparseDense(8, sparsity=0.5)
    params = layer.init(KEY, x)["params"]
    with pytest.raises(
        ValueError, match=r"this layer needs Links of shape \(12, 8\), got \(8, 12\)"
    ):
        layer.apply({"params": params, "links": {"kernel": erdos_renyi(KEY, (8, 12), 48)}}, x)
    with pytest.raises(ValueError, match=r"needs Links of shape \(12, 8\), got ndarray"):
        layer.apply({"params": params, "links": {"kernel": np.ones((12, 8))}}, x)
