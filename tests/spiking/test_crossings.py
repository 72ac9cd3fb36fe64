"""Spiking networks in every other room: a test per crossing, and what cannot hold is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import (
    allocation,
    channels,
    criteria,
    masks,
    models,
    network,
    neurons,
    pruning,
    rewiring,
    robustness,
    topology,
    training,
)
from prunejax.filters import FilterCriterion
from prunejax.network import layers
from prunejax.rewiring import State, during_training
from tests.spiking.conftest import made
from tests.spiking.test_measuring import random_masks

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


def test_the_mark_of_neurons_has_one_name():
    assert layers.ACTIVITY == neurons.ACTIVITY


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet"])
def test_a_network_is_traced_with_its_neurons(name):
    *_, traced = made(name)
    found = [layer.name for layer in traced.layers.values() if layer.function == "lif"]
    assert found == [f"lif_{number + 1}" for number in range(len(found))]
    assert len(found) == {"mlp": 2, "conv": 3, "resnet": 18}[name]
    assert not traced.unknown
    assert not any(layer.kind == "concatenate" for layer in traced.layers.values())


@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_every_criterion_prunes_it(criterion):
    """With a surrogate whose window is not closed: a gradient reaches every weight."""
    model = models.build("spiking_mlp", num_classes=4, hidden_widths=(9, 8), surrogate="atan")
    x, labels = jax.random.normal(jax.random.key(0), (6, 4, 4, 1)), jnp.arange(6) % 4
    params = model.init(jax.random.key(1), x)["params"]
    made_masks = masks.make(params)
    loss_fn = training.classification_loss(model, {}, train=criterion != "synflow")
    found = pruning.prune(
        params, made_masks, (x, labels), criterion=criterion, sparsity=0.8, loss_fn=loss_fn,
        key=jax.random.key(2),
    )  # fmt: skip
    assert masks.count(found) == round(0.2 * masks.count(made_masks))
    assert not masks.empty(found)


@pytest.mark.parametrize("distribution", ["global", "uniform", "er", "erk"])
def test_weights_are_allocated_and_stay_pruned(distribution):
    model, variables, x, _ = made("conv")
    params, labels = variables["params"], jnp.arange(5) % 4
    given = allocation.allocate(
        criteria.magnitude(params, masks.make(params), None), 0.7, distribution=distribution
    )
    tx = training.masked(training.optimizer("sgd", 0.1, momentum=0.9, weight_decay=1e-3))
    state = training.init_state(
        params, variables["batch_stats"], tx, key=jax.random.key(0), masks=given
    )
    step = training.make_train_step(model, tx)
    for _ in range(3):
        state = step(state, (x, labels))
    leaves = {masks.name(path): leaf for path, leaf in jax.tree.leaves_with_path(state.params)}
    for path, mask in jax.tree.leaves_with_path(given):
        assert not np.any(np.asarray(leaves[masks.name(path)])[~np.asarray(mask)])
    assert training.is_finite(state)


@pytest.mark.parametrize("method", ["set", "rigl", "ch3_l3", "gradual"])
def test_it_is_rewired_while_it_trains(method):
    model, variables, x, _ = made("mlp")
    labels = jnp.arange(5) % 4
    tx = during_training.sparsified(
        training.optimizer("sgd", 0.1, momentum=0.9, weight_decay=0.0),
        method,
        sparsity=0.6,
        every=1,
        end=3,
        distribution="uniform",
        key=jax.random.key(0),
    )
    state = training.init_state(variables["params"], {}, tx, key=jax.random.key(0))
    step = training.make_train_step(model, tx)
    for _ in range(4):
        state = step(state, (x, labels))
    found = during_training.masks_of(state.opt_state)
    assert masks.sparsity(found) == pytest.approx(0.6, abs=0.02)


def test_its_topology_evolves():
    _, variables, _, _ = made("mlp")
    given = random_masks(variables["params"])
    state, info = rewiring.evolve(
        jax.random.key(0), State(variables["params"], given), regrowth="ch3_l3", zeta=0.3
    )
    assert masks.count(state.topology) == masks.count(given)
    assert sum(int(number) for number in info.removed.values()) > 0


@pytest.mark.parametrize("name", ["mlp", "conv", pytest.param("resnet", marks=pytest.mark.slow)])
def test_its_masks_are_a_graph_that_is_measured(name):
    """The graph of one step is that of the same network with ReLU: an edge per weight and place."""
    model, variables, x, several = made(name)
    given = random_masks(variables["params"])
    with pytest.raises(ValueError, match="take 3 steps; a graph has an edge per weight"):
        topology.encode(several, given)
    once = network.trace(model.clone(timesteps=1).apply, variables, x[:1])
    graph = topology.encode(once, given)
    if name == "mlp":
        plain = models.build("mlp", num_classes=4, hidden_widths=(9, 8))
        same = topology.encode(network.trace(plain.apply, variables, x[:1]), given)
        np.testing.assert_array_equal(graph.sources, same.sources)
        np.testing.assert_array_equal(graph.targets, same.targets)
        assert graph.edges == masks.count(given)
    measured = topology.measure(graph)
    assert len(measured) == len(topology.METRICS)
    assert all(np.isfinite(value) for value in measured.values())


def test_its_channels_are_scored_by_entropy_kcore_on_firing_rates_and_cut():
    model, variables, x, traced = made("conv")
    images = jnp.concatenate([x, x[::-1] * 0.5, x + 0.2])
    scores = channels.measure(traced, variables, images)
    plan = scores.plan(0.6)
    assert 0 < channels.flops_reduction(plan) < 1
    params = variables["params"]
    pruned = {**variables, "params": masks.apply(params, plan.masks(params))}
    expected = model.apply(pruned, x)
    np.testing.assert_allclose(plan.apply_fn(plan.slice(variables), x), expected, atol=1e-5)
    maps = []

    def keep_maps(features, *, key=None):
        maps.append(features.maps)
        return jnp.sum(jnp.abs(features.kernel), axis=(0, 1, 2))

    criterion = FilterCriterion(keep_maps, needs=("maps", "kernel"))
    channels.rank(traced, variables, images, criterion=criterion)
    recorded = traced.record(variables, images, ["lif_1", "lif_2"])
    for found, spikes in zip(maps, recorded.values(), strict=True):
        np.testing.assert_allclose(found, np.asarray(spikes).mean(axis=0), atol=1e-6)
        assert found.max() <= 1


@pytest.mark.parametrize("perturbation", robustness.PERTURBATIONS)
def test_it_is_attacked(perturbation):
    model, variables, x, _ = made("mlp")
    labels = jnp.argmax(model.apply(variables, x), -1)
    curve = robustness.curve(
        jax.random.key(0), model.apply, variables, {"params": masks.make(variables["params"])},
        [(x, labels)], perturbation, (0.0, 0.5, 1.0),
    )  # fmt: skip
    assert np.allclose(curve.accuracy[0], 1.0)
    assert curve.accuracy.shape[0] == 3


def test_programs_about_relu_refuse_it():
    _, variables, x, traced = made("mlp")
    with pytest.raises(ValueError, match="lif"):
        channels.critical_neurons(traced, variables, np.asarray(x), np.arange(5) % 4)


def test_a_sliced_network_runs_without_this_library(tmp_path):
    _, variables, x, traced = made("conv")
    plan = traced.plan({"conv1": np.arange(5) < 3})
    small = plan.slice(variables)
    network.save_sliced(tmp_path / "small", plan, small, x)
    loaded = network.load_sliced(tmp_path / "small")
    np.testing.assert_allclose(
        loaded.apply_fn(loaded.variables, x[:2]), plan.apply_fn(small, x[:2]), atol=1e-5
    )
