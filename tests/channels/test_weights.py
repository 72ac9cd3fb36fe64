"""Scores of channels from scores of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import masks
from prunejax.channels import sum_weights
from prunejax.criteria import magnitude
from prunejax.network import trace
from tests.support.small_networks import case


def test_a_channel_has_the_sum_over_its_own_kernel():
    _, variables, _, network = case("chain")
    params = variables["params"]
    scores = magnitude(params, masks.make(params), None, loss_fn=None, key=None)
    summed = sum_weights(network, scores)
    assert list(summed.scores) == list(network.groups)
    for group, worth in summed.scores.items():
        kernel = np.abs(np.asarray(params[group]["kernel"]))
        np.testing.assert_allclose(worth, kernel.sum(axis=(0, 1, 2)), rtol=1e-5)
    plan = summed.plan(0.5)
    assert plan.keep["one"].sum() == 4


def test_some_groups_and_none_without_scores():
    _, variables, _, network = case("chain")
    params = variables["params"]
    scores = magnitude(params, masks.make(params, "^two/kernel"), None, loss_fn=None, key=None)
    assert list(sum_weights(network, scores).scores) == ["two"]
    scores = magnitude(params, masks.make(params), None, loss_fn=None, key=None)
    assert list(sum_weights(network, scores, ["three"]).scores) == ["three"]
    with pytest.raises(
        ValueError, match="unknown group of channels 'four'; allowed are one, two, three"
    ):
        sum_weights(network, scores, ["four"])


def test_parameters_without_collections():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="last")(nn.relu(nn.Dense(3, name="first")(x)))

    variables = Net().init(jax.random.key(0), jnp.ones((1, 4)))
    params = variables["params"]
    network = trace(lambda params, x: Net().apply({"params": params}, x), params, jnp.ones((1, 4)))
    scores = magnitude(params, masks.make(params), None, loss_fn=None, key=None)
    expected = np.abs(np.asarray(params["first"]["kernel"])).sum(axis=0)
    np.testing.assert_allclose(sum_weights(network, scores).scores["first"], expected, rtol=1e-6)
