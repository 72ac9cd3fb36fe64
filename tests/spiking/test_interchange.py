"""Networks through NIR and back, also through a file; and what NIR cannot hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks, models, network, spiking
from tests.spiking.conftest import made
from tests.spiking.test_measuring import random_masks

nir = pytest.importorskip("nir")


@pytest.mark.parametrize("name", ["mlp", "conv", "conv, no norm"])
def test_the_round_trip_gives_the_same_logits(name, tmp_path):
    model, variables, x, traced = made(name)
    given = random_masks(variables["params"])
    pruned = {**variables, "params": masks.apply(variables["params"], given)}
    nir.write(tmp_path / "net.nir", spiking.to_nir(traced, pruned))
    apply, own = spiking.from_nir(nir.read(tmp_path / "net.nir"), model.timesteps)
    expected = model.apply(pruned, x)
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(apply(own, x), expected, atol=1e-6)
    frames = spiking.encode(x, model.timesteps)
    np.testing.assert_allclose(jax.jit(apply)(own, frames), expected, atol=1e-6)


def test_what_comes_back_is_a_network_as_any_other():
    model, variables, x, traced = made("conv")
    apply, own = spiking.from_nir(spiking.to_nir(traced, variables), model.timesteps)
    again = network.trace(apply, own, x[:1])
    assert {group.width for group in again.groups.values()} == {5, 6, 9}
    first, second = (
        spiking.measure(one, of, np.asarray(x)) for one, of in ((traced, variables), (again, own))
    )
    assert first.sops == pytest.approx(second.sops)
    gradient = jax.grad(lambda own: jnp.sum(apply(own, x) ** 2))(own)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    "fields", [{"decay": 0.0}, {"decay": 1.0}, {"tau": 3.0}, {"threshold": 0.7}], ids=str
)
def test_neurons_keep_their_constants(fields):
    model = models.build("spiking_mlp", num_classes=3, hidden_widths=(6,), timesteps=6, **fields)
    x = jax.random.normal(jax.random.key(0), (4, 5))
    variables = model.init(jax.random.key(1), x)
    graph = spiking.to_nir(network.trace(model.apply, variables, x[:1]), variables, dt=1e-3)
    apply, own = spiking.from_nir(graph, 6, dt=1e-3)
    np.testing.assert_allclose(apply(own, x), model.apply(variables, x), atol=1e-6)


def test_what_nir_cannot_hold():
    _, variables, _, traced = made("resnet")
    with pytest.raises(ValueError, match="chains: 'add_1' reads"):
        spiking.to_nir(traced, variables)
    model = models.build("spiking_mlp", num_classes=3, hidden_widths=(6,), reset="soft")
    x = jnp.ones((1, 5))
    variables = model.init(jax.random.key(1), x)
    with pytest.raises(ValueError, match="no soft reset, which 'lif_1' has"):
        spiking.to_nir(network.trace(model.apply, variables, x), variables)


def one(node, shape=(2,)):
    """A graph of one node between an input and an output."""
    return nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array(shape)}),
            "it": node,
            "output": nir.Output({"output": np.array(shape)}),
        },
        [("input", "it"), ("it", "output")],
    )


def leaky(**changes):
    values = {"tau": 1e-3, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **changes}
    return nir.LIF(**{key: np.broadcast_to(value, (2,)) for key, value in values.items()})


@pytest.mark.parametrize(
    "node, said",
    [
        (leaky(tau=[1e-3, 2e-3]), "tau of 'it' must be the same for all"),
        (leaky(v_reset=0.5), "'it' must rest at 0 and be reset to 0"),
        (leaky(tau=1e-5), "shorter than a step"),
        (nir.LI(np.ones(2), np.ones(2), np.zeros(2)), "'it' is a LI, which has no counterpart"),
    ],
    ids=("tau", "reset", "step", "kind"),
)
def test_what_cannot_be_read(node, said):
    with pytest.raises(ValueError, match=said):
        spiking.from_nir(one(node), 3)


def test_steps_are_at_least_one():
    with pytest.raises(ValueError, match="timesteps must be at least 1"):
        spiking.from_nir(one(leaky()), 0)


WRONG = {
    "scaled spikes": lambda s, last: (2 * s).mean(axis=0) @ last,
    "a sum over time": lambda s, last: s.sum(axis=0) @ last,
    "a function of logits": lambda s, last: jnp.tanh(s.mean(axis=0) @ last),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_network_that_does_more_than_its_layers_is_refused(what):
    first, last = (jax.random.normal(jax.random.key(n), (6, 6)) for n in (0, 1))

    def apply(variables, x):
        currents = jnp.broadcast_to(x @ variables["first"], (4, x.shape[0], 6))
        return WRONG[what](spiking.lif(currents)[0], variables["last"])

    variables = {"first": first, "last": last}
    traced = network.trace(apply, variables, jnp.ones((1, 6)))
    with pytest.raises(ValueError, match="NIR"):
        spiking.to_nir(traced, variables)


def test_operations_of_what_came_back_are_those_of_what_went():
    model, variables, x, traced = made("conv")
    apply, own = spiking.from_nir(spiking.to_nir(traced, variables), model.timesteps)
    again = spiking.measure(network.trace(apply, own, x[:1]), own, np.asarray(x))
    first = spiking.measure(traced, variables, np.asarray(x))
    assert (again.macs, again.dense_macs) == pytest.approx((first.macs, first.dense_macs))


@pytest.mark.parametrize("dt", [0.0, -1.0, float("inf"), float("nan")])
def test_a_step_lasts_some_time(dt):
    _, variables, _, traced = made("mlp")
    with pytest.raises(ValueError, match="dt must be a positive number"):
        spiking.to_nir(traced, variables, dt=dt)
    with pytest.raises(ValueError, match="dt must be a positive number"):
        spiking.from_nir(one(leaky()), 3, dt=dt)
