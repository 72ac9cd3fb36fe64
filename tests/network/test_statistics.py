"""What is a parameter, what is state, and what is merely named like one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from prunejax import masks
from prunejax.network import trace
from tests.support.slicing_checks import check, distance, random_keep, randomise

NOTHING = "no channel of this network can be removed"


def test_an_output_named_as_a_parameter_keeps_its_shape():
    def forward(v, x):  # four objects, four learned slots
        slots = jax.nn.relu(x @ v["w"]) + v["slots"]
        return {"slots": slots, "score": slots @ v["o"]}

    variables = {"w": jnp.ones((5, 8)), "slots": jnp.ones((4, 8)), "o": jnp.ones((8, 1))}
    with pytest.warns(UserWarning, match=NOTHING):
        network = trace(forward, variables, jnp.ones((4, 5)))
    assert network.traced.ties == ()
    with pytest.warns(UserWarning, match=NOTHING):  # nor as one of several outputs
        pair = trace(lambda v, x: (x.sum(), forward(v, x)), variables, jnp.ones((4, 5)))
    assert pair.traced.ties == ()


def test_an_output_named_as_a_parameter_of_linen_keeps_its_shape():
    def forward(v, x):
        hidden = x @ v["params"]["w"]
        return {"params": {"w": hidden}, "out": hidden @ v["params"]["o"]}

    variables = {"params": {"w": jnp.ones((5, 8)), "o": jnp.ones((8, 5))}}
    with pytest.warns(UserWarning, match=NOTHING):
        assert trace(forward, variables, jnp.ones((5, 5))).traced.ties == ()


class Net(nnx.Module):
    def __init__(self, rngs, train):
        self.conv = nnx.Conv(2, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, use_running_average=not train, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.conv(x))).mean(axis=(1, 2)))


@pytest.mark.parametrize("train", [False, True])
def test_running_statistics_of_nnx_are_no_parameters(train):
    graph, state = nnx.split(Net(nnx.Rngs(0), train))

    def forward(variables, x):
        filled = nnx.clone(state)
        nnx.replace_by_pure_dict(filled, variables)
        model = nnx.merge(graph, filled)
        y = model(x)
        return (y, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))) if train else y

    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 2))
    variables = randomise(nnx.to_pure_dict(state))
    network = trace(forward, variables, x)
    wanted = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(Net(nnx.Rngs(0), 0), nnx.Param)))
    assert network.cost().parameters == wanted
    assert not network.trainable & {"norm/mean", "norm/var"}
    plan = network.plan(random_keep(network))
    if train:
        _, updated = plan.apply_fn(plan.slice(variables), x)
        _, wanted = forward(masks.apply(variables, plan.masks(variables)), x)
        assert distance(updated, plan.slice(wanted)) <= 1e-5
    else:
        plan = check(forward, variables, x, removes=0.3)
    assert plan.masks(variables)["norm"]["mean"] is None
    assert plan.masks(variables)["norm"]["scale"] is not None


def haiku(v, x, inverse):  # Haiku's order of operations
    return (x - v["mean"]) * (inverse * v["scale"]) + v["offset"]


def keras(v, x, inverse):
    inverse = inverse * v["scale"]
    return x * inverse + (-v["mean"] * inverse + v["offset"])


def folded(v, x, inverse):
    inverse = inverse * v["scale"]
    return x * inverse + (v["offset"] - v["mean"] * inverse)


def divided(v, x, inverse):
    return v["scale"] * (x - v["mean"][None]) / (1 / inverse) + v["offset"]


@pytest.mark.parametrize("order", [haiku, keras, folded, divided])
@pytest.mark.parametrize("root", [lambda v: jax.lax.rsqrt(v + 1e-5), lambda v: 1 / jnp.sqrt(v)])
def test_they_are_told_by_their_use_not_by_their_names(order, root):
    names = ("mean", "scale", "offset", "variance", "kernel")

    def forward(leaves, x):
        v = dict(zip(names, leaves, strict=True))
        return order(v, x @ v["kernel"], root(v["variance"])) @ jnp.ones((4, 2))

    leaves = [jnp.ones(4)] * 4 + [jnp.ones((3, 4))]
    network = trace(forward, leaves, jnp.ones((2, 3)))
    assert network.trainable == {"1", "2", "4"}


def test_what_looks_alike_is_a_parameter():
    def forward(v, x):
        hidden = (x @ v["kernel"] - v["shift"]) * v["scale"]  # no root
        kernel = v["out"] * jax.lax.rsqrt((v["out"] ** 2).sum(0) + 1e-6)  # weight normalisation
        return hidden / jnp.sqrt(v["temperature"] + 1e-6) @ kernel  # a root without a mean

    variables = {
        **{"kernel": jnp.ones((3, 4)), "out": jnp.ones((4, 2)), "temperature": jnp.ones(())},
        **{"shift": jnp.ones(4), "scale": jnp.ones(4)},
    }
    assert trace(forward, variables, jnp.ones((2, 3))).trainable == set(variables)


def test_batch_normalisation_of_equinox():
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="batch")
    norm = eqx.nn.inference_mode(norm)
    variables, static = eqx.partition({"norm": norm, "state": state}, eqx.is_inexact_array)

    def forward(v, x):
        whole = eqx.combine(v["bn"], static)
        run = jax.vmap(whole["norm"], axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return run(x @ v["kernel"], whole["state"])[0] @ v["out"]

    tree = {"bn": variables, "kernel": jnp.ones((3, 4)), "out": jnp.ones((4, 2))}
    network = trace(forward, tree, jnp.ones((2, 3)))
    assert network.cost().parameters == 12 + 8 + 8  # both kernels, weight and bias


def test_complex_kernels_are_parameters():
    def forward(v, x):
        return jnp.abs(x @ v["w"]) @ v["b"]

    random = np.random.default_rng(0)
    kernel = random.normal(size=(6, 8)) + 1j * random.normal(size=(6, 8))
    variables = {"w": jnp.asarray(kernel, jnp.complex64), "b": jnp.ones((8, 3))}
    x = jnp.asarray(random.normal(size=(2, 6)), jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        plan = check(forward, variables, x, removes=0.2)
    assert plan.network.cost().parameters == 72
    assert plan.masks(variables)["w"].dtype == bool


def test_linens_other_collections_are_state():
    module = nn.Sequential([nn.Dense(4), nn.BatchNorm(use_running_average=True), nn.Dense(2)])
    x = jnp.ones((2, 3))
    network = trace(module.apply, module.init(jax.random.key(0), x), x)
    assert {path.split("/")[0] for path in network.trainable} == {"params"}


def test_a_network_without_groups_says_so_at_once_and_when_masks_are_asked_for():
    module = nn.Dense(3)
    x = jnp.ones((2, 3))
    variables = module.init(jax.random.key(0), x)
    with pytest.warns(UserWarning, match=NOTHING):
        network = trace(module.apply, variables, x)
    with pytest.raises(ValueError, match="no channels that can be removed, so there is nothing"):
        network.plan({}).masks(variables)
