"""SCIP and HiGHS through the same calls, against SciPy and against all binaries tried."""

import inspect
import itertools
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from solvers import critical_neurons
from solvers.backends import highs, scip
from solvers.critical_neurons import Problem
from solvers.layers import MaxPool
from solvers.modes import full
from solvers.programs.rows import Row, stacked
from solvers.settings import BACKENDS, Settings
from tests.support.full_program_cases import perceptron, problem

MODULES = [scip, highs]


def instance(seed, columns=6, rows=7):
    """A bounded program that has a solution: costs, bounds and rows that a point fulfils."""
    random = np.random.default_rng(seed)
    lower, upper = -random.uniform(0, 2, columns), random.uniform(0.5, 3, columns)
    lower[: columns // 2], upper[: columns // 2] = 0, 1
    point = np.where(random.uniform(size=columns) < 0.5, lower, upper)
    made = []
    for _ in range(rows):
        indices = np.sort(random.permutation(columns)[: random.integers(1, columns + 1)])
        coefficients = random.normal(size=len(indices))
        slack = random.exponential() if random.uniform() < 0.7 else 0.0
        made.append(Row(indices, coefficients, float(coefficients @ point[indices]) - slack))
    return random.normal(size=columns), lower, upper, made


def linprog(costs, lower, upper, rows):
    """The optimum by SciPy; None without a solution."""
    matrix = np.zeros((len(rows), len(costs)))
    for place, row in enumerate(rows):
        matrix[place, row.indices] = -row.coefficients
    found = scipy.optimize.linprog(
        costs,
        A_ub=matrix,
        b_ub=[-row.bound for row in rows],
        bounds=np.column_stack([lower, upper]),
        method="highs",
    )
    return found.fun if found.status == 0 else None


def enumerated(costs, lower, upper, binary, rows):
    """The optimum over all values of the binaries."""
    found = []
    for chosen in itertools.product((0.0, 1.0), repeat=len(binary)):
        low, high = lower.copy(), upper.copy()
        low[binary], high[binary] = chosen, chosen
        found.append(linprog(costs, low, high, rows))
    return min((value for value in found if value is not None), default=None)


def broken(rows, values):
    """By how much rows are violated."""
    return max((row.bound - row.coefficients @ values[row.indices] for row in rows), default=0.0)


@pytest.mark.parametrize("backend", MODULES)
@hypothesis_settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_linear_programs_that_grow(backend, seed):
    costs, lower, upper, rows = instance(seed)
    program = backend.LinearProgram(costs, lower, upper)
    program.add(stacked([]))
    for count in (0, 3, 7):
        program.add(stacked(rows[{0: 0, 3: 0, 7: 3}[count] : count]))
        values, objective = program.solve()
        assert objective == pytest.approx(linprog(costs, lower, upper, rows[:count]), abs=1e-7)
        assert objective == pytest.approx(costs @ values, abs=1e-9)
        assert broken(rows[:count], values) <= 1e-8
        assert np.all((values >= lower - 1e-8) & (values <= upper + 1e-8))
    program.add(stacked([Row(np.array([0]), np.ones(1), upper[0] + 1)]))
    assert program.solve() is None


@pytest.mark.parametrize("backend", MODULES)
def test_free_columns(backend):
    free = np.array([np.inf, np.inf])
    program = backend.LinearProgram(np.array([1.0, 2.0]), -free, free)
    rows = [Row(np.array([0, 1]), np.ones(2), -3.0), Row(np.array([1]), np.ones(1), -50.0)]
    program.add(stacked(rows))
    values, objective = program.solve()
    np.testing.assert_allclose(values, [47.0, -50.0])
    assert objective == pytest.approx(-53.0)


@pytest.mark.parametrize("backend", MODULES)
@hypothesis_settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_mixed_integer_programs(backend, seed):
    costs, lower, upper, rows = instance(seed)
    expected = enumerated(costs, lower, upper, [0, 1, 2], rows)
    told = []
    result = backend.solve_mip(
        costs,
        lower,
        upper,
        [0, 1, 2],
        stacked(rows),
        priority=[1],
        seed=seed % 7,
        on_incumbent=lambda objective, bound, values: told.append((objective, bound, values)),
    )
    if expected is None:
        assert result.values is None
        assert result.status == "infeasible"
        return
    assert result.status == "optimal"
    assert costs @ result.values == pytest.approx(expected, abs=1e-6)
    assert result.bound == pytest.approx(expected, abs=1e-6)
    assert broken(rows, result.values) <= 1e-7
    assert np.abs(result.values[:3] - np.round(result.values[:3])).max() <= 1e-7
    for objective, bound, values in told:
        assert objective == pytest.approx(costs @ values, abs=1e-6)
        assert bound <= expected + 1e-6
        assert objective >= expected - 1e-6


@pytest.mark.parametrize("backend", MODULES)
def test_a_program_without_binaries(backend):
    costs, lower, upper, rows = instance(3)
    result = backend.solve_mip(costs, lower, upper, [], stacked(rows))
    expected = linprog(costs, lower, upper, rows)
    assert result.status == "optimal"
    assert [costs @ result.values, result.bound] == pytest.approx([expected] * 2, abs=1e-6)


@pytest.mark.parametrize("backend", MODULES)
def test_no_time_leaves_the_start(backend):
    random = np.random.default_rng(0)
    columns = 40
    weights = random.integers(10, 60, (15, columns)).astype(float)
    rows = [Row(np.arange(columns), -row, -row.sum() / 2) for row in weights]
    start = np.zeros(columns)
    start[0] = 1
    costs = -random.integers(10, 60, columns).astype(float)
    result = backend.solve_mip(
        costs,
        np.zeros(columns),
        np.ones(columns),
        list(range(columns)),
        stacked(rows),
        start=start,
        time_limit=0.0,
    )
    assert result.status == "timelimit"
    # a solver may keep a better one that it found on the way in
    assert costs @ result.values <= costs @ start + 1e-9
    assert broken(rows, result.values) <= 1e-7


@pytest.mark.parametrize("backend", MODULES)
def test_the_same_seed_gives_the_same(backend):
    costs, lower, upper, rows = instance(12, columns=10, rows=8)
    found = [
        backend.solve_mip(costs, lower, upper, [0, 1, 2, 3, 4], stacked(rows), seed=5).values
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("backend", MODULES)
def test_what_an_incumbent_raises_is_raised(backend, error):
    costs, lower, upper, rows = instance(3)

    def stop(objective, bound, values):
        raise error

    with pytest.raises(error):
        backend.solve_mip(costs, lower, upper, [0, 1], stacked(rows), on_incumbent=stop)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
@pytest.mark.parametrize(
    "name", ["dense", "maximum, then ReLU", "two convolutions, maximum, then ReLU"]
)
def test_the_reduced_program_by_both(name, epsilon):
    whole = problem(name, epsilon=epsilon)
    found = [
        critical_neurons.solve(whole, gap=1e-5, time_limit=60, backend=backend)
        for backend in BACKENDS
    ]
    assert {solution.status for solution in found} == {"optimal"}
    assert found[0].objective == pytest.approx(found[1].objective, abs=1e-4)
    assert max(solution.violation for solution in found) < 1e-6


def test_a_gap_finer_than_the_solver_ends():
    for backend in BACKENDS:
        found = critical_neurons.solve(problem("three dense"), gap=0.0, backend=backend)
        assert found.status in ("optimal", "precision limit")
        assert found.gap < 1e-7


def test_backends_have_the_same_calls():
    assert [module.__name__ for module in MODULES] == [
        f"solvers.backends.{name}" for name in BACKENDS
    ]
    for name in ("solve_mip", "LinearProgram"):
        one, other = (inspect.signature(getattr(module, name)) for module in MODULES)
        assert one == other
    assert Settings(backend="highs").solver() is highs
    with pytest.raises(ValueError, match="no backend 'cplex'; there are scip, highs"):
        Settings(backend="cplex")


def test_a_linear_program_that_soplex_gives_up_is_loaded_anew(monkeypatch):
    rows = [Row(np.array([0, 1]), np.array([1.0, 2.0]), 3.0), Row(np.array([1]), np.ones(1), 0.5)]
    program = scip.LinearProgram(np.array([1.0, 3.0]), np.zeros(2), np.full(2, np.inf))
    program.add(stacked(rows[:1]))
    assert program.solve()[1] == pytest.approx(3.0)
    program.add(stacked(rows[1:]))
    solved, failures = scip.LinearProgram._solved, iter([False])
    monkeypatch.setattr(
        scip.LinearProgram, "_solved", lambda self: next(failures, None) is None and solved(self)
    )
    values, objective = program.solve()
    np.testing.assert_allclose(values, [2.0, 0.5])
    assert objective == pytest.approx(3.5)
    program.add(stacked([Row(np.array([0]), np.ones(1), 2.5)]))
    assert program.solve()[1] == pytest.approx(4.0)
    monkeypatch.setattr(scip.LinearProgram, "_solved", lambda self: False)
    assert program.solve() is None


@pytest.mark.parametrize("backend, package", [("highs", "highspy"), ("scip", "pyscipopt")])
def test_a_solver_that_is_not_installed_is_named(monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"is not installed: pip install {package}"):
        critical_neurons.solve(problem("dense"), backend=backend)


def test_solvers_load_without_solvers_installed():
    code = (
        "import sys\n"
        "for name in ('highspy', 'pyscipopt', 'jax', 'prunejax'): sys.modules[name] = None\n"
        "from solvers import critical_neurons, export\n"
        "from solvers.backends import highs, scip\n"
        "from solvers.modes import full\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_linear_program_is_finer_than_the_check_of_its_rows():
    # with SoPlex's own tolerance no solution of it is taken: the whole network is what is left
    random = np.random.default_rng(1)
    random.normal(size=(4, 6))
    images = random.uniform(size=(4, 4, 4, 1))
    whole = Problem([MaxPool((2, 2)), *perceptron(1, (4, 5, 3))], images, np.arange(4) % 3)
    found = critical_neurons.solve(whole, gap=1e-5, time_limit=20)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(
        full.solve(whole, Settings(gap=1e-5)).objective, abs=2e-4
    )
