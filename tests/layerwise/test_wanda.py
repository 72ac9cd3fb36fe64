"""Wanda against its equation, and masks in every layout."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import allocation, layerwise, masks
from prunejax.network import trace

pytestmark = pytest.mark.filterwarnings("ignore:no channel of this network")


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="last")(nn.relu(nn.Dense(8, name="first")(x)))


def perceptron(x):
    variables = Perceptron().init(jax.random.key(0), x)
    return trace(Perceptron().apply, variables, x), variables


def test_scores_are_weights_times_norms_of_inputs():
    x = draw(1, 10, 12)
    network, variables = perceptron(x)
    scores = layerwise.wanda(network, variables, [x[:4], x[4:]])
    first, last = (variables["params"][name] for name in ("first", "last"))
    hidden = np.maximum(x @ first["kernel"] + first["bias"], 0)
    for rows, layer, found in ((x, first, scores["first"]), (hidden, last, scores["last"])):
        expected = np.abs(layer["kernel"]) * np.linalg.norm(rows, axis=0)[:, None]
        np.testing.assert_allclose(found["kernel"], expected, rtol=1e-5)
        assert found["bias"] is None


def test_scores_are_the_same_inside_jit():
    x = draw(1, 10, 12)
    network, variables = perceptron(x)
    inside = jax.jit(lambda variables, x: layerwise.wanda(network, variables, [x]))(variables, x)
    outside = layerwise.wanda(network, variables, [x])
    for one, other in zip(jax.tree.leaves(inside), jax.tree.leaves(outside), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_pruned_weights_score_0_and_kernels_without_a_mask_nothing():
    x = draw(1, 10, 12)
    network, variables = perceptron(x)
    made = masks.make(variables["params"], "last/kernel")
    made["last"]["kernel"] = made["last"]["kernel"].at[3].set(False)
    scores = layerwise.wanda(network, variables, [x], masks=made)
    assert scores["first"]["kernel"] is None
    assert (scores["last"]["kernel"][3] == 0).all()
    assert (jnp.delete(scores["last"]["kernel"], 3, 0, assume_unique_indices=True) > 0).any()


def test_flax_masks_are_those_of_allocation():
    x = draw(1, 10, 12)
    network, variables = perceptron(x)
    scores = layerwise.wanda(network, variables, [x])
    for given, pattern in ((0.5, "per_output"), (None, "2:4"), (0.7, None)):
        found = layerwise.allocate(network, scores, given, pattern=pattern)
        expected = allocation.allocate(scores, given, pattern=pattern)
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), found, expected))
    kernel = layerwise.allocate(network, scores, 0.5)["first"]["kernel"]
    assert (kernel.sum(0) == 6).all()


def test_equinox_keeps_inputs_last():
    model = eqx.nn.MLP(12, 4, 8, 1, key=jax.random.key(0))
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    x = draw(1, 10, 12)
    network = trace(lambda arrays, x: jax.vmap(eqx.combine(arrays, static))(x), arrays, x)
    scores = layerwise.wanda(network, arrays, [x])
    weight = np.asarray(arrays.layers[0].weight)
    expected = np.abs(weight) * np.linalg.norm(x, axis=0)
    np.testing.assert_allclose(scores.layers[0].weight, expected, rtol=1e-5)
    half = layerwise.allocate(network, scores, 0.25).layers[0].weight
    assert (half.sum(1) == 9).all()
    kept = np.asarray(layerwise.allocate(network, scores, pattern="2:4").layers[0].weight)
    assert (kept.reshape(8, 3, 4).sum(-1) == 2).all()
    order = np.argsort(expected.reshape(8, 3, 4), axis=-1)
    np.testing.assert_array_equal(np.take_along_axis(kept.reshape(8, 3, 4), order, -1)[..., 2:], 1)


def test_inputs_of_attentions_output_are_heads_times_width():
    attention = nn.MultiHeadDotProductAttention(num_heads=2)
    x = draw(1, 3, 5, 8)
    variables = attention.init(jax.random.key(0), x)
    network = trace(attention.apply, variables, x)
    scores = layerwise.wanda(network, variables, [x])
    kept = layerwise.allocate(network, scores, 0.75)
    assert kept["out"]["kernel"].shape == (2, 4, 8)
    assert (kept["out"]["kernel"].sum((0, 1)) == 2).all()
    assert (kept["query"]["kernel"].sum(0) == 2).all()
    assert kept["query"]["bias"] is None


def test_groups_of_a_convolution_are_outputs_of_their_own():
    conv = nn.Conv(6, (3, 3), feature_group_count=2, use_bias=False)
    x = draw(1, 2, 5, 5, 8)
    variables = conv.init(jax.random.key(0), x)
    network = trace(conv.apply, variables, x)
    scores = layerwise.wanda(network, variables, [x])
    kept = layerwise.allocate(network, scores, 0.5)["kernel"]
    assert (kept.sum((0, 1, 2)) == 18).all()
    kept = layerwise.allocate(network, scores, pattern="2:4")["kernel"]
    assert (kept.sum(2) == 2).all()
    with pytest.raises(ValueError, match="'kernel' has 4 inputs in a row, which 1:3 cannot"):
        layerwise.allocate(network, scores, pattern="1:3")


def test_what_is_pruned_or_excluded_stays_so():
    x = draw(1, 10, 12)
    network, variables = perceptron(x)
    scores = layerwise.wanda(network, variables, [x])
    kept = layerwise.allocate(network, scores, 0.5)
    again = layerwise.allocate(network, scores, 0.75, masks=kept, exclude="last")
    assert (again["first"]["kernel"].sum(0) == 3).all()
    assert not (again["first"]["kernel"] & ~kept["first"]["kernel"]).any()
    assert (again["last"]["kernel"] == kept["last"]["kernel"]).all()


def test_scores_of_another_network_are_refused():
    x = draw(1, 10, 12)
    network, _ = perceptron(x)
    wrong = {"first": {"kernel": jnp.ones((3, 3))}}
    with pytest.raises(ValueError, match="the scores of 'first/kernel' have shape"):
        layerwise.allocate(network, wrong, 0.5)
    with pytest.raises(ValueError, match="the scores are empty"):
        layerwise.allocate(network, {"first": None}, 0.5)
    with pytest.raises(ValueError, match="do not cover 'first/bias'"):
        layerwise.allocate(network, {"first": {"bias": jnp.ones(8)}}, 0.5)


def test_parts_of_a_fused_kernel_are_one_leaf_to_patterns():
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "qkv": {"kernel": jax.random.normal(keys[0], (8, 12))},
        "out": {"kernel": jax.random.normal(keys[1], (4, 8))},
    }

    def forward(params, x):
        q, k, v = jnp.split(params["qkv"]["kernel"], 3, axis=1)
        return (jax.nn.softmax(x @ q) * (x @ k) + x @ v) @ params["out"]["kernel"]

    network = trace(forward, params, jnp.ones((2, 8)))
    scores = layerwise.wanda(network, params, [jax.random.normal(keys[0], (5, 8))])
    whole = layerwise.allocate(network, scores, 0.5, exclude="qkv/kernel$")
    assert whole["qkv"]["kernel"].all()
    assert int(whole["out"]["kernel"].sum()) == 16
    halved = layerwise.allocate(network, scores, {"qkv/kernel$": 0.5})
    assert int(halved["qkv"]["kernel"].sum()) == 48
    assert halved["out"]["kernel"].all()
    missing = {"qkv": {"kernel": None}, "out": {"kernel": jnp.ones((4, 8), bool)}}
    with pytest.raises(ValueError, match="there are scores for 'qkv/kernel', but no mask"):
        layerwise.allocate(network, scores, 0.5, masks=missing)


def test_blocks_stay_within_a_window_place_and_a_group():
    x, kernel = jnp.ones((1, 5, 5, 4)), jnp.ones((2, 2, 2, 4))

    def forward(params, x):
        return jax.lax.conv_general_dilated(
            x, params["kernel"], (1, 1), "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2,
        )  # fmt: skip

    with pytest.warns(UserWarning, match="no channel"):
        network = trace(forward, {"kernel": kernel}, x)
    scores = {"kernel": jax.random.normal(jax.random.key(0), kernel.shape)}
    for blocks in ("4x1", "1x4"):
        with pytest.raises(ValueError, match="2 inputs in a row and 2 outputs in a group"):
            layerwise.allocate(network, scores, 0.5, pattern=blocks)
    made = layerwise.allocate(network, scores, 0.5, pattern="2x2")["kernel"]
    assert int(made.sum()) == 16


@pytest.mark.usefixtures("without_type_checks")
def test_what_is_no_network():
    with pytest.raises(ValueError, match=r"must come from network\.trace.* got dict"):
        layerwise.wanda({}, {}, [])
