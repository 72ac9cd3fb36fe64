"""Mode "decoupled" against SciPy on the same smooth objective."""

import time

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from solvers.modes import decoupled
from solvers.modes.decoupled import decouple
from solvers.network import probes
from solvers.settings import Settings
from tests.support.probed_layers import layer, network


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
