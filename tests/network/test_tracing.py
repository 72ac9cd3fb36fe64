"""Networks of many kinds, written in linen, nnx, Equinox and by hand: sliced against masked."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from prunejax.network import trace
from tests.support.slicing_checks import check, randomise


def image(*shape):
    return jax.random.normal(jax.random.key(1), shape)


def linen(module, x):
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)
    return module.apply, randomise(shapes), x


class SqueezeExcite(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.swish(nn.Conv(6, (1, 1), name="expand")(x))
        x = nn.Conv(12, (3, 3), feature_group_count=6, name="depthwise")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="norm")(x))
        gate = nn.relu(nn.Dense(5, name="squeeze")(jnp.mean(x, axis=(1, 2))))
        gate = nn.sigmoid(nn.Dense(12, name="excite")(gate))
        x = nn.Conv(7, (1, 1), name="project")(x * gate[:, None, None, :])
        return nn.Dense(3, name="head")(jnp.max(nn.relu(x), axis=(1, 2)))


class Grouped(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="first")(x))
        x = nn.elu(nn.Conv(12, (3, 3), strides=2, feature_group_count=4, name="grouped")(x))
        return nn.Dense(3, name="head")(x.reshape(x.shape[0], -1))


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        top = nn.relu(nn.Conv(4, (3, 3), name="down1")(x))
        low = nn.relu(nn.Conv(6, (3, 3), name="down2")(nn.max_pool(top, (2, 2), (2, 2))))
        up = nn.ConvTranspose(5, (2, 2), strides=(2, 2), name="up")(low)
        joined = jnp.concatenate([top, up], axis=-1)
        y = nn.leaky_relu(nn.Conv(7, (3, 3), kernel_dilation=2, name="mix")(joined))
        return nn.Conv(2, (1, 1), name="out")(y)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="embed")(x)
        for block in range(2):
            y = nn.LayerNorm(name=f"norm{block}a")(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=12)(y)
            y = nn.Dense(9, name=f"wide{block}")(nn.LayerNorm(name=f"norm{block}b")(x))
            x = x + nn.Dense(8, name=f"narrow{block}")(nn.gelu(y))
        return nn.Dense(3, name="head")(nn.LayerNorm(name="last")(x)[:, 0])


class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(6, name="first")(x))
        shared = nn.Dense(6, name="shared")
        for _ in range(3):
            x = nn.tanh(shared(x))
        return nn.Dense(2, name="head")(x)


class Volumes(nn.Module):
    rank: int

    @nn.compact
    def __call__(self, x):
        x = nn.softplus(nn.Conv(5, (3,) * self.rank, padding="VALID", name="first")(x))
        x = nn.GroupNorm(num_groups=None, group_size=3, name="norm")(
            nn.Conv(6, (2,) * self.rank, strides=2, name="second")(x)
        )
        return nn.Dense(3, name="head")(nn.silu(x).reshape(len(x), -1))


class Rematerialised(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (6, 5):
            x = nn.relu(nn.remat(nn.Conv)(width, (3, 3))(x))
        return nn.Dense(3)(x.reshape(len(x), -1))


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, x):
        positions = self.param("positions", nn.initializers.normal(), (5, 6))
        words = nn.Embed(11, 6, name="words")(x) + positions
        y = nn.RMSNorm(name="norm")(words)
        return nn.Dense(3, name="head")(y.mean(axis=1))


NETWORKS = {
    "squeeze_excite": (SqueezeExcite(), image(2, 6, 6, 3), 0.3),
    "grouped": (Grouped(), image(2, 6, 6, 2), 0.3),
    "unet": (UNet(), image(2, 8, 8, 2), 0.3),
    "transformer": (Transformer(), image(2, 4, 5), 0.3),
    "shared": (Shared(), image(4, 5), 0.2),
    "one_dimension": (Volumes(1), image(2, 9, 2), 0.2),
    "three_dimensions": (Volumes(3), image(2, 5, 5, 5, 2), 0.2),
    "remat": (Rematerialised(), image(2, 5, 5, 2), 0.3),
    "tokens": (Tokens(), jnp.arange(10).reshape(2, 5), 0.2),
}


@pytest.fixture(autouse=True)
def _flax_mixes_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", NETWORKS)
def test_sliced_equals_masked(name):
    module, x, removes = NETWORKS[name]
    other = jnp.concatenate([x, x[:1]])
    check(*linen(module, x), removes=removes, other_batch=other, gradients=True)


def test_rematerialisation_is_kept():
    apply_fn, variables, x = linen(*NETWORKS["remat"][:2])
    network = trace(apply_fn, variables, x)
    plan = network.plan(
        {name: np.arange(group.width) < 2 for name, group in network.groups.items()}
    )
    found = str(jax.make_jaxpr(plan.apply_fn)(plan.slice(variables), x))
    assert found.count("remat2[") == 2


def test_an_nnx_model():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 6, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
            self.head = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(nnx.relu(self.norm(self.conv(x))).mean(axis=(1, 2)))

    model = Net(nnx.Rngs(0))
    graph, state = nnx.split(model)

    def forward(variables, x):
        filled = nnx.clone(state)
        nnx.replace_by_pure_dict(filled, variables)
        return nnx.merge(graph, filled)(x)

    variables = randomise(nnx.to_pure_dict(state))
    plan = check(forward, variables, image(2, 5, 5, 2), removes=0.3)
    assert list(plan.network.groups) == ["conv"]
    paths = {member.path for member in plan.network.groups["conv"].members}
    assert {"conv/kernel", "conv/bias", "norm/scale", "norm/mean", "head/kernel"} <= paths


def test_an_equinox_model():
    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        attention: eqx.nn.MultiheadAttention
        layers: list

        def __init__(self, key):
            keys = jax.random.split(key, 4)
            self.conv = eqx.nn.Conv2d(2, 6, 3, key=keys[0])
            self.attention = eqx.nn.MultiheadAttention(2, 6, key=keys[1])
            self.layers = [eqx.nn.Linear(6, 7, key=keys[2]), eqx.nn.Linear(7, 3, key=keys[3])]

        def __call__(self, x):
            y = jax.nn.relu(self.conv(x)).reshape(6, -1).T
            y = self.attention(y, y, y).sum(axis=0)
            return self.layers[1](jax.nn.relu(self.layers[0](y)))

    variables, static = eqx.partition(Net(jax.random.key(0)), eqx.is_array)

    def forward(variables, x):
        return jax.vmap(eqx.combine(variables, static))(x)

    plan = check(forward, randomise(variables), image(2, 2, 5, 5), removes=0.3, gradients=True)
    assert {"conv", "layers/0"} <= set(plan.network.groups)


def test_a_haiku_network():
    def apply(params, key, x):  # as `hk.transform(...).apply`
        assert key is None
        conv, linear = params["cnn/~/conv2_d"], params["cnn/~/linear"]
        x = jax.lax.conv_general_dilated(
            x, conv["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + conv["b"]).mean(axis=(1, 2))
        x = jax.nn.relu(x @ linear["w"] + linear["b"])
        return x @ params["cnn/~/linear_1"]["w"] + params["cnn/~/linear_1"]["b"]

    shapes = {
        "cnn/~/conv2_d": {"w": (3, 3, 2, 6), "b": (6,)},
        "cnn/~/linear": {"w": (6, 7), "b": (7,)},
        "cnn/~/linear_1": {"w": (7, 3), "b": (3,)},
    }
    params = randomise(
        jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
            shapes,
            is_leaf=lambda leaf: isinstance(leaf, tuple),
        )
    )
    plan = check(
        lambda params, x: apply(params, None, x),
        params,
        image(2, 5, 5, 2),
        removes=0.3,
        other_batch=image(3, 5, 5, 2),
        gradients=True,
    )
    assert next(iter(plan.network.layers)) == "cnn/~/conv2_d"
    assert set(plan.keep) == {"cnn/~/conv2_d", "cnn/~/linear"}
    members = plan.network.groups["cnn/~/conv2_d"].members
    assert {(member.path, member.axis) for member in members} == {
        ("cnn/~/conv2_d/w", 3),
        ("cnn/~/conv2_d/b", 0),
        ("cnn/~/linear/w", 0),
    }


def test_a_function_written_by_hand_with_a_constant_of_its_own():
    pattern = np.linspace(1.0, 2.0, 6, dtype=np.float32)

    def forward(variables, x):
        hidden = jnp.maximum(x @ variables["w1"] + variables["b1"], 0) * pattern
        return hidden @ variables["w2"]

    shapes = {"w1": (4, 6), "b1": (6,), "w2": (6, 3)}
    variables = randomise(
        {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
    )
    plan = check(forward, variables, image(5, 4), removes=0.2, gradients=True)
    (group,) = plan.network.groups.values()
    places = {(member.path, member.axis): member.indices for member in group.members}
    assert set(places) == {("w1", 1), ("b1", 0), ("w2", 0)}
    assert all(indices.tolist() == [[i] for i in range(6)] for indices in places.values())


def test_flattening_repeats_a_channel_over_the_positions():
    def forward(variables, x):
        x = jax.lax.conv_general_dilated(
            x, variables["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(x).reshape(len(x), -1) @ variables["dense"]

    variables = {"conv": jnp.ones((3, 3, 2, 4)), "dense": jnp.ones((2 * 3 * 4, 5))}
    network = trace(forward, variables, jnp.ones((1, 2, 3, 2)))
    (group,) = network.groups.values()
    indices = {member.path: member.indices for member in group.members}
    wanted = [[position * 4 + channel for position in range(6)] for channel in range(4)]
    assert indices["dense"].tolist() == wanted


def test_heads_and_their_width_are_groups_of_their_own():
    x = image(1, 4, 6)
    module = nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=12)
    apply_fn, variables, _ = linen(module, x)
    groups = trace(functools.partial(_self_attention, apply_fn), variables, x).groups
    widths = sorted(group.width for group in groups.values())
    assert widths == [3, 4, 4]  # heads; the width of queries and keys; that of values
    heads = next(group for group in groups.values() if group.width == 3)
    kernels = {member.path for member in heads.members if member.path.endswith("kernel")}
    assert kernels == {f"params/{name}/kernel" for name in ("query", "key", "value", "out")}


def _self_attention(apply_fn, variables, x):
    return apply_fn(variables, x)


def test_the_derivative_of_relu_at_zero_survives_slicing():
    def forward(variables, x):
        return jax.nn.relu(x @ variables["w1"] + variables["b1"]) @ variables["w2"]

    variables = {"w1": jnp.ones((2, 4)), "b1": jnp.zeros(4), "w2": jnp.ones((4, 1))}
    network = trace(forward, variables, jnp.zeros((1, 2)))
    plan = network.plan({name: jnp.arange(4) < 2 for name in network.groups})
    slope = jax.grad(lambda tree: plan.apply_fn(tree, jnp.zeros((1, 2))).sum())(
        plan.slice(variables)
    )
    # jax.nn.relu has slope 0 at 0; max(x, 0), which it calls, has slope 1/2
    np.testing.assert_array_equal(slope["b1"], [0, 0])
    assert math.isclose(float(slope["w2"].sum()), 0)
