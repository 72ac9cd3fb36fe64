"""Criteria on heads of attention, on places in them, and on experts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import channels
from prunejax.network import trace
from tests.support.slicing_checks import check, randomise

HEADS, WIDTH = 4, 6


def attention(v, x):
    q, k, w = (t.reshape(len(x), -1, HEADS, WIDTH) for t in jnp.split(x @ v["qkv"], 3, axis=-1))
    scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", scores, w)
    return jax.nn.relu(mixed.reshape(len(x), -1, HEADS * WIDTH) @ v["out"]) @ v["last"]


def experts(v, x):
    gates = jax.nn.softmax(x @ v["gate"])
    hidden = jax.nn.relu(jnp.einsum("bd,edf->ebf", x, v["up"]))
    return jnp.einsum("be,ebf->bf", gates, hidden) @ v["last"]


def made(**shapes):
    return randomise({name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in shapes.items()})


@pytest.fixture(scope="module")
def heads():
    variables = made(qkv=(5, 72), out=(24, 7), last=(7, 3))
    x = jax.random.normal(jax.random.key(1), (2, 8, 5))
    return variables, x, trace(attention, variables, x)


def test_a_head_is_scored_by_all_its_weights(heads):
    variables, x, network = heads
    ours = channels.rank(network, variables, x, criterion="l1", kinds=("dense",))
    widths = {name: group.width for name, group in network.groups.items()}
    assert widths == {"qkv": HEADS, "qkv#2": WIDTH, "qkv#3": WIDTH, "out": 7}
    kernel = np.abs(np.asarray(variables["qkv"])).reshape(5, 3, HEADS, WIDTH)
    for group, axes in (("qkv", (0, 1, 3)), ("qkv#3", None)):
        # nothing ties places in the values to those in queries and keys
        wanted = kernel[:, 2].sum((0, 1)) if axes is None else kernel.sum(axes)
        scores = np.asarray(ours.scores[group])
        np.testing.assert_allclose(scores / scores[0], wanted / wanted[0], rtol=1e-5)


def test_weights_are_summed_over_a_head(heads):
    variables, _, network = heads
    importance = jax.tree.map(jnp.square, variables)
    ours = channels.sum_weights(network, importance)
    squares = np.asarray(variables["qkv"]).reshape(5, 3, HEADS, WIDTH) ** 2
    np.testing.assert_allclose(ours.scores["qkv"], squares.sum((0, 1, 3)), rtol=1e-5)
    np.testing.assert_allclose(ours.scores["qkv#2"], squares[:, :2].sum((0, 1, 2)), rtol=1e-5)


def test_activations_of_a_head_are_those_of_its_places(heads):
    network = heads[2]
    place = network.place("qkv", "qkv")
    assert place.axis == 2
    wanted = np.arange(72).reshape(3, HEADS, WIDTH)
    assert place.every.tolist() == wanted.transpose(1, 0, 2).reshape(HEADS, -1).tolist()
    assert place.indices.tolist() == wanted[0, :, 0].tolist()


def test_whole_heads_go(heads):
    variables, x, network = heads
    plan = network.plan({"qkv": np.arange(HEADS) != 2})
    small = plan.slice(variables)
    assert small["qkv"].shape == (5, 54)
    assert small["out"].shape == (18, 7)
    check(attention, variables, x, removes=0.3, gradients=True)


def test_whole_experts_go():
    variables = made(gate=(5, 4), up=(4, 5, 6), last=(6, 3))
    x = jax.random.normal(jax.random.key(1), (9, 5))
    plan = check(experts, variables, x, removes=0.3, gradients=True)
    assert {name: group.width for name, group in plan.network.groups.items()} == {
        "gate": 4,
        "up": 6,
    }
    fewer = plan.network.plan({"gate": np.arange(4) < 3}).slice(variables)
    assert {name: leaf.shape for name, leaf in fewer.items()} == {
        "gate": (5, 3),
        "up": (3, 5, 6),
        "last": (6, 3),
    }
    scores = channels.sum_weights(plan.network, jax.tree.map(jnp.abs, variables)).scores["gate"]
    np.testing.assert_allclose(scores, np.abs(np.asarray(variables["gate"])).sum(0), rtol=1e-5)
