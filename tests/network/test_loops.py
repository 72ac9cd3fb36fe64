"""Channels through loops and branches: sliced equals masked, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from prunejax.network import trace
from tests.support.slicing_checks import check, randomise

SHAPES = {
    "in": (5, 8),
    "w": (3, 8, 10),
    "back": (3, 10, 8),
    "u": (8, 8),
    "bias": (8,),
    "out": (8, 4),
}
VARIABLES = randomise({name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in SHAPES.items()})
X = jax.random.normal(jax.random.key(0), (6, 5))


def layers(v, x):
    def layer(h, kernels):
        return h + jnp.tanh(jnp.tanh(h @ kernels[0]) @ kernels[1]), h.sum(-1)

    h, sums = lax.scan(layer, x @ v["in"], (v["w"], v["back"]))
    return h @ v["out"] + sums.T[:, :1]


def recurrent(v, x):
    def step(h, row):
        h = jnp.tanh(row @ v["in"] + h @ v["u"])
        return h, h

    _, states = lax.scan(step, jnp.zeros(8), x, reverse=True)
    return states @ v["out"]


def two_pass_norm(v, x):
    def layer(h, kernels):
        centred = h - h.mean(-1, keepdims=True)
        normed = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
        return h + jax.nn.relu(normed @ kernels[0]) @ kernels[1], None

    return lax.scan(layer, x @ v["in"], (v["w"], v["back"]))[0] @ v["out"]


def numbered(v, x):
    def layer(number, h):
        return h + jnp.tanh(h @ v["w"][number]) @ v["back"][number]

    return lax.fori_loop(0, 3, layer, x @ v["in"]) @ v["out"]


def mapped(v, x):
    return lax.map(lambda row: jax.nn.relu(row @ v["in"]), x) @ v["out"]


def branches(v, x):
    h = jax.nn.relu(x @ v["in"])
    h = lax.cond(x.sum() > 0, lambda h: h @ v["u"], lambda h: jnp.tanh(h) * 2, h)
    return lax.switch(1, [lambda h: h, lambda h: -h, jnp.cos], h) @ v["out"]


def nested(v, x):
    def outer(h, kernels):
        h = lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h @ v["u"]), h)
        return h + jnp.tanh(h @ kernels[0]) @ kernels[1], None

    return lax.scan(outer, x @ v["in"], (v["w"], v["back"]))[0] @ v["out"]


def tables(v, x):
    """A table from outside, random numbers and a counter inside."""
    table = jnp.sin(jnp.arange(8.0))

    def step(carry, key):
        h, count = carry
        kept = jax.random.bernoulli(key, 0.7, h.shape)
        h = jnp.where(kept, h * table, 0) @ v["u"] + count
        return (jnp.tanh(h) * v["bias"], count + 1), None

    keys = jax.random.split(jax.random.key(1), 3)
    (h, _), _ = lax.scan(step, (x @ v["in"], jnp.zeros(())), keys)
    return h @ v["out"]


def remembered(v, x):
    """The derivative that a function brings along, and rematerialisation, inside a loop."""

    @jax.checkpoint
    def layer(h, kernels):
        return h + jax.nn.relu(h @ kernels[0]) @ kernels[1], None

    return lax.scan(layer, x @ v["in"], (v["w"], v["back"]), unroll=2)[0] @ v["out"]


def filled(v, x):
    """A buffer that begins as infinite and is filled step by step, as solvers of ODEs do."""

    def step(index, carry):
        buffer, h = carry
        return buffer.at[index].set(h), jnp.tanh(h @ v["u"])

    buffer = jnp.full((3, *x.shape[:-1], 8), jnp.inf)
    return lax.fori_loop(0, 3, step, (buffer, x @ v["in"]))[0].sum(0) @ v["out"]


NETWORKS = (
    *(layers, recurrent, two_pass_norm, numbered, mapped),
    *(branches, nested, tables, remembered, filled),
)


@pytest.mark.parametrize("forward", NETWORKS, ids=lambda each: each.__name__)
def test_sliced_equals_masked(forward):
    plan = check(forward, VARIABLES, X, removes=0.05, other_batch=X[:3], gradients=True)
    assert plan.network.staying.share == 1


def test_a_loop_until_something_happens():
    def forward(v, x):
        h = lax.while_loop(
            lambda h: jnp.abs(h).sum() > 3, lambda h: 0.7 * jnp.tanh(h @ v["u"]), x @ v["in"]
        )
        return h @ v["out"]

    with pytest.warns(UserWarning, match="multiply-adds of one iteration"):
        plan = check(forward, VARIABLES, X, removes=0.1)
    assert plan.network.groups["in"].width == 8


def test_costs_count_the_steps():
    found = trace(layers, VARIABLES, X).cost()
    assert found.multiply_adds == 6 * (5 * 8 + 3 * 2 * 8 * 10 + 8 * 4)
    plan = trace(layers, VARIABLES, X).plan({"in": np.arange(8) < 4, "w": np.arange(10) < 5})
    assert plan.cost().multiply_adds == 6 * (5 * 4 + 3 * 2 * 4 * 5 + 4 * 4)


def test_a_carry_that_does_not_stay_a_number_keeps_its_channels():
    """What is removed begins as 0 and becomes something else at each step."""

    def forward(v, x):
        def step(h, _):
            return h + h.mean(-1, keepdims=True) + 1, None

        return jax.nn.relu(lax.scan(step, x @ v["in"], None, length=2)[0]) @ v["out"]

    with pytest.warns(UserWarning, match="what a masked one adds is not known"):
        assert trace(forward, VARIABLES, X).groups == {}


class Language(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 6, name="embed")(tokens)
        x = nn.RNN(nn.OptimizedLSTMCell(7), name="lstm")(x)
        x = nn.RNN(nn.GRUCell(5), name="gru")(x)
        return nn.Dense(11, name="head")(x)


def test_cells_of_flax():
    tokens = jax.random.randint(jax.random.key(0), (2, 6), 0, 11)
    shapes = jax.eval_shape(Language().init, jax.random.key(0), tokens)
    plan = check(Language().apply, randomise(shapes), tokens, removes=0.3, gradients=True)
    assert [group.width for group in plan.network.groups.values()] == [6, 7, 5]
    gates = 6 * 4 * 7 * (6 + 7) + 6 * 3 * 5 * (7 + 5)
    assert plan.network.cost().multiply_adds == 2 * (gates + 6 * 5 * 11)


def test_loops_over_parameters_alone_cost_what_is_left_of_them():
    """Power iteration: the largest singular value of a kernel, by which it is divided."""

    def forward(v, x):
        def step(_, u):
            u = v["u"] @ u
            return u / jnp.sqrt((u**2).sum() + 1e-3)

        return (x @ v["in"] / lax.fori_loop(0, 4, step, v["bias"]).sum()) @ v["out"]

    variables = {name: VARIABLES[name] for name in ("in", "u", "bias", "out")}
    network = trace(forward, variables, X)
    wanted = 4 * 8 * 8 + 6 * (5 * 8 + 8 * 4)
    assert network.cost().multiply_adds == wanted
    scanned = trace(lambda v, x: layers({**v, "in": v["in"] @ v["u"]}, x), VARIABLES, X)
    assert scanned.cost().multiply_adds == 5 * 8 * 8 + 6 * (5 * 8 + 3 * 2 * 8 * 10 + 8 * 4)


def test_what_a_layer_in_a_loop_puts_out_is_not_at_hand():
    network = trace(layers, VARIABLES, X)
    with pytest.raises(ValueError, match="'w' stands in a loop or a branch"):
        network.record(VARIABLES, X, ["w"])
    with pytest.raises(ValueError, match="'w' stands in a loop"):
        network.place("w", "w")
