"""What kernels take in, against NumPy on inputs that are computed here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import layerwise
from prunejax.network import trace
from tests.support.layerwise import patches

pytestmark = pytest.mark.filterwarnings("ignore:no channel of this network")


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


PARAMS = {"first": draw(0, 6, 8), "last": draw(1, 8, 3)}


def forward(params, x):
    return jax.nn.relu(x @ params["first"]) @ params["last"]


def hidden(x):
    return np.maximum(x @ PARAMS["first"], 0)


def check(found, rows):
    """``rows`` are [samples, inputs] of the only group."""
    assert found.samples == len(rows)
    np.testing.assert_allclose(found.squared_norms[0], (rows**2).sum(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.gram[0], rows.T @ rows, rtol=1e-4, atol=1e-4)


def test_two_layers():
    x = draw(2, 10, 6)
    network = trace(forward, PARAMS, x[:1])
    found = layerwise.input_statistics(network, PARAMS, [x])
    assert list(found) == ["first", "last"]
    check(found["first"], x)
    check(found["last"], hidden(x))
    assert layerwise.input_statistics(network, PARAMS, [x], gram=False)["first"].gram is None


def test_batches_of_any_size_are_one_batch_of_all():
    x = draw(2, 10, 6)
    network = trace(forward, PARAMS, x[:1])
    found = layerwise.input_statistics(network, PARAMS, iter([x[:3], x[3:4], x[4:]]))
    check(found["last"], hidden(x))


def test_tokens_are_samples():
    x = draw(2, 4, 5, 6)
    found = layerwise.input_statistics(trace(forward, PARAMS, x), PARAMS, [x])
    check(found["first"], x.reshape(20, 6))


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, jax.custom_jvp])
def test_calls_are_followed(wrap):
    @wrap
    def inner(kernel, x):
        return jax.jit(lambda kernel, x: jax.nn.relu(x @ kernel))(kernel, x)

    if wrap is jax.custom_jvp:
        inner.defjvp(lambda primals, tangents: (inner(*primals), tangents[1]))
    x = draw(2, 10, 6)
    network = trace(lambda p, x: inner(p["first"], x) @ p["last"], PARAMS, x)
    found = layerwise.input_statistics(network, PARAMS, [x])
    check(found["first"], x)
    check(found["last"], hidden(x))


def test_uses_of_a_shared_kernel_are_summed():
    kernel, x = draw(0, 4, 4), draw(1, 7, 4)

    def shared(params, x):
        return jnp.tanh(jnp.tanh(x @ params["w"]) @ params["w"])

    found = layerwise.input_statistics(trace(shared, {"w": kernel}, x), {"w": kernel}, [x])
    check(found["w"], np.concatenate([x, np.tanh(x @ kernel)]))


def test_each_head_of_a_batched_product_is_a_group():
    params, x = {"w": draw(0, 3, 5, 2)}, draw(1, 7, 3, 5)
    network = trace(lambda p, x: jnp.einsum("bhi,hio->bho", x, p["w"]), params, x)
    found = layerwise.input_statistics(network, params, [x])["w"]
    assert found.gram.shape == (3, 5, 5)
    for head in range(3):
        np.testing.assert_allclose(found.gram[head], x[:, head].T @ x[:, head], rtol=1e-4)


def test_attention_takes_in_what_its_equations_say():
    attention = nn.MultiHeadDotProductAttention(num_heads=2)
    x = draw(1, 3, 5, 8)
    variables = attention.init(jax.random.key(0), x)
    found = layerwise.input_statistics(trace(attention.apply, variables, x), variables, [x])
    rows = x.reshape(15, 8)
    for name in ("query", "key", "value"):
        check(found[f"{name}/kernel"], rows)
    kernels = {name: np.asarray(leaf["kernel"]) for name, leaf in variables["params"].items()}
    query, key, value = (
        np.einsum("bti,ihw->bhtw", x, kernels[name]) for name in ("query", "key", "value")
    )
    logits = query @ key.swapaxes(-1, -2) / np.sqrt(4)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    check(found["out/kernel"], (weights @ value).transpose(0, 2, 1, 3).reshape(15, 8))


@pytest.mark.parametrize("stride, padding", [(1, "SAME"), (2, "VALID")])
def test_convolutions_take_in_patches(stride, padding):
    conv = nn.Conv(4, (3, 2), strides=stride, padding=padding)
    x = draw(1, 2, 6, 6, 3)
    variables = conv.init(jax.random.key(0), x)
    found = layerwise.input_statistics(trace(conv.apply, variables, x), variables, [x])
    around = ((1, 1), (0, 1)) if padding == "SAME" else ((0, 0), (0, 0))
    check(found["kernel"], patches(x, (3, 2), stride, around))


def test_groups_of_a_convolution():
    conv = nn.Conv(6, (3, 3), feature_group_count=2, padding="VALID")
    x = draw(1, 2, 5, 5, 4)
    variables = conv.init(jax.random.key(0), x)
    found = layerwise.input_statistics(trace(conv.apply, variables, x), variables, [x])["kernel"]
    for group in range(2):
        rows = patches(x[..., 2 * group : 2 * group + 2], (3, 3), 1, ((0, 0), (0, 0)))
        np.testing.assert_allclose(found.gram[group], rows.T @ rows, rtol=1e-4, atol=1e-4)


def test_sums_are_wider_than_activations():
    x = jnp.full((1000, 6), 1.0, jnp.bfloat16)  # a sum in bfloat16 stops at 256
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), PARAMS)
    found = layerwise.input_statistics(trace(forward, params, x), params, [x])["first"]
    assert found.squared_norms.dtype == jnp.float32
    assert (found.squared_norms == 1000).all()
    with jax.enable_x64(True):
        found = layerwise.input_statistics(trace(forward, params, x), params, [x])["first"]
        assert found.gram.dtype == jnp.float64


def test_masks_choose_kernels_and_make_pruned_weights_0():
    x = draw(2, 10, 6)
    keep = np.arange(48).reshape(6, 8) % 3 > 0
    made = {"first": jnp.asarray(keep), "last": None}
    network = trace(forward, PARAMS, x)
    assert list(layerwise.input_statistics(network, PARAMS, [x], masks=made)) == ["first"]
    both = {**made, "last": jnp.ones((8, 3), bool)}
    found = layerwise.input_statistics(network, PARAMS, [x], masks=both)
    check(found["last"], np.maximum(x @ (PARAMS["first"] * keep), 0))
