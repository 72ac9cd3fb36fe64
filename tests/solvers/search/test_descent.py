"""Better scores without a linear program: every row holds, and the objective falls."""

import itertools

import numpy as np
import pytest

from solvers.backends import scip
from solvers.critical_neurons import Problem, solve
from solvers.layers import Dense, Relu
from solvers.programs import reduced
from solvers.programs.objective import Objective
from solvers.programs.verification import largest_violation
from solvers.search.descent import Descent
from tests.support.full_program_cases import CASES, problem


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
@pytest.mark.parametrize("name", CASES)
def test_scores_fulfil_the_published_rows(name, epsilon):
    given = problem(name, epsilon=epsilon)
    chain = given.normal.chain
    program = reduced.reduce(chain, given.flat, epsilon)
    objective = Objective(
        program,
        np.asarray(given.labels),
        given.loss_weight,
        given.importance,
    )
    start = np.array(program.columns.start)
    found = Descent(program, objective).lowered(start, np.inf)
    scores = found[: chain.neurons]
    np.testing.assert_array_equal(found[chain.neurons :], start[chain.neurons :])
    assert np.all((scores >= 0) & (scores <= 1))
    assert objective.value(found) <= objective.value(start)
    if not program.open:  # else what stands beside the scores may leave them no room
        assert objective.value(found) < objective.value(start)
        assert largest_violation(chain, given.flat, epsilon, scores) <= 1e-9
    matrix, bound = program.lazy.matrix(len(found)), program.lazy.bounds
    assert (bound - matrix @ found).max(initial=0.0) <= 1e-9
    for row in program.columns.rows:
        assert row.violation(found) <= 1e-9
    np.testing.assert_array_equal(Descent(program, objective).lowered(start, -np.inf), start)


def test_a_limit_leaves_an_answer_worth_having(monkeypatch):
    """No linear program is ever solved, as with a network that is too large for it."""

    def late(self, time_limit):
        raise TimeoutError

    monkeypatch.setattr(scip.LinearProgram, "solve", late)
    random = np.random.default_rng(0)
    layers = []
    for inputs, units in itertools.pairwise((30, 80, 60, 5)):
        kernel = random.normal(size=(inputs, units)) / np.sqrt(inputs)
        layers += [Dense(kernel, random.normal(size=units) * 0.1), Relu()]
    given = Problem(layers[:-1], random.uniform(size=(10, 30)), np.arange(10) % 5)
    found = solve(given, time_limit=60)
    assert found.status == "time limit"
    assert found.objective < given.loss_weight * given.loss() - 1 - 0.2
    assert found.bound <= found.objective
    assert found.violation <= 1e-9
    assert found.masked_loss("mean") < np.inf
    again = solve(given, time_limit=60)
    np.testing.assert_array_equal(np.concatenate(found.scores), np.concatenate(again.scores))
