"""The explicit program: its rows read literally, its names and sizes."""

import itertools
import re

import numpy as np
import pytest

from solvers import critical_neurons
from solvers.critical_neurons import Problem
from solvers.layers import Dense
from solvers.modes import full
from solvers.programs.explicit import formulate
from solvers.programs.verification import largest_violation
from tests.support.full_program_cases import (
    FINE,
    agreed,
    perceptron,
    problem,
    random_batch,
)


def literal(network, image, label, scores, epsilon, tolerance=1e-9):
    """The published rows of a dense network for one sample, unit by unit; None where one breaks."""
    layers = [layer for layer in network if isinstance(layer, Dense)]
    low, high = np.maximum(image, 0) - epsilon, np.minimum(image, 1) + epsilon
    values, start = image, 0
    for layer in layers[:-1]:
        outputs, lows, highs = [], [], []
        for unit, (weights, bias) in enumerate(zip(layer.kernel.T, layer.bias, strict=True)):
            z = sum(w * x for w, x in zip(weights, values, strict=True)) + bias
            L = bias + sum(w * (low[i] if w > 0 else high[i]) for i, w in enumerate(weights))
            U = bias + sum(w * (high[i] if w > 0 else low[i]) for i, w in enumerate(weights))
            cut = (1 - scores[start + unit]) * max(U, 0)
            choices = []
            for v in (0, 1):
                least, most = max(0, z - cut), min(v * max(U, 0), z - (1 - v) * L - cut)
                if least <= most + tolerance:
                    choices.append(least)
            if not choices:
                return None
            outputs.append(min(choices))
            lows.append(max(L, 0))
            highs.append(max(U, 0))
        values, low, high = np.array(outputs), np.array(lows), np.array(highs)
        start += len(layer.bias)
    logits = values @ layers[-1].kernel + layers[-1].bias
    return float(np.log(np.sum(np.exp(logits))) - logits[label])


def literal_objective(network, images, labels, scores, epsilon, loss_weight):
    """The published objective; None where a row breaks."""
    losses = [
        literal(network, image, label, scores, epsilon)
        for image, label in zip(images, labels, strict=True)
    ]
    if None in losses:
        return None
    importances, start = [], 0
    for layer in [layer for layer in network if isinstance(layer, Dense)][:-1]:
        count = len(layer.bias)
        importances.append(sum(s - 2 for s in scores[start : start + count]) / count)
        start += count
    largest = sorted(importances)[1:] if len(importances) > 1 else importances
    return loss_weight * float(np.mean(losses)) + sum(largest)


@pytest.mark.parametrize("epsilon", [1e-5, 0.05, 0.3])
def test_the_program_is_the_rows_read_literally(epsilon):
    network = perceptron(11, (3, 3, 2, 2))
    images, labels = random_batch(11, (3,), 2, classes=2)
    whole = Problem(network, images, labels, epsilon=epsilon)
    form = formulate(whole)
    feasible = infeasible = 0
    best = np.inf
    for scores in itertools.product((0.0, 0.5, 1.0), repeat=5):
        expected = literal_objective(network, images, labels, scores, epsilon, 5.0)
        values = form.complete(np.array(scores))
        broken = form.program.violation(values)
        assert (broken <= 1e-9) == (expected is not None)
        checked = largest_violation(whole.chain, whole.flat, epsilon, np.array(scores))
        assert checked == pytest.approx(broken, abs=1e-12) or min(checked, broken) > 1e-9
        if expected is None:
            infeasible += 1
            continue
        feasible += 1
        best = min(best, expected)
        assert form.objective(values) == pytest.approx(expected, abs=1e-12)
        assert form.program.costs @ values == pytest.approx(expected, abs=1e-12)
    assert feasible > 5
    assert infeasible > 5
    found = full.solve(whole, FINE)
    scores = np.concatenate(found.scores)
    assert found.bound - 1e-6 <= found.objective <= best + 1e-4
    at = literal_objective(network, images, labels, scores, epsilon, 5.0)
    if at is not None:  # the literal rows are exact; a solution may lie within its tolerance
        assert found.objective == pytest.approx(at, abs=1e-6)


def test_open_units_are_there():
    assert formulate(problem("maximum, then ReLU", epsilon=1e-2)).open > 5
    assert formulate(problem("trained dense, batch 20", epsilon=1e-2)).open > 5


def test_the_sum_of_all_layers():
    whole = problem("dense", aggregate="sum", loss_weight=2.0)
    agreed(full.solve(whole, FINE), critical_neurons.solve(whole, gap=1e-5))
    assert sum(name.startswith("penalty") for name in formulate(whole).program.rows) == 1
    assert (
        sum(name.startswith("penalty_") for name in formulate(problem("dense")).program.rows) == 2
    )


def test_names_and_sizes():
    program = formulate(problem("dense")).program
    assert len(set(program.rows)) == len(program.rows) == 4 * (3 * 12 + 3) + 2
    assert len(set(program.columns)) == len(program.columns) == 12 + 4 * (2 * 12 + 3 + 1) + 1
    assert len(program.binary) == 4 * 12
    assert "relu_upper_s3_fc1_4" in program.rows
    assert {"s_fc0_6", "h_s0_fc0_6", "v_s3_fc1_4", "o_s2_logits_1", "loss_s1"} <= set(
        program.columns
    )


def test_layers_of_the_same_or_an_odd_name():
    network = perceptron(0, (4, 3, 3, 2))
    for index in (0, 2):
        network[index] = Dense(network[index].kernel, network[index].bias, "params/a b:0")
    program = formulate(Problem(network, np.ones((2, 4)), np.array([0, 1]))).program
    names = program.rows + program.columns
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z]\w*", name) for name in names)
