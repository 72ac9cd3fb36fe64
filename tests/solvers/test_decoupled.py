"""Mode "decoupled" against SciPy on the same smooth objective."""

import time

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from solvers.layers import AveragePool, Conv, Dense, MaxPool, Relu
from solvers.modes import decoupled
from solvers.modes.decoupled import decouple
from solvers.network import probes
from solvers.network.probes import Probe
from solvers.problem import Problem
from solvers.settings import Settings


def layer(batch, positions, neurons, classes=4, seed=0):
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(positions, neurons, classes)) / np.sqrt(positions * neurons)
    labels = np.arange(batch) % classes
    values = random.normal(size=(batch, positions, neurons)) + 2 * kernel.transpose(2, 0, 1)[labels]
    probe = Probe(kernel.reshape(-1, classes) * 2, random.normal(size=classes) * 0.1)
    return np.maximum(values, 0), labels, probe


def value(scores, activations, labels, probe, size, loss_weight):
    logits = (activations * scores).reshape(len(labels), -1) @ probe.kernel + probe.bias
    chances = scipy.special.log_softmax(logits, axis=1)
    loss = -chances[np.arange(len(labels)), labels].mean()
    return loss_weight * loss + np.sum(scores - 2) / size


def reference(activations, labels, probe, size, loss_weight):
    """The optimum by L-BFGS-B, from slopes by hand."""
    count = activations.shape[2]
    kernel = probe.kernel.reshape(*activations.shape[1:], -1)

    def slope(scores):
        logits = (activations * scores).reshape(len(labels), -1) @ probe.kernel + probe.bias
        errors = scipy.special.softmax(logits, axis=1)
        errors[np.arange(len(labels)), labels] -= 1
        rise = np.einsum("bk,bpn,pnk->n", errors, activations, kernel) / len(labels)
        return loss_weight * rise + 1 / size

    return scipy.optimize.minimize(
        value,
        np.full(count, 0.5),
        args=(activations, labels, probe, size, loss_weight),
        jac=lambda scores, *_: slope(scores),
        bounds=[(0, 1)] * count,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 50000, "ftol": 1e-14, "gtol": 1e-10},
    ).fun


@pytest.mark.parametrize(
    "batch, positions, neurons, size",
    [(6, 1, 20, 20), (10, 4, 30, 270), (20, 9, 16, 144), (1, 1, 3, 3)],
)
@pytest.mark.parametrize("loss_weight", [0.5, 5.0, 30.0])
def test_equals_scipy(batch, positions, neurons, size, loss_weight):
    activations, labels, probe = layer(batch, positions, neurons, seed=batch)
    arguments = (activations, labels, probe, size, loss_weight)
    found = decouple(*arguments, Settings(gap=1e-6))
    optimum = reference(*arguments)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(optimum, abs=1e-4)
    assert found.bound <= optimum + 1e-6
    assert found.objective == pytest.approx(value(found.scores, *arguments), abs=1e-9)
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1
    assert found.loss == pytest.approx(
        (found.objective - np.sum(found.scores - 2) / size) / loss_weight, abs=1e-9
    )


