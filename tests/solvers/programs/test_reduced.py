"""The reduced program against the explicit one."""

import numpy as np
import pytest

from solvers import critical_neurons
from solvers.critical_neurons import Problem
from solvers.layers import Dense, MaxPool, Relu
from solvers.modes import full
from solvers.programs.explicit import formulate
from solvers.programs.reduced import reduce
from solvers.programs.verification import largest_violation
from tests.support.full_program_cases import (
    FINE,
    agreed,
    convolutional,
    problem,
    two_convolutions,
)


def test_a_row_of_one_column_is_a_bound_of_it():
    """So a gated channel is not negative, and ties with the 0 of an inactive one are decided."""
    random = np.random.default_rng(5)
    images = np.full((4, 5, 5, 1), 0.25)
    images[:, 1:3, 1:3] = np.random.default_rng(5).uniform(size=(4, 2, 2, 1))
    last = Dense(random.normal(size=(12, 3)), np.zeros(3), "out")
    layers = [two_convolutions(5)[0], Relu(), MaxPool((2, 2)), last]
    given = Problem(layers, images, np.arange(4) % 3)
    chain = given.normal.chain
    program = reduce(chain, given.flat, given.epsilon)
    assert program.open == 0
    assert formulate(given).open >= 4
    assert np.diff(program.lazy.starts).min(initial=2) > 1
    # the bounds are the rows: a score just below its own breaks the published program
    lower = np.array(program.columns.lower)
    assert lower.max() > 0
    at = largest_violation(chain, given.flat, given.epsilon, np.maximum(lower, 0))
    neuron = int(lower.argmax())
    below = np.maximum(lower, 0)
    below[neuron] -= 1e-3
    assert largest_violation(chain, given.flat, given.epsilon, below) > at + 1e-6
    agreed(full.solve(given, FINE), critical_neurons.solve(given, gap=1e-5))


def test_a_neuron_that_nothing_reads_can_have_a_score():
    """The published rows want ``z - (1 - s) U >= 0`` of what the whole network has active."""
    random = np.random.default_rng(0)
    kernels = [np.abs(random.normal(size=(4, 6))), np.abs(random.normal(size=(6, 5)))]
    last = random.normal(size=(5, 3))
    last[0] = 0
    layers = [Dense(kernels[0]), Relu(), Dense(kernels[1]), Relu(), Dense(last)]
    inputs = random.uniform(size=(6, 4))
    given = Problem(layers, inputs, np.arange(6) % 3)
    scores = critical_neurons.solve(given, gap=1e-6).scores
    outputs = np.maximum(inputs @ kernels[0] - (1 - scores[0]) * (inputs @ kernels[0]), 0)
    least = 1 - (outputs @ kernels[1]) / (inputs @ kernels[0] @ kernels[1])
    assert scores[1][0] > 0.1
    assert scores[1][0] == pytest.approx(least[:, 0].max(), abs=1e-3)


@pytest.mark.parametrize("name", ["three dense", "ReLU, then adaptive average"])
def test_binaries_that_the_scores_imply_close_the_gap(monkeypatch, name):
    whole = problem(name, epsilon=1e-2)
    branched = full.solve(whole, FINE)

    def never(*_, **__):
        raise AssertionError("a mixed-integer program was solved")

    monkeypatch.setattr("solvers.backends.scip.solve_mip", never)
    found = critical_neurons.solve(whole, gap=1e-4)
    assert found.open > 0
    assert found.status == "optimal"
    assert found.violation < 1e-6
    assert found.objective == pytest.approx(branched.objective, abs=2e-4)
    assert found.bound <= branched.objective + 1e-5


@pytest.mark.parametrize("name", ["three dense", "ReLU, then maximum", "maximum first"])
def test_columns_complete_to_the_whole_network(name):
    """With all scores at 1 every row holds, and the logits are the network's."""
    whole = problem(name, epsilon=0.05)
    program = reduce(whole.chain, whole.flat, whole.epsilon)
    columns = program.complete(np.ones(whole.chain.neurons))
    np.testing.assert_allclose(columns, program.columns.start, atol=1e-12)
    assert (columns >= np.array(program.columns.lower) - 1e-12).all()
    assert (columns <= np.array(program.columns.upper) + 1e-12).all()
    matrix, bound = program.lazy.matrix(len(columns)), program.lazy.bounds
    assert (matrix @ columns - bound).min(initial=0.0) >= -1e-12
    for row in program.columns.rows:
        assert row.coefficients @ columns[row.indices] >= row.bound - 1e-12
    logits = [each.constant + each.matrix @ columns for each in program.logits]
    np.testing.assert_allclose(logits, whole.chain.logits(whole.flat), atol=1e-10)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
@pytest.mark.parametrize("behind", [(Relu(), MaxPool((2, 2))), (MaxPool((2, 2)), Relu())])
def test_equal_pixels_leave_nothing_open(behind, epsilon):
    """Images with a flat background: what their maxima are taken of is equal, and overlaps."""
    network = convolutional(3, *behind)
    images = np.full((6, 6, 6, 1), 0.25)
    images[:, 1:3, 1:3] = np.random.default_rng(4).uniform(size=(6, 2, 2, 1))
    flat = Problem(network, images, np.arange(6) % 3, epsilon=epsilon)
    found, short = full.solve(flat, FINE), critical_neurons.solve(flat, gap=1e-5, time_limit=60)
    agreed(found, short)
    assert short.open < found.open
