"""Which kernels are covered, in which layout, and why others are not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from prunejax import layerwise
from prunejax.layerwise.reading import read
from prunejax.network import trace

pytestmark = pytest.mark.filterwarnings("ignore:no channel of this network", "ignore:no rule for")


def kernels(apply, variables, x):
    return layerwise.kernels(trace(apply, variables, x))


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="a")(nn.relu(nn.Dense(9, name="z")(x)))


def test_linen_in_the_order_of_the_network():
    model, x = TwoLayers(), jnp.ones((1, 4))
    found = kernels(model.apply, model.init(jax.random.key(0), x), x)
    assert list(found.covered.items()) == [("z/kernel", (1, 4, 9)), ("a/kernel", (1, 9, 2))]
    assert found.left_out == {}


def test_attention_with_several_axes():
    model, x = nn.MultiHeadDotProductAttention(num_heads=2, out_features=6), jnp.ones((1, 3, 8))
    found = kernels(model.apply, model.init(jax.random.key(0), x), x).covered
    assert found == {
        "query/kernel": (1, 8, 8),
        "key/kernel": (1, 8, 8),
        "value/kernel": (1, 8, 8),
        "out/kernel": (1, 8, 6),
    }


def test_equinox_and_nnx():
    model = eqx.nn.MLP(4, 2, 9, 1, key=jax.random.key(0))
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def forward(arrays, x):
        return jax.vmap(eqx.combine(arrays, static))(x)

    found = kernels(forward, arrays, jnp.ones((3, 4))).covered
    assert found == {"layers/0/weight": (1, 4, 9), "layers/1/weight": (1, 9, 2)}

    graph, state = nnx.split(nnx.Linear(4, 9, rngs=nnx.Rngs(0)))

    def apply(params, x):
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(x)

    found = kernels(apply, nnx.to_pure_dict(state), jnp.ones((3, 4))).covered
    assert found == {"kernel": (1, 4, 9)}


def test_inputs_are_in_one_order_whatever_einsum_contracts_first():
    w, x = jnp.arange(30.0).reshape(2, 3, 5), jnp.ones((4, 3, 2))
    network = trace(lambda p, x: jnp.einsum("bji,ijo->bo", x, p["w"]), {"w": w}, x)
    (kernel,) = read(network, {"w": w}, x).kernels.values()
    np.testing.assert_array_equal(kernel.places[0], np.arange(30).reshape(6, 5))


def test_a_convolutions_channels_are_its_innermost_inputs():
    model, x = nn.Conv(4, (3, 3)), jnp.ones((1, 5, 5, 2))
    variables = model.init(jax.random.key(0), x)
    (kernel,) = read(trace(model.apply, variables, x), variables, x).kernels.values()
    np.testing.assert_array_equal(kernel.places[0], np.arange(72).reshape(18, 4))
    assert kernel.neighbours == 2


def test_parts_of_a_leaf_are_kernels_of_their_own():
    def fused(params, x):
        query, key = jnp.split(params["qk"], 2, axis=1)
        return (x @ query) * (jnp.tanh(x) @ key)

    found = kernels(fused, {"qk": jnp.ones((4, 6))}, jnp.ones((2, 4)))
    assert found.covered == {"qk": (1, 4, 3), "qk#2": (1, 4, 3)}


def scaled(params, x):
    return x @ (2 * params["w"])


def tied(params, x):
    return jnp.tanh(x @ params["w"]) @ params["w"].T


def half(params, x):
    return x @ params["w"][:, :2]


def overlapping(params, x):
    return x @ params["w"][:, :3] + x @ params["w"][:, 1:]


def unused(params, x):
    return x + 0 * x @ jnp.ones((4, 4)) + 0 * params["b"].sum()


def looped(params, x):
    return jax.lax.scan(lambda x, _: (jnp.tanh(x @ params["w"]), None), x, None, length=3)[0]


def repeated(params, x):
    return jnp.einsum(
        "bhi,hio->bho", x[:, None].repeat(2, 1), jnp.concatenate([params["w"][None]] * 2)
    )


def rounded(params, x):
    return x @ params["w"].astype(jnp.int8).astype(jnp.float32)


@pytest.mark.parametrize(
    "forward, reason",
    [
        (rounded, "it is read by convert_element_type"),
        (scaled, "it is read by mul"),
        (tied, "products read it in more than one way"),
        (half, "only a part of it is multiplied"),
        (overlapping, "products read it in more than one way"),
        (unused, "nothing that the network returns depends on it"),
        (looped, "it is read by scan"),
        (repeated, "it is read by concatenate"),
    ],
)
def test_what_is_left_out_says_why(forward, reason):
    params = {"w": jnp.ones((4, 4)), "b": jnp.ones(4)}
    found = kernels(forward, params, jnp.ones((2, 4)))
    assert found.covered == {}
    assert found.left_out == {"w": reason}


def test_what_is_covered_is_printed_a_line_each():
    found = layerwise.Kernels({"up": (1, 8, 64), "longer": (2, 4, 3)}, {"table": "it is looked up"})
    assert str(found).splitlines() == [
        "up      1 x 8 inputs x 64 outputs",
        "longer  2 x 4 inputs x 3 outputs",
        "table   left out: it is looked up",
    ]