def test_a_time_limit_of_zero_gives_the_whole_layer():
    activations, labels, probe = layer(8, 2, 12)
    found = decouple(activations, labels, probe, 12, 5.0, Settings(time_limit=0.0))
    assert found.status == "time limit"
    np.testing.assert_array_equal(found.scores, 1)
    assert found.bound <= reference(activations, labels, probe, 12, 5.0)
    assert np.isfinite(found.bound)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a, y, p: (a[:, :, :-1], y, p), "kernel of shape"),
        (lambda a, y, p: (a[:, 0], y, p), "positions, neurons"),
        (lambda a, y, p: (a, y[:-1], p), "labels from 0 to 3"),
        (lambda a, y, p: (a, y + 1, p), "labels from 0 to 3"),
        (lambda a, y, p: (a, y, p._replace(bias=np.zeros(5))), "5 classes"),
        (lambda a, y, p: (a * np.nan, y, p), "NaN"),
        (lambda a, y, p: (a, y, p._replace(kernel=p.kernel * np.nan)), "NaN"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    activations, labels, probe = change(*layer(8, 2, 12))
    with pytest.raises(ValueError, match=message) as raised:
        decouple(activations, labels, probe, 12, 5.0, Settings(), "conv 3")
    assert "conv 3" in str(raised.value)


def network(seed=0):
    """Two convolutions, whose maps are pooled before and behind ReLU, and a dense layer."""
    random = np.random.default_rng(seed)
    layers = [
        Conv(random.normal(size=(3, 3, 1, 5)) / 2, random.normal(size=5) * 0.1, name="first"),
        MaxPool((2, 2)),
        Relu(),
        Conv(random.normal(size=(2, 2, 5, 6)) / 3, random.normal(size=6) * 0.1, name="second"),
        Relu(),
        AveragePool((2, 2), (1, 1)),
        Dense(random.normal(size=(24, 7)) / 3, name="third"),
        Relu(),
        Dense(random.normal(size=(7, 3)), random.normal(size=3)),
    ]
    inputs = random.uniform(size=(9, 10, 10, 1))
    return Problem(layers, inputs, np.arange(9) % 3, loss_weight=20.0)


def test_representations_are_what_is_masked():
    problem = network()
    values = probes.representations(problem.chain, problem.inputs)
    assert [each.shape for each in values] == [(9, 16, 5), (9, 9, 6), (9, 1, 7)]
    # by hand: the first layer's filter 2 at the upper left
    patches = problem.inputs[:, :4, :4, 0]
    kernel, bias = problem.layers[0].kernel[:, :, 0, 2], problem.layers[0].bias[2]
    responses = [
        (patches[:, i : i + 3, j : j + 3] * kernel).sum(axis=(1, 2)) + bias
        for i in range(2)
        for j in range(2)
    ]
    np.testing.assert_allclose(values[0][:, 0, 2], np.maximum(np.max(responses, axis=0), 0))


def test_the_last_layers_probe_is_the_network():
    problem = network()
    probe = probes.linear_rest(problem.chain)
    assert probe is not None
    last = probes.representations(problem.chain, problem.inputs)[-1]
    random = np.random.default_rng(0)
    kept = np.ones(problem.chain.neurons)
    kept[-7:] = random.integers(0, 2, 7)
    logits = (last * kept[-7:]).reshape(9, -1) @ probe.kernel + probe.bias
    np.testing.assert_allclose(logits, problem.chain.logits(problem.flat, kept), atol=1e-12)


def test_a_last_layer_with_positions_is_read_by_the_network_too():
    random = np.random.default_rng(1)
    layers = [
        Conv(random.normal(size=(3, 3, 1, 4)), random.normal(size=4)),
        Relu(),
        AveragePool((2, 2)),
        Dense(random.normal(size=(16, 3)), random.normal(size=3)),
    ]
    problem = Problem(layers, random.uniform(size=(5, 6, 6, 1)), np.arange(5) % 3)
    probe = probes.linear_rest(problem.chain)
    assert probe is not None
    kept = np.array([1.0, 0.0, 1.0, 0.0])
    values = probes.representations(problem.chain, problem.inputs)[0] * kept
    logits = values.reshape(5, -1) @ probe.kernel + probe.bias
    np.testing.assert_allclose(logits, problem.chain.logits(problem.flat, kept), atol=1e-12)


def test_a_fitted_probe_reads_its_layer():
    activations, labels, _ = layer(200, 3, 10, seed=4)
    probe = probes.fit_probe(activations, labels, 4)
    assert probe.kernel.shape == (30, 4)
    logits = activations.reshape(200, -1) @ probe.kernel + probe.bias
    assert (logits.argmax(axis=1) == labels).mean() > 0.8
    # no other kernel or bias is better, up to the decay
    chances = scipy.special.softmax(logits, axis=1) - np.eye(4)[labels]
    np.testing.assert_allclose(chances.mean(axis=0), 0, atol=1e-4)
    scale = np.sqrt(np.square(activations).sum(axis=(1, 2)).mean())
    slope = (activations.reshape(200, -1) / scale).T @ chances / 200
    np.testing.assert_allclose(slope + probes.DECAY * probe.kernel * scale, 0, atol=1e-4)


def test_a_layer_that_puts_out_nothing_has_a_probe():
    probe = probes.fit_probe(np.zeros((6, 2, 3)), np.arange(6) % 2, 2)
    np.testing.assert_array_equal(probe.kernel, np.zeros((6, 2)))
    np.testing.assert_allclose(probe.bias[0], probe.bias[1], atol=1e-6)


def test_two_processes_find_what_one_finds():
    problem = network()
    one, two = (decoupled.solve(problem, Settings(workers=workers)) for workers in (1, 2))
    assert one.bound_scope == "probe"
    assert one.layers == ("first", "second", "third")
    assert one.status == "optimal"
    assert (one.objective, one.bound) == (two.objective, two.bound)
    for first, second in zip(one.scores, two.scores, strict=True):
        np.testing.assert_array_equal(first, second)
    assert "probe" in one.explain()


def test_a_problem_is_its_layers_programs():
    problem = network(3)
    values = probes.representations(problem.chain, problem.inputs)
    given = [probes.fit_probe(each, problem.labels, 3) for each in values]
    solution = decoupled.solve(problem, Settings(gap=1e-6), probes=given)
    optima = [
        reference(each, problem.labels, probe, gate.size, 20.0)
        for each, probe, gate in zip(values, given, problem.chain.gates, strict=True)
    ]
    assert solution.objective == pytest.approx(sum(optima), abs=3e-4)
    assert solution.bound <= sum(optima) + 1e-6
    with pytest.raises(ValueError, match="3 probes"):
        decoupled.solve(problem, Settings(), probes=given[:2])


@pytest.mark.parametrize("batch, seconds", [(10, 2), pytest.param(100, 60, marks=pytest.mark.slow)])
def test_512_channels(batch, seconds):
    activations, labels, probe = layer(batch, 4, 512, classes=10)
    started = time.perf_counter()
    found = decouple(activations, labels, probe, 512, 5.0, Settings())
    assert found.status == "optimal"
    assert time.perf_counter() - started < 3 * seconds  # the ceiling is for an idle machine
