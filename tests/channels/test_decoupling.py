"""Mode "decoupled" on traced networks, against the solvers' own chain and NumPy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import linen as nn

from prunejax import masks
from prunejax.channels import critical_neurons, decoupling, describe, keep_above
from prunejax.network import trace
from solvers.modes import decoupled
from solvers.network import probes
from solvers.problem import Problem
from solvers.settings import Settings
from tests.support.narrow_networks import made

LABELS = np.arange(8) % 4


def problem(name):
    _, variables, x, network = made(name)
    layers = [layer for _, layer in describe(network, variables)]
    return Problem(layers, np.asarray(x, np.float64), LABELS, loss_weight=20.0)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "conv6"])
def test_representations_are_those_of_the_chain(name):
    _, variables, x, network = made(name)
    found = decoupling.representations(network, variables, x, positions=100)
    expected = probes.representations(problem(name).chain, np.asarray(x, np.float64))
    for values, other in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(values, other, rtol=2e-4, atol=2e-5)


def test_many_inputs_are_read_in_parts(monkeypatch):
    _, variables, x, network = made("mlp")
    at_once = decoupling.representations(network, variables, x)
    monkeypatch.setattr(decoupling, "CHUNK", 3)
    for group, values in decoupling.representations(network, variables, x).items():
        np.testing.assert_allclose(values, at_once[group], rtol=1e-5, atol=1e-6)


def test_a_grid_holds_the_means_of_its_cells():
    _, variables, x, network = made("lenet5")
    whole = decoupling.representations(network, variables, x, positions=100)["conv1"]
    coarse = decoupling.representations(network, variables, x, positions=5)["conv1"]
    maps = whole.reshape(8, 12, 12, 3)
    for row in range(5):
        for column in range(5):
            # cells of 12 pixels in 5 parts share a pixel where 12 / 5 is not whole
            part = maps[
                :,
                row * 12 // 5 : int(np.ceil((row + 1) * 12 / 5)),
                column * 12 // 5 : int(np.ceil((column + 1) * 12 / 5)),
            ]
            got = coarse[:, row * 5 + column]
            np.testing.assert_allclose(got, part.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_a_dense_network_has_the_scores_of_the_solvers_own_mode():
    _, variables, x, network = made("mlp")
    found = critical_neurons(network, variables, x, LABELS, loss_weight=20.0, mode="decoupled")
    expected = decoupled.solve(problem("mlp"), Settings())
    assert found.evidence.status == expected.status == "optimal"
    assert found.evidence.bound_scope == "probe"
    assert found.evidence.objective == pytest.approx(expected.objective, rel=3e-4)
    assert found.evidence.problem.loss() == pytest.approx(expected.problem.loss(), abs=1e-5)
    for scores, other in zip(found.scores.values(), expected.scores, strict=True):
        assert np.mean(np.abs(scores - other)) < 0.05


@pytest.mark.parametrize("name", ["mlp", "lenet5", "conv6"])
def test_sizes_are_the_published_ones(name):
    network = made(name)[3]
    sizes = [decoupling._size(network, group) for group in network.groups]
    assert sizes == [gate.size for gate in problem(name).chain.gates]


def test_sizes_do_not_depend_on_the_layout():
    module = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(6, 8, (3, 2), key=jax.random.key(0)),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(8, 2, 1, key=jax.random.key(1)),
        ]
    )
    arrays, static = eqx.partition(module, eqx.is_inexact_array)
    network = trace(
        lambda variables, x: jax.vmap(eqx.combine(variables, static))(x).mean(axis=(2, 3)),
        arrays,
        jnp.ones((1, 6, 5, 5)),
    )
    (group,) = network.groups
    assert decoupling._size(network, group) == 8 * 3 * 2


def test_a_residual_network_is_scored_and_pruned():
    model, variables, x, network = made("resnet8")
    found = critical_neurons(network, variables, x, LABELS, loss_weight=20.0, mode="decoupled")
    assert list(found.scores) == list(network.groups)
    assert found.evidence.status == "optimal"
    plan = found.plan("mean")
    made_masks = plan.masks(variables["params"])
    masked = model.apply({**variables, "params": masks.apply(variables["params"], made_masks)}, x)
    losses = scipy.special.logsumexp(np.asarray(masked, np.float64), axis=1)
    losses -= np.asarray(masked)[np.arange(8), LABELS]
    assert found.evidence.masked_loss("mean") == pytest.approx(losses.mean(), abs=1e-4)
    assert not all(stays.all() for stays in found.keep("mean").values())
    assert "its probe" in found.evidence.explain()


def test_an_emptied_group_keeps_its_first_neuron():
    _, variables, x, network = made("mlp")
    on_batch = decoupling.NetworkOnBatch(network, variables, x, LABELS, 5.0)
    first = np.zeros(21)
    first[[0, 12]] = 1
    assert on_batch.loss(np.zeros(21)) == on_batch.loss(first)
    assert on_batch.loss(first) != on_batch.loss()


def test_probes_are_fitted_to_examples():
    """With examples of one class only, probes say that class, and no neuron is needed for it."""
    _, variables, x, network = made("lenet5")
    found = critical_neurons(
        network, variables, x[:2], np.array([2, 2]), mode="decoupled", examples=(x, np.full(8, 2))
    )
    assert all(scores.max() < 0.05 for group, scores in list(found.scores.items())[:-1])
    # the network's own classifier reads the last layer, whatever the examples
    own = critical_neurons(network, variables, x[:2], np.array([2, 2]), mode="decoupled")
    np.testing.assert_allclose(found.scores["hidden2"], own.scores["hidden2"], atol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": np.arange(8)}, "labels of the batch must be from 0 to 3, got 0 to 7"),
        ({"labels": np.arange(7) % 4}, "labels of the batch must be 8 integers, got int64"),
        ({"labels": np.ones(8)}, "labels of the batch must be 8 integers, got float64"),
        ({"inputs": np.full((8, 4, 4, 1), np.nan)}, "what the batch gives as inputs has values"),
        ({"inputs": np.ones((0, 4, 4, 1)), "labels": np.arange(0)}, "inputs of the batch must be"),
        ({"examples": (np.ones((3, 4, 4, 1)), np.arange(2))}, "labels of the examples must be 3"),
        ({"loss_weight": float("nan")}, "loss_weight must be a positive number, got nan"),
        ({"loss_weight": -5.0}, "loss_weight must be a positive number, got -5.0"),
        ({"max_prune": 0.5}, "max_prune is for mode 'exact'"),
        ({"mode": "paper", "examples": (1, 2)}, "examples are for mode 'decoupled', not 'paper'"),
        ({"gap": -1.0}, "gap must be a number from 0 on"),
    ],
)
def test_bad_input_is_named(change, message):
    _, variables, x, network = made("mlp")
    settings = {"inputs": x, "labels": LABELS, "mode": "decoupled"} | change
    inputs, labels = settings.pop("inputs"), settings.pop("labels")
    with pytest.raises(ValueError, match=message):
        critical_neurons(network, variables, inputs, labels, **settings)


def test_weights_that_are_nan_are_named():
    _, variables, x, network = made("lenet5")
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), variables)
    with pytest.raises(ValueError, match="puts out has values that are NaN or infinite"):
        critical_neurons(network, broken, x, LABELS, mode="decoupled")


def test_a_network_without_neurons_is_refused():
    module = nn.Dense(4)
    variables = module.init(jax.random.key(0), jnp.ones((1, 3)))
    with pytest.warns(UserWarning, match="no channel of this network can be removed"):
        network = trace(module.apply, variables, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="no neurons that can be cut out"):
        critical_neurons(network, variables, jnp.ones((2, 3)), np.arange(2), mode="decoupled")


def test_neurons_that_cannot_be_cut_out_are_told_of():
    _, variables, x, network = made("mlp")
    groups = {"hidden2": network.groups["hidden2"]}
    fixed = dataclasses.replace(network, groups=groups)
    with pytest.warns(UserWarning, match="neurons of hidden1 cannot be cut out"):
        found = critical_neurons(fixed, variables, x, LABELS, gap=1e-2)
    assert list(found.scores) == ["hidden2"]
    assert len(found.evidence.scores) == 2


def test_thresholds_that_are_none_are_refused():
    scores = {"a": np.array([0.0, 0.5, 1.0])}
    np.testing.assert_array_equal(keep_above(scores, "mean")["a"], [False, True, True])
    np.testing.assert_array_equal(keep_above(scores, 2.0)["a"], [False, False, True])
    np.testing.assert_array_equal(keep_above(scores, 2.0, min_channels=0)["a"], [False] * 3)
    with pytest.raises(ValueError, match="threshold must be a number or 'mean', got 'median'"):
        keep_above(scores, "median")
    with pytest.raises(ValueError, match="min_channels must be a whole number from 0 on, got -1"):
        keep_above(scores, 0.1, min_channels=-1)
