"""From a traced network to the program and back to masks and plans."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import masks, models, training
from prunejax.channels import critical_neurons, describe
from prunejax.network import trace
from solvers.network.chain import build
from tests.support.narrow_networks import CHAINS, made


@functools.cache
def solved(name):
    _, variables, x, network = made(name)
    labels = np.arange(8) % 4
    return critical_neurons(network, variables, x, labels, gap=1e-3, time_limit=60)


@pytest.mark.parametrize("name", CHAINS)
def test_the_chain_computes_what_the_network_does(name):
    model, variables, x, network = made(name)
    chain = build([layer for _, layer in describe(network, variables)], x.shape[1:])
    logits = chain.logits(np.asarray(x, np.float64).reshape(len(x), -1))
    np.testing.assert_allclose(logits, model.apply(variables, x), rtol=2e-4, atol=2e-5)
    assert [gate.neurons for gate in chain.gates] == [
        group.width for group in network.groups.values()
    ]


@pytest.mark.parametrize("name", CHAINS)
def test_masked_sliced_and_the_programs_masks_are_one_network(name):
    model, variables, x, network = made(name)
    found = solved(name)
    assert list(found.scores) == list(network.groups)
    keep = found.keep("mean")
    plan = found.plan("mean")
    made_masks = plan.masks(variables["params"])
    masked = model.apply({**variables, "params": masks.apply(variables["params"], made_masks)}, x)
    sliced = plan.apply_fn(plan.slice(variables), x)
    np.testing.assert_allclose(sliced, masked, rtol=1e-4, atol=1e-5)
    kept = np.concatenate([keep[group] for group in found.scores]).astype(float)
    logits = found.evidence.problem.chain.logits(found.evidence.problem.flat, kept)
    np.testing.assert_allclose(logits, masked, rtol=2e-4, atol=5e-5)
    assert not all(stays.all() for stays in keep.values())


@pytest.mark.parametrize("name", CHAINS)
def test_a_neurons_bias_goes_with_it(name):
    _, variables, _, _ = made(name)
    keep, made_masks = (
        solved(name).keep("mean"),
        solved(name).masks(made(name)[1]["params"], "mean"),
    )
    for group, stays in keep.items():
        np.testing.assert_array_equal(made_masks[group]["bias"], stays)
        assert variables["params"][group]["bias"].shape == stays.shape


@pytest.mark.parametrize("name", CHAINS)
def test_the_answer_is_certified(name):
    solution = solved(name).evidence
    assert solution.status == "optimal"
    assert 0 <= solution.gap <= 1e-3
    assert solution.bound <= solution.objective
    assert solution.violation <= 1e-6
    assert solution.objective <= 5 * solution.problem.loss() + _whole_penalty(solution.problem)
    for scores in solution.scores:
        assert ((scores >= 0) & (scores <= 1)).all()


def _whole_penalty(problem):
    """P at scores of 1, by hand: all but the smallest of -N / N_l."""
    each = sorted((-gate.neurons / gate.size for gate in problem.chain.gates), reverse=True)
    return sum(each[: max(len(each) - 1, 1)])


def test_thresholds_keep_at_least_so_many():
    found = solved("mlp")
    none = found.keep(2.0)
    assert all(stays.sum() == 1 for stays in none.values())
    assert all(stays.all() for stays in found.keep(0.0).values())
    for group, stays in found.keep(2.0, min_channels=3).items():
        assert set(np.flatnonzero(stays)) == set(
            np.argsort(-found.scores[group], kind="stable")[:3].tolist()
        )


def test_scores_of_a_trained_network_beat_random_and_reversed_ones():
    from prunejax import data

    images, labels = data.load("digits")
    model = models.build("mlp", num_classes=10, hidden_widths=(32, 16))
    params, _ = training.init_variables(model, jax.random.key(0), images[:1])
    with jax.numpy_dtype_promotion("standard"):
        tx = training.masked(training.optimizer("adamw", 3e-3))
        state = training.init_state(params, {}, tx, key=jax.random.key(1))
        step = training.make_train_step(model, tx)
        state, _ = training.fit(state, step, data.Split(images, labels), epochs=15, batch_size=64)
    variables = {"params": state.params}
    network = trace(model.apply, variables, images[:1])
    batch = np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(10)])
    found = critical_neurons(network, variables, images[batch], labels[batch])
    counts = {group: max(1, len(scores) * 3 // 4) for group, scores in found.scores.items()}

    def accuracy(order):
        keep = {}
        for group, scores in found.scores.items():
            keep[group] = np.zeros(len(scores), bool)
            keep[group][order(scores)[: counts[group]]] = True
        made_masks = network.plan(keep).masks(state.params)
        params = masks.apply(state.params, made_masks)
        params = masks.apply(state.params, made_masks)
        logits = model.apply({"params": params}, jnp.asarray(images))
        return float(np.mean(np.asarray(logits).argmax(-1) == labels))

    best = accuracy(lambda scores: np.argsort(-scores, kind="stable"))
    worst = accuracy(lambda scores: np.argsort(scores, kind="stable"))
    drawn = [
        accuracy(lambda scores, seed=seed: np.random.default_rng(seed).permutation(len(scores)))
        for seed in range(5)
    ]
    assert best > np.mean(drawn) > worst


def test_what_the_program_cannot_hold_is_named():
    model = models.build("resnet8", num_classes=3, stem_width=4, stage_widths=(4, 4, 4))
    x = jnp.ones((1, 8, 8, 1))
    network = trace(model.apply, model.init(jax.random.key(0), x), x)
    with pytest.raises(ValueError, match=r"chains of layers only: 'add_1' reads"):
        describe(network, model.init(jax.random.key(0), x))
    for layer, said in ((nn.tanh, "'tanh_1', a tanh"), (nn.LayerNorm(), "which is not affine")):
        module = nn.Sequential([nn.Dense(4), layer, nn.Dense(2)])
        variables = module.init(jax.random.key(0), jnp.ones((1, 3)))
        network = trace(module.apply, variables, jnp.ones((1, 3)))
        with pytest.raises(ValueError, match=said):
            describe(network, variables)


def test_another_layout_is_refused():
    class Turned(eqx.Module):
        first: eqx.nn.Linear
        second: eqx.nn.Linear

        def __call__(self, x):
            return self.second(jax.nn.relu(self.first(x)))

    one, two = jax.random.split(jax.random.key(0))
    module = Turned(eqx.nn.Linear(5, 5, key=one), eqx.nn.Linear(5, 5, key=two))
    arrays, static = eqx.partition(module, eqx.is_inexact_array)

    def forward(variables, x):
        return jax.vmap(eqx.combine(variables, static))(x)

    x = jax.random.uniform(jax.random.key(2), (5, 5))
    network = trace(forward, arrays, x)
    with pytest.raises(ValueError, match="not laid out as Flax's"):
        critical_neurons(network, arrays, x, np.arange(5))


def test_bad_batches_are_refused():
    _, variables, x, network = made("mlp")
    with pytest.raises(ValueError, match="must be from 0 to 3, got 0 to 7"):
        critical_neurons(network, variables, x, np.arange(8))
    with pytest.raises(ValueError, match="labels of the batch must be 8 integers"):
        critical_neurons(network, variables, x, np.arange(8.0))
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), variables)
    with pytest.raises(ValueError, match="the kernel of hidden1 has values that are NaN"):
        critical_neurons(network, broken, x, np.arange(8) % 4)
    stopped = critical_neurons(network, variables, x, np.arange(8) % 4, time_limit=0.0)
    assert stopped.evidence.status == "time limit"
    assert all((scores == 1).all() for scores in stopped.scores.values())
