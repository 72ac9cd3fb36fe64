"""The whole published program: its rows read literally, the reduced one, and files."""

import itertools
import re

import highspy
import numpy as np
import pyscipopt
import pytest
import scipy.optimize

from solvers import critical_neurons, export
from solvers.critical_neurons import Problem
from solvers.layers import Dense, MaxPool, Relu
from solvers.modes import full
from solvers.programs.explicit import formulate
from solvers.programs.reduced import reduce
from solvers.programs.rows import Row
from solvers.programs.verification import largest_violation
from solvers.settings import Settings
from tests.support.full_program_cases import (
    CASES,
    convolutional,
    perceptron,
    problem,
    random_batch,
    two_convolutions,
)

FINE = Settings(gap=1e-5, time_limit=60)
FINE_HIGHS = Settings(gap=1e-5, time_limit=60, backend="highs")


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


def agreed(*solutions):
    """Solutions of one problem, each certified, all with the same objective."""
    for solution in solutions:
        assert solution.status == "optimal"
        assert solution.violation < 1e-6
        assert solution.bound <= solution.objective + 1e-6
        assert solution.bound_scope == "paper-restriction"
        assert all(np.all((s >= 0) & (s <= 1)) for s in solution.scores)
        assert solution.trajectory[-1][1:] == (solution.objective, solution.bound)
    objectives = [solution.objective for solution in solutions]
    assert max(objectives) - min(objectives) < 2e-4
    for one, other in itertools.permutations(solutions, 2):
        assert one.bound <= other.objective + 1e-5


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


@pytest.mark.parametrize("name", ["three dense", "ReLU, then maximum", "trained dense, batch 10"])
def test_exponentials_cuts_and_backends_agree(name):
    whole = problem(name, epsilon=1e-2 if "trained" not in name else 1e-5)
    agreed(
        full.solve(whole, FINE),
        full.solve(whole, FINE, loss="exp"),
        full.solve(whole, FINE_HIGHS),
    )


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


def milp(program, only=None):
    """The optimum by SciPy, of some rows or all; None without a solution."""
    whole = np.zeros(len(program.costs))
    whole[program.binary] = 1
    rows = slice(None) if only is None else [program.rows.index(name) for name in only]
    found = scipy.optimize.milp(
        program.costs if only is None else np.zeros(len(program.costs)),
        integrality=whole,
        bounds=scipy.optimize.Bounds(program.lower, program.upper),
        constraints=scipy.optimize.LinearConstraint(
            program.matrix[rows], program.row_lower[rows], program.row_upper[rows]
        ),
        options={"mip_rel_gap": 0},
    )
    return found.fun


def test_tangents_in_files_touch_every_loss():
    form = formulate(problem("dense"))
    program = export.with_tangents(form)
    assert sum(name.startswith("tangent_") for name in program.rows) == 4 * len(export.POINTS)
    for point in export.POINTS:
        values = form.complete(np.full(form.problem.chain.neurons, point))
        broken = program.violation(values)
        for sample in range(4):
            lower = values.copy()
            lower[form.losses[sample]] -= 10.0
            assert program.violation(lower) >= 10.0 - 1e-9 > broken


@pytest.mark.parametrize("ending", ["mps", "lp"])
@pytest.mark.parametrize("name", ["dense", "maximum, then ReLU"])
def test_linear_files_read_back(tmp_path, name, ending):
    whole = problem(name, epsilon=1e-2)
    path = tmp_path / f"net.{ending}"
    path.write_text("replaced")
    whole.write(path)
    assert list(tmp_path.iterdir()) == [path]
    assert "tangents of each sample's cross-entropy" in path.read_text()[:400]
    assert "relu_upper_s1_fc" in path.read_text()
    answer = full.solve(whole, FINE).objective
    if name == "dense":  # without the tangents that the answer took it would lie far below
        assert milp(export.with_tangents(formulate(whole))) < answer - 0.01
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.setParam("limits/gap", 0.0)
    model.optimize()
    expected = model.getObjVal()
    assert answer - 1e-4 * abs(answer) <= expected <= answer + 1e-6
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.readModel(str(path))
    highs.run()
    assert highs.getObjectiveValue() == pytest.approx(expected, abs=1e-5)


def test_no_time_for_tangents_leaves_those_of_some_scores(tmp_path):
    whole = problem("dense")
    whole.write(tmp_path / "net.lp", time_limit=0.0)
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(tmp_path / "net.lp"))
    model.setParam("limits/gap", 0.0)
    model.optimize()
    expected = milp(export.with_tangents(formulate(whole)))
    assert model.getObjVal() == pytest.approx(expected, abs=1e-5)


def test_a_model_of_scips():
    """Everything is in it, under the names of the files."""
    whole = problem("dense", epsilon=1e-2)
    model = whole.to_model()
    model.hideOutput()
    form = formulate(whole)
    assert {variable.name for variable in model.getVars()} == set(form.program.columns)
    assert {row.name for row in model.getConss()} >= set(form.program.rows)
    model.setParam("limits/gap", 1e-6)
    model.optimize()
    assert model.getObjVal() == pytest.approx(full.solve(whole, FINE).objective, abs=2e-4)


def test_a_cip_file_holds_the_losses(tmp_path):
    whole = problem("maximum, then ReLU", epsilon=1e-2)
    whole.write(str(tmp_path / "net.cip"))
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(tmp_path / "net.cip"))
    model.setParam("limits/gap", 1e-6)
    model.optimize()
    assert model.getObjVal() == pytest.approx(full.solve(whole, FINE).objective, abs=2e-4)


def test_another_ending_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"net.txt must end in .mps, .lp, .cip"):
        problem("dense").write(tmp_path / "net.txt")
    assert list(tmp_path.iterdir()) == []
