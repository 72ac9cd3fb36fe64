"""Time in the batch against step by step, and neurons inside models of other libraries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prunejax import network, spiking
from tests.spiking.conftest import made


def rolled(name, variables, x, steps):
    """Spikes of each layer, one step after the other, each layer on one step at a time."""
    params = variables["params"]
    kind = spiking.neuron(threshold=0.2 if name == "conv, no norm" else 0.5)
    carried, spikes, rates = {}, {}, 0.0

    def fire(layer, currents):
        v = carried.get(layer, jnp.zeros_like(currents))
        carried[layer], s, _ = spiking.lif_step(v, currents, kind)
        spikes.setdefault(layer, []).append(s)
        return s

    def dense(h, layer):
        return h @ params[layer]["kernel"] + params[layer]["bias"]

    def conv(h, layer):
        y = jax.lax.conv_general_dilated(
            h, params[layer]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + params[layer]["bias"]

    def pool(h):
        batch, height, width, channels = h.shape
        return h.reshape(batch, height // 2, 2, width // 2, 2, channels).sum((2, 4)) / 4

    for _ in range(steps):
        h = x
        if name == "mlp":
            h = h.reshape(len(h), -1)
            for layer in ("hidden1", "hidden2"):
                h = fire(layer, dense(h, layer))
        else:
            for layer in ("conv1", "conv2"):
                h = pool(fire(layer, conv(h, layer)))
            h = fire("hidden", dense(h.reshape(len(h), -1), "hidden"))
        rates = rates + h / steps
    return [jnp.stack(of) for of in spikes.values()], dense(rates, "classifier")


@pytest.mark.parametrize("name", ["mlp", "conv, no norm"])
def test_folded_and_rolled_layouts_give_the_same_spikes_bit_for_bit(name):
    model, variables, x, traced = made(name, timesteps=6)
    spikes, logits = rolled(name, variables, x, 6)
    layers = [layer.name for layer in traced.layers.values() if layer.function == "lif"]
    found = traced.record(variables, x, layers)
    for ours, theirs in zip(found.values(), spikes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert 0 < float(theirs.mean()) < 1
    np.testing.assert_allclose(model.apply(variables, x), logits, atol=1e-5)


def test_in_an_nnx_module():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            currents = self.first(x)
            spikes, _ = spiking.lif(jnp.broadcast_to(currents, (4, *currents.shape)))
            return self.last(spikes.mean(axis=0))

    net, x = Net(nnx.Rngs(0)), 3 * jax.random.normal(jax.random.key(0), (5, 6))
    graph, state = nnx.split(net)
    variables = nnx.to_pure_dict(state)

    def apply(variables, x):
        return nnx.merge(graph, _state(state, variables))(x)

    _checked(apply, variables, x)


def _state(state, values):
    made_now = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(made_now, values)
    return made_now


def test_in_an_equinox_module():
    class Net(eqx.Module):
        first: eqx.nn.Linear
        last: eqx.nn.Linear

        def __call__(self, image):
            currents = self.first(image)
            spikes, _ = spiking.lif(jnp.broadcast_to(currents, (4, *currents.shape)))
            return self.last(spikes.mean(axis=0))

    keys = jax.random.split(jax.random.key(0))
    net = Net(eqx.nn.Linear(6, 8, key=keys[0]), eqx.nn.Linear(8, 3, key=keys[1]))
    arrays, rest = eqx.partition(net, eqx.is_inexact_array)

    def apply(arrays, x):
        return jax.vmap(eqx.combine(arrays, rest))(x)

    _checked(apply, arrays, 3 * jax.random.normal(jax.random.key(0), (5, 6)))


def _checked(apply, variables, x):
    """It is differentiated, traced, measured and cut as any other."""
    gradients = jax.grad(lambda variables: jnp.sum(apply(variables, x) ** 2))(variables)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))
    traced = network.trace(apply, variables, x[:1])
    (group,) = traced.groups.values()
    assert group.width == 8
    scores = spiking.criticality(traced, variables, np.asarray(x))
    assert scores["lif_1"].shape == (8,)
    measures = spiking.measure(traced, variables, np.asarray(x))
    assert measures.sops == pytest.approx(8 * 4 * 3 * measures.firing_rate)
    plan = traced.plan({group.name: np.arange(8) % 2 == 0})
    small = plan.apply_fn(plan.slice(variables), x)
    assert small.shape == (5, 3)
