"""Mode "full": solvers, limits and rows of one's own."""

import numpy as np
import pytest

from solvers import critical_neurons
from solvers.critical_neurons import Problem
from solvers.modes import full
from solvers.programs.explicit import formulate
from solvers.programs.rows import Row
from solvers.settings import Settings
from tests.support.full_program_cases import (
    CASES,
    FINE,
    FINE_HIGHS,
    agreed,
    milp,
    perceptron,
    problem,
    random_batch,
)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
@pytest.mark.parametrize("name", CASES)
def test_full_and_reduced_agree(name, epsilon):
    # what is trained has more units, a tenth of the distance leaves as many open
    whole = problem(name, epsilon=epsilon / 10 if "trained" in name else epsilon)
    found, short = full.solve(whole, FINE), critical_neurons.solve(whole, gap=1e-5, time_limit=60)
    agreed(found, short)
    # a maximum whose largest entry is the same for all scores is open to the bounds alone
    assert short.open <= found.open
    if "maximum" not in name:
        assert short.open == found.open


@pytest.mark.parametrize("name", ["three dense", "ReLU, then maximum", "trained dense, batch 10"])
def test_exponentials_cuts_and_backends_agree(name):
    whole = problem(name, epsilon=1e-2 if "trained" not in name else 1e-5)
    agreed(
        full.solve(whole, FINE),
        full.solve(whole, FINE, loss="exp"),
        full.solve(whole, FINE_HIGHS),
    )


@pytest.mark.parametrize(
    "settings, loss",
    [
        (Settings(time_limit=0), "cuts"),
        (Settings(time_limit=0), "exp"),
        (Settings(time_limit=0, backend="highs"), "cuts"),
    ],
)
def test_no_time_gives_the_whole_network(settings, loss):
    whole = problem("ReLU, then maximum")
    found = full.solve(whole, settings, loss=loss)
    assert found.status == "time limit"
    assert all(np.all(scores == 1) for scores in found.scores)
    assert found.loss == pytest.approx(whole.loss(), abs=1e-12)
    assert np.isfinite(found.objective)
    assert found.violation < 1e-9


def test_progress_is_told_and_an_interrupt_returns_the_best():
    told = []

    def stop(seconds, objective, bound):
        told.append((seconds, objective, bound))
        if len(told) == 3:
            raise KeyboardInterrupt

    found = full.solve(problem("dense"), Settings(on_incumbent=stop))
    assert found.status == "interrupted"
    assert [step[2] for step in told] == sorted(step[2] for step in told)
    assert found.objective == told[-1][1]
    assert found.violation < 1e-6


@pytest.mark.parametrize("settings", [FINE, FINE_HIGHS])
@pytest.mark.parametrize("loss", ["cuts", "exp"])
def test_infeasible_rows_are_named(settings, loss):
    # one hidden layer: without these rows next to no neuron has to stay
    whole = Problem(perceptron(3, (5, 6, 3)), *random_batch(3, (5,), 4))
    scores = np.arange(6)
    rows = {
        "few_stay": Row(scores, -np.ones(6), -1.5),
        "first_stays": Row(scores[:1], np.ones(1), 0.9),
        "second_stays": Row(scores[1:2], np.ones(1), 0.9),
        "harmless": Row(scores[:1], -np.ones(1), -1.0),
    }
    with pytest.raises(ValueError, match="no common solution") as raised:
        full.solve(whole, settings, loss=loss, rows=rows)
    named = str(raised.value).split(": ")[1].split(", ")
    assert sorted(named) == ["few_stay", "first_stays", "second_stays"]


def test_the_named_rows_are_irreducible():
    whole = problem("dense")
    rows = {"few_stay": Row(np.arange(7), -np.ones(7), 0.0)}
    with pytest.raises(ValueError, match="no common solution") as raised:
        full.solve(whole, FINE, rows=rows)
    named = str(raised.value).split(": ")[1].split(", ")
    program = formulate(whole).program.with_rows(rows)
    assert milp(program, only=named) is None
    for name in named:
        assert milp(program, only=[other for other in named if other != name]) is not None


def test_a_published_row_is_named():
    whole = problem("dense")
    form = formulate(whole)
    unit = int(np.argmax(form.bounds[1].upper[0]))
    column = form.program.columns.index(f"h_s0_fc0_{unit}")
    rows = {"too_much": Row(np.array([column]), np.ones(1), form.bounds[1].upper[0, unit] + 1)}
    with pytest.raises(ValueError, match="no common solution") as raised:
        full.solve(whole, FINE, rows=rows)
    named = str(raised.value).split(": ")[1].split(", ")
    assert "too_much" in named
    assert len(named) <= 3
    assert all(name == "too_much" or f"s0_fc0_{unit}" in name for name in named)


@pytest.mark.parametrize("loss", ["cuts", "exp"])
def test_rows_of_ones_own_that_exclude_the_whole_network(loss):
    network = perceptron(3, (5, 6, 3))
    whole = Problem(network, *random_batch(3, (5,), 4))
    free = full.solve(whole, FINE)
    first = int(np.argmax(free.scores[0]))
    rows = {"less": Row(np.array([first]), -np.ones(1), -0.3)}
    found, other = (
        full.solve(whole, FINE, rows=rows, loss=loss),
        full.solve(whole, FINE_HIGHS, rows=rows),
    )
    assert found.scores[0][first] <= 0.3 + 1e-6
    assert found.objective > free.objective + 1e-3
    assert found.objective == pytest.approx(other.objective, abs=2e-4)
    with pytest.raises(TimeoutError, match="time limit before any solution"):
        full.solve(whole, Settings(time_limit=0), rows=rows, loss=loss)
    with pytest.raises(ValueError, match="there is a row 'relu_on_s0_fc0_0' already"):
        full.solve(whole, FINE, rows={"relu_on_s0_fc0_0": rows["less"]})


def test_another_word_for_the_loss():
    with pytest.raises(ValueError, match="loss must be 'cuts' or 'exp', got 'log'"):
        full.solve(problem("dense"), FINE, loss="log")
