"""Which channels go together, which must stay, and what the layers of a network are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import models
from prunejax.network import trace
from tests.support.slicing_checks import check, randomise

NOTHING = "no channel of this network can be removed"


def resnet(**overrides):
    overrides = {"depth": 14, "stem_width": 4, "stage_widths": (4, 6, 8), **overrides}
    model = models.build("resnet20", num_classes=3, **overrides)
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    return trace(functools.partial(model.apply, train=False), variables, x)


def shapes(**leaves):
    return {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in leaves.items()}


def random(**leaves):
    return randomise(shapes(**leaves))


def test_the_stages_of_a_resnet_are_tied_and_its_middle_widths_are_free():
    groups = resnet().groups
    mids = [f"stage{s}_block{b}/conv1" for s in (1, 2, 3) for b in (1, 2)]
    outs = ["stem", "stage2_block1/conv2", "stage3_block1/conv2"]
    names = {group.layers for group in groups.values()}
    stage1 = ("stem", "stage1_block1/conv2", "stage1_block2/conv2")
    stage2 = ("stage2_block1/conv2", "stage2_block1/shortcut", "stage2_block2/conv2")
    stage3 = ("stage3_block1/conv2", "stage3_block1/shortcut", "stage3_block2/conv2")
    assert names == {stage1, stage2, stage3, *((mid,) for mid in mids)}
    assert set(groups) == {*mids, *outs}
    assert [groups[name].width for name in outs] == [4, 6, 8]


def test_the_coupling_does_not_come_from_names():
    def forward(variables, x):
        hidden = jax.nn.relu(x @ variables["a"])
        hidden = hidden + jax.nn.relu(hidden @ variables["b"]) @ variables["c"]
        return hidden @ variables["d"]

    variables = shapes(a=(3, 4), b=(4, 5), c=(5, 4), d=(4, 2))
    groups = trace(forward, variables, jnp.ones((2, 3))).groups
    found = {
        frozenset((member.path, member.axis) for member in group.members): group.width
        for group in groups.values()
    }
    assert found == {
        frozenset({("a", 1), ("b", 0), ("c", 1), ("d", 0)}): 4,
        frozenset({("b", 1), ("c", 0)}): 5,
    }


def test_shortcuts_of_zeros_tie_a_part_of_the_next_stage():
    groups = resnet(shortcut="pad").groups
    assert groups["stem"].width == 4
    assert groups["stage2_block1/conv2"].width == 2
    (member,) = (
        member
        for member in groups["stage2_block1/conv2"].members
        if member.path == "params/stage2_block1/conv2/kernel"
    )
    assert member.axis == 3
    assert member.indices.tolist() == [[0], [5]]  # one zero channel before the four, one behind


def test_an_unknown_primitive_freezes_what_it_touches_and_is_named():
    def forward(variables, x):
        hidden = x @ variables["a"]
        hidden = jnp.linalg.cholesky(hidden.T @ hidden + jnp.eye(4))
        return jax.nn.relu(hidden @ variables["b"]) @ variables["c"]

    variables = random(a=(3, 4), b=(4, 5), c=(5, 2))
    x = jax.random.normal(jax.random.key(2), (2, 3))
    with pytest.warns(UserWarning, match="no rule for cholesky"):
        network = trace(forward, variables, x)
    assert network.unknown == ("cholesky",)
    (group,) = network.groups.values()
    assert {(member.path, member.axis) for member in group.members} == {("b", 1), ("c", 0)}
    with pytest.warns(UserWarning, match="cholesky"):
        check(forward, variables, x, removes=0.2)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: jnp.cumsum(y, axis=-1),
        lambda y: jnp.sort(y, axis=-1),
        lambda y: jax.lax.top_k(y, 4)[0],
        lambda y: y * (y.argmax(axis=-1, keepdims=True) + 1).astype(y.dtype),
        lambda y: jnp.fft.ifft(jnp.fft.fft(y) ** 2).real,
        lambda y: y / y,
        lambda y: jnp.log(y),
        lambda y: jax.lax.rsqrt(y),
    ],
)
def test_where_removing_is_not_masking_channels_stay(function):
    def forward(variables, x):
        return function(x @ variables["a"]) @ variables["b"]

    with pytest.warns(UserWarning, match=NOTHING):
        assert trace(forward, shapes(a=(3, 4), b=(4, 2)), jnp.ones((2, 3))).groups == {}


@pytest.mark.parametrize(
    "function",
    [
        lambda y: jax.nn.sigmoid(y),  # not 0, but what reads it is masked too
        lambda y: jax.nn.softmax(y),  # exp(0) is not 0, and is added
        lambda y: y * jax.nn.sigmoid(y).sum(axis=-1, keepdims=True),
        lambda y: y - y.max(axis=-1, keepdims=True),
        lambda y: y - ((y - y.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True),
        lambda y: y * (1 + jnp.prod(y + 2, axis=-1, keepdims=True)),
        lambda y: y[:, ::2].repeat(2, axis=1),
        lambda y: y * jnp.arange(1, 5.0),  # a table is cut
        lambda y: y + (y + jnp.arange(1, 5.0)).sum(axis=-1, keepdims=True),
        lambda y: y - y.mean(axis=-1, keepdims=True),
        lambda y: y / jnp.sqrt((y**2).mean(axis=-1, keepdims=True) + 1e-6),
        lambda y: y[:, ::-1],
        lambda y: jnp.cumsum(y, axis=0),
        lambda y: jnp.pad(y, ((0, 0), (1, 2)))[:, 1:5],
        lambda y: jnp.concatenate([y[:, 2:], y[:, :2]], axis=1),
        lambda y: y.reshape(2, 2, 2).swapaxes(1, 2).reshape(2, 4),
        lambda y: jnp.where(y > 0, y, jnp.expm1(y)),
        lambda y: jnp.tile(y, (1, 3)).reshape(2, 3, 4).sum(axis=1),
        lambda y: jnp.tile(y[:, :2], (1, 2)),
        lambda y: jnp.stack(jnp.unstack(y, axis=0), axis=0),
        lambda y: jnp.stack(jnp.split(y, 2, axis=1)).max(axis=0).repeat(2, axis=1),
    ],
)
def test_where_removing_is_masking_channels_go(function):
    def forward(variables, x):
        return function(x @ variables["a"]) @ variables["b"]

    x = jax.random.normal(jax.random.key(2), (2, 3))
    check(forward, random(a=(3, 4), b=(4, 2)), x, removes=0.2)


def test_a_channel_that_is_read_on_its_own_stays():
    def forward(variables, x):
        hidden = x @ variables["a"]
        return (hidden + hidden[:, 1:2]) @ variables["b"]

    x = jax.random.normal(jax.random.key(2), (2, 3))
    with pytest.warns(UserWarning, match=r"1 of 4 .* slice of 2x4 .*reads it on its own"):
        plan = check(forward, random(a=(3, 4), b=(4, 2)), x, removes=0.2)
    (group,) = plan.network.groups.values()
    assert [member.indices.tolist() for member in group.members] == [[[0], [2], [3]]] * 2


def test_random_numbers_are_drawn_in_their_full_shape():
    def forward(variables, x):
        hidden = jax.nn.relu(x @ variables["a"])
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, hidden.shape)
        hidden = jnp.where(kept, hidden, 0) @ variables["b"]
        return hidden @ variables["c"]

    x = jax.random.normal(jax.random.key(2), (2, 3))
    plan = check(forward, random(a=(3, 4), b=(4, 5), c=(5, 2)), x, removes=0.2, gradients=True)
    assert {name: group.width for name, group in plan.network.groups.items()} == {"a": 4, "b": 5}


def test_outputs_in_a_tuple_are_not_taken_for_variables_in_a_list():
    def forward(variables, x):
        hidden = x @ variables[0]
        return hidden @ variables[1], hidden

    variables = list(shapes(a=(3, 4), b=(4, 4)).values())
    with pytest.warns(UserWarning, match=NOTHING):
        assert trace(forward, variables, jnp.ones((4, 3))).groups == {}


def test_inputs_outputs_and_unread_leaves_stay():
    def forward(variables, x):
        return x @ variables["a"]

    with pytest.warns(UserWarning, match="only layer with a kernel, 'a', are what it returns"):
        assert trace(forward, shapes(a=(3, 4), unread=(5,)), jnp.ones((2, 3))).groups == {}


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3), strides=2, padding=1, name="conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        y = nn.Conv(4, (3, 3), kernel_dilation=2, feature_group_count=2, name="grouped")(x)
        x = nn.max_pool(jnp.concatenate([x + y, y], axis=-1), (2, 2), (2, 2))
        x = nn.gelu(nn.Dense(6, name="hidden")(x.mean(axis=(1, 2))))
        return nn.Dense(3, name="head")(nn.LayerNorm(name="layer_norm")(x))


@pytest.mark.parametrize("train", [False, True])
def test_layers_and_what_feeds_them(train):
    x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: Net().init(jax.random.key(0), x, train=False), x)
    with jax.numpy_dtype_promotion("standard"):
        network = trace(
            lambda variables, x: Net().apply(variables, x, train, mutable=["batch_stats"]),
            variables,
            x,
        )
    found = [(layer.name, layer.kind, layer.inputs) for layer in network.layers.values()]
    assert found == [
        ("conv", "conv", ("input",)),
        ("norm", "norm", ("conv",)),
        ("relu_1", "activation", ("norm",)),
        ("grouped", "conv", ("relu_1",)),
        ("add_1", "add", ("relu_1", "grouped")),
        ("concatenate_1", "concatenate", ("add_1", "grouped")),
        ("max_pool_1", "max_pool", ("concatenate_1",)),
        ("avg_pool_1", "avg_pool", ("max_pool_1",)),
        ("hidden", "dense", ("avg_pool_1",)),
        ("tanh_1", "activation", ("hidden",)),  # gelu, whose call JAX inlines
        ("layer_norm", "norm", ("tanh_1",)),
        ("head", "dense", ("layer_norm",)),
    ]
    conv, grouped = network.layers["conv"], network.layers["grouped"]
    assert (conv.strides, conv.padding, conv.feature_groups) == ((2, 2), ((1, 1), (1, 1)), 1)
    assert (grouped.dilation, grouped.feature_groups) == ((2, 2), 2)
    assert (conv.input_shape, conv.output_shape) == ((2, 8, 8, 3), (2, 4, 4, 4))
    assert conv.parameters == ("params/conv/kernel", "params/conv/bias")
    assert network.layers["max_pool_1"].window == (1, 2, 2, 1)
    assert network.layers["norm"].output_shape == (2, 4, 4, 4)


def test_the_table_names_every_layer_and_every_group(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    network = resnet()
    text = str(network)
    for name in (*network.layers, *network.groups):
        assert name in text
    assert f"{network.cost().parameters:,} parameters" in text
    assert len(text.splitlines()) == len(network.layers) + 3


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_is_no_wider_than_the_screen(monkeypatch, columns):
    """What does not fit stands below, beside the layers' names again."""
    network = resnet()
    monkeypatch.setenv("COLUMNS", "300")
    cells = set(str(network).replace(",", " ").split())
    monkeypatch.setenv("COLUMNS", str(columns))
    text = str(network)
    # Two columns stand side by side in any case.
    names = max(map(len, network.layers))
    sources = max(len(", ".join(layer.inputs)) for layer in network.layers.values())
    assert max(map(len, text.splitlines())) <= max(columns, names + 2 + sources)
    assert set(text.replace(",", " ").split()) == cells
    assert text.splitlines()[0].startswith("layer ")
    headings = [line for line in text.splitlines() if line.startswith("layer ")]
    assert len(headings) > 1


def test_functions_that_cannot_be_traced_and_leaves_that_are_no_arrays():
    def branches(variables, x):
        return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match="cannot be traced"):
        trace(branches, {"w": np.ones(3)}, jnp.ones(3))
    with pytest.raises(ValueError, match="no variables"):
        trace(lambda variables, x: x, {}, jnp.ones(3))
    with pytest.raises(ValueError, match="'activation' must be an array, got"):
        trace(lambda variables, x: x, {"activation": jnp.tanh}, jnp.ones(3))


def test_an_empty_variable_has_no_channels():
    def forward(variables, x):
        hidden = jax.nn.relu(x @ variables["first"])
        return hidden @ variables["last"] + variables["empty"].sum()

    variables = {"first": jnp.ones((5, 8)), "last": jnp.ones((8, 3)), "empty": jnp.zeros((0, 8))}
    network = trace(forward, variables, jnp.ones((4, 5)))
    assert [group.width for group in network.groups.values()] == [8]
    plan = network.plan({"first": np.arange(8) < 3})
    assert plan.slice(variables)["empty"].shape == (0, 8)
