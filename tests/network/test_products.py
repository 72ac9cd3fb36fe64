"""Multiply-adds inside loops, branches and products of parameters, counted by hand."""

import warnings

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from prunejax.network import trace


def traced(forward, variables, x):
    """Traces without the warnings that other tests are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no rule for|no channel of this|of while")
        return trace(forward, variables, x)


VARIABLES = {"in": jnp.ones((8, 32)), "w": jnp.ones((24, 32, 32)), "out": jnp.ones((32, 4))}


def scanned(v, x):
    h, _ = lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x @ v["in"], v["w"])
    return h @ v["out"]


def test_a_scan_costs_what_its_steps_cost():
    found = traced(scanned, VARIABLES, jnp.ones((1, 8))).cost()
    assert found.multiply_adds == 8 * 32 + 24 * 32 * 32 + 32 * 4
    assert found.parameters == 8 * 32 + 24 * 32 * 32 + 32 * 4
    rows = {row.name: row for row in found.layers}
    assert rows["w"].multiply_adds == 24 * 32 * 32
    assert rows["w"].parameters == 24 * 32 * 32


def test_scans_inside_scans_multiply():
    def forward(v, x):
        def outer(h, w):
            return lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ w), h), None

        return lax.scan(outer, x @ v["in"], v["w"])[0] @ v["out"]

    found = traced(forward, VARIABLES, jnp.ones((2, 8))).cost()
    assert found.multiply_adds == 2 * (8 * 32 + 3 * 24 * 32 * 32 + 32 * 4)


def test_a_convolution_in_a_scan():
    def forward(v, x):
        def step(h, k):
            return lax.conv_general_dilated(h, k, (1, 1), "SAME"), None

        return lax.scan(step, x, v["k"])[0]

    found = traced(forward, {"k": jnp.ones((5, 3, 3, 3, 3))}, jnp.ones((1, 3, 6, 7))).cost()
    assert found.multiply_adds == 5 * 3 * 6 * 7 * 27


def test_of_branches_the_costliest_counts():
    def forward(v, x):
        h = x @ v["in"]
        h = lax.cond(x.sum() > 0, lambda h: h @ v["w"][0] @ v["w"][1], lambda h: h @ v["w"][2], h)
        return h @ v["out"]

    network = traced(forward, VARIABLES, jnp.ones((1, 8)))
    assert network.cost().multiply_adds == 8 * 32 + 2 * 32 * 32 + 32 * 4
    assert "multiply-adds of the costliest branch" in str(network)


def test_of_a_loop_without_end_one_iteration_counts_and_a_warning_says_so():
    def forward(v, x):
        h = lax.while_loop(lambda h: h.sum() < 9, lambda h: h + h @ v["w"][0], x @ v["in"])
        return h @ v["out"]

    with pytest.warns(UserWarning, match=r"of w, .* multiply-adds of one iteration"):
        network = trace(forward, VARIABLES, jnp.ones((1, 8)))
    assert network.cost().multiply_adds == 8 * 32 + 32 * 32 + 32 * 4
    assert "multiply-adds of one iteration" in str(network)


def learned_queries(v, x):
    queries = v["queries"] @ v["wq"]
    return jax.nn.softmax(queries @ (x @ v["wk"]).T) @ x


QUERIES = {"queries": jnp.ones((16, 64)), "wq": jnp.ones((64, 64)), "wk": jnp.ones((8, 64))}


def test_products_of_parameters_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    network = trace(learned_queries, QUERIES, jnp.ones((4, 8)))
    cost = network.cost()
    assert cost.multiply_adds == 16 * 64 * 64 + 4 * 8 * 64 + 16 * 64 * 4 + 16 * 4 * 8
    assert cost.parameters == sum(row.parameters for row in cost.layers)
    (line,) = (line for line in str(network).splitlines() if line.startswith("parameters_1"))
    assert "65,536" in line
    assert "wk (64)" in line  # the channels that go through it
    plan = network.plan({"wk": jnp.arange(64) < 16})
    assert plan.cost().multiply_adds == 16 * 64 * 16 + 4 * 8 * 16 + 16 * 16 * 4 + 16 * 4 * 8


def test_a_product_of_parameters_that_is_a_kernel_leaves_the_layers_name_to_it():
    def forward(v, x):
        kernel = v["dense"]["w"] + v["lora"]["a"] @ v["lora"]["b"]
        return jax.nn.relu(x @ kernel) @ v["out"]["w"]

    variables = {
        "dense": {"w": jnp.ones((5, 8))},
        "lora": {"a": jnp.ones((5, 2)), "b": jnp.ones((2, 8))},
        "out": {"w": jnp.ones((8, 3))},
    }
    network = trace(forward, variables, jnp.ones((1, 5)))
    assert network.cost().multiply_adds == 5 * 2 * 8 + 5 * 8 + 8 * 3
    assert list(network.layers) == ["parameters_1", "dense", "relu_1", "out"]
    assert list(network.groups) == ["dense"]


def test_a_call_that_is_named_like_an_activation_hides_no_kernel():
    @jax.jit
    def relu(x, w):
        return jnp.maximum(x @ w, 0)

    def closed(v, x):
        @jax.jit
        def gelu(h):
            return jnp.tanh(h @ v["b"])

        return gelu(relu(x, v["a"])) @ v["c"]

    variables = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 5)), "c": jnp.ones((5, 2))}
    network = trace(closed, variables, jnp.ones((1, 3)))
    assert [layer.kind for layer in network.layers.values()].count("dense") == 3
    assert network.cost().multiply_adds == 12 + 20 + 10
    assert {name: group.width for name, group in network.groups.items()} == {"a": 4, "b": 5}


def test_a_network_that_differentiates_inside():
    def energy(v, x):
        return (jax.nn.silu(x @ v["a"]) @ v["b"]).sum()

    def forces(v, x):
        return -jax.grad(energy, argnums=1)(v, x)

    from tests.support.slicing_checks import check, randomise

    variables = randomise({"a": jnp.ones((3, 8)), "b": jnp.ones((8, 1))})
    x = jax.random.normal(jax.random.key(0), (4, 3))
    with pytest.warns(UserWarning, match="3 of 11 channels stay whole"):  # as many as x has
        plan = check(forces, variables, x, removes=0.2, gradients=True)
    assert [group.width for group in plan.network.groups.values()] == [8]
