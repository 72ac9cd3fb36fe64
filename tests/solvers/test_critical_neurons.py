"""Limits and settings in every mode: the best so far comes back, what means nothing is refused."""

import itertools
import os
import signal
import threading
import time
import types

import numpy as np
import pytest

from solvers import critical_neurons
from solvers.backends import highs, scip, scip_models
from solvers.critical_neurons import MODES, Problem, solve
from solvers.layers import Dense, Relu
from solvers.modes import paper
from solvers.programs import explicit, masked, reduced
from solvers.programs.explicit import formulate
from solvers.programs.rows import joined
from solvers.search import interrupts
from solvers.settings import Settings, in_time
from tests.support.small_problem import problem, whole


@pytest.mark.parametrize("mode", MODES)
def test_a_memory_limit_gives_the_best_so_far(mode):
    given = problem()
    found = solve(given, mode, memory_mb=0.01)
    assert found.status == "memory limit"
    assert found.bound <= found.objective
    assert found.violation <= 1e-6
    assert [len(scores) for scores in found.scores] == [12, 8]
    if mode in ("paper", "full", "exact"):
        assert found.objective <= whole(given) + 1e-9
    free = solve(given, mode, gap=1e-3, time_limit=20)
    assert free.status == "optimal"
    assert free.objective <= found.objective + 1e-9


def test_matrices_count_as_memory():
    """A dense layer of 2,000 units: its logits' matrices alone are larger than the limit."""
    random = np.random.default_rng(0)
    layers = [Dense(random.normal(size=(4, 2000))), Relu(), Dense(random.normal(size=(2000, 10)))]
    given = Problem(layers, random.uniform(size=(10, 4)), np.arange(10))
    # 10 samples x 10 logits x 2,000 scores x 8 bytes
    assert solve(given, memory_mb=1.5).status == "memory limit"
    assert solve(given, memory_mb=500, time_limit=0.0).status == "time limit"


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "exact"])
def test_a_cap_on_masks_is_for_masks(mode):
    with pytest.raises(ValueError, match=f"max_prune is for mode 'exact', .*{mode}"):
        solve(problem(), mode, max_prune=0.5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"mode": "papr"}, "mode must be one of paper, full"),
        ({"gap": -1.0}, "gap must be a number from 0 on, got -1.0"),
        ({"time_limit": -1.0}, "time_limit must be a number from 0 on"),
        ({"memory_mb": 0}, "memory_mb must be a positive number, got 0"),
        ({"workers": 0}, "workers must be a whole number from 1 to .*, got 0"),
        ({"workers": 2.5}, "workers must be a whole number from 1 to .*, got 2.5"),
        ({"seed": -1}, "seed must be a whole number from 0 to .*, got -1"),
        ({"seed": None}, "seed must be a whole number from 0 to .*, got None"),
        ({"gap": float("nan")}, "gap must be a number from 0 on, got nan"),
        ({"time_limit": float("inf")}, "time_limit must be a number from 0 on, got inf"),
        ({"time_limit": "5"}, "time_limit must be a number from 0 on, got '5'"),
        ({"memory_mb": float("nan")}, "memory_mb must be a positive number, got nan"),
        ({"backend": "gurobi"}, "no backend 'gurobi'; there are scip, highs"),
        ({"mode": "exact", "max_prune": 1.5}, "max_prune must be in \\[0, 1\\], got 1.5"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        solve(problem(), **settings)


def test_whole_numbers_of_numpys_are_taken():
    settings = Settings(seed=np.int64(3), workers=np.int32(2))
    assert (settings.seed, settings.workers) == (3, 2)
    assert type(settings.seed) is int
    assert solve(problem(), seed=np.int64(3), gap=1e-2).status == "optimal"
    with pytest.raises(ValueError, match=r"seed must be a whole number from 0 to .*, got True"):
        Settings(seed=True)


@pytest.mark.parametrize("mode", ["decoupled", "per_class"])
def test_independent_programs_tell_of_each(mode):
    told = []
    found = solve(problem(), mode, gap=1e-3, on_incumbent=lambda *now: told.append(now))
    assert len(told) == {"decoupled": 2, "per_class": 5}[mode]
    assert told[-1][1:] == (found.objective, found.bound)
    assert [now[0] for now in told] == sorted(now[0] for now in told)


def hard():
    """A problem with many open units, whose mixed-integer programs take their time."""
    random = np.random.default_rng(0)
    layers = [
        Dense(random.normal(size=(20, 40))),
        Relu(),
        Dense(random.normal(size=(40, 30)) / 3),
        Relu(),
        Dense(random.normal(size=(30, 5)) / 3),
    ]
    inputs = random.uniform(size=(8, 20))
    return Problem(layers, inputs, np.arange(8) % 5, epsilon=0.3, loss_weight=20.0)


@pytest.fixture
def listening():
    """Ctrl-C raises, also where tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(
    "mode, backend", [("paper", "scip"), ("full", "scip"), ("exact", "highs"), ("paper", "highs")]
)
def test_ctrl_c_ends_a_solve_with_the_best_so_far(mode, backend):
    """Also where the solver works for long, and where another solver was interrupted before."""
    sender = threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT))
    started = time.perf_counter()
    sender.start()
    try:
        found = solve(hard(), mode, gap=1e-9, time_limit=60, backend=backend)
    finally:
        sender.join()
    assert found.status == "interrupted"
    assert time.perf_counter() - started < 30
    assert found.objective <= 20 * hard().loss() - 1 + 1e-9
    assert found.bound <= found.objective


def test_ctrl_c_while_a_program_is_built_gives_the_whole_network(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(critical_neurons, "MODES", dict.fromkeys(MODES, interrupted))
    for mode, scope in (("paper", "paper-restriction"), ("exact", "all-masks")):
        found = solve(problem(), mode)
        assert (found.status, found.bound_scope) == ("interrupted", scope)
        assert all((scores == 1).all() for scores in found.scores)
        assert found.objective == pytest.approx(whole(problem()))
        # scores of 0: each layer's importance is -2, the larger counts
        assert found.bound == pytest.approx(-2)
        assert "nothing would be pruned" in found.explain()


def slow():
    """A problem whose linear program with all its variables takes SoPlex many seconds."""
    random = np.random.default_rng(0)
    sizes = (20, 60, 60, 10)
    layers = []
    for inputs, units in itertools.pairwise(sizes):
        layers += [Dense(random.normal(size=(inputs, units)), random.normal(size=units)), Relu()]
    return Problem(layers[:-1], random.uniform(size=(20, 20)), random.integers(0, 10, size=20))


@pytest.mark.parametrize(
    "mode, how",
    [
        ("full", {}),
        ("full", {"loss": "exp"}),
        ("full", {"backend": "highs"}),
        ("exact", {}),
        ("exact", {"backend": "highs"}),
    ],
)
def test_a_limit_is_kept_to_within_a_second(mode, how):
    """On the clock and on the processor; mode "full" once took 69 seconds of 2."""
    given = slow()
    started, busy = time.perf_counter(), time.process_time()
    found = solve(given, mode, time_limit=0.7, **how)
    assert time.perf_counter() - started < 2
    assert time.process_time() - busy < 3  # the arrays' library has threads of its own
    assert found.status == "time limit"
    assert found.bound <= found.objective <= given.loss_weight * given.loss() - 1 + 1e-9


def test_building_counts(monkeypatch):
    """Nothing is left to solve in where it took all the time."""

    def reduce(*given):
        time.sleep(0.2)
        return reduced.reduce(*given)

    late = types.SimpleNamespace(**vars(reduced) | {"reduce": reduce})
    monkeypatch.setattr(paper, "reduced", late)
    found = solve(problem(), "paper", time_limit=0.1)
    assert found.status == "time limit"
    assert all((scores == 1).all() for scores in found.scores)


@pytest.mark.parametrize("mode", ["paper", "full", "exact", "per_class"])
def test_building_ends_with_the_sample_it_is_at(mode, monkeypatch):
    """The time is over before the second sample: the whole network, and a bound that holds."""
    given = problem()

    def slowed(values, until):
        for value in in_time(values, until):
            yield value
            time.sleep(0.1)

    for module in (reduced, masked, explicit):
        monkeypatch.setattr(module, "in_time", slowed)
    started = time.perf_counter()
    found = solve(given, mode, time_limit=0.05)
    assert time.perf_counter() - started < 1
    assert found.status == "time limit"
    assert all((scores == 1).all() for scores in found.scores)
    assert found.objective == pytest.approx(whole(given))
    assert found.bound == pytest.approx(-2)
    assert "nothing would be pruned" in found.explain()


def linear_program(backend):
    """That of ``slow``, with all its variables."""
    form = formulate(slow(), normal=True)
    program = form.program
    linear = backend.LinearProgram(program.costs, program.lower, program.upper)
    tangents = form.tangents(form.complete(np.ones(120)))
    linear.add(joined([program.inequalities(), tangents]))
    return linear


@pytest.mark.parametrize("backend, limit", [(scip, 0.3), (highs, 0.01)])
def test_linear_programs_have_limits(backend, limit):
    linear = linear_program(backend)
    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        linear.solve(limit)
    assert time.perf_counter() - started < 1


@pytest.mark.usefixtures("listening")
def test_a_long_linear_program_hears_ctrl_c():
    linear = linear_program(scip)
    started = time.perf_counter()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        linear.solve()
    assert time.perf_counter() - started < 2


def test_numerics_that_give_up_leave_the_best_so_far(monkeypatch):
    """SoPlex ends a mixed-integer program with an error: an answer all the same."""

    def broken(run, stop):
        interrupts.interruptible(run, stop)
        raise Exception("SCIP: error in LP solver!")

    monkeypatch.setattr(scip_models, "interruptible", broken)
    given = problem()
    found = solve(given, "full", gap=1e-3)
    assert found.objective < whole(given)
    assert found.violation <= 1e-6
    assert found.status in ("optimal", "precision limit")
    assert found.bound <= found.objective


@pytest.mark.parametrize("mode", ["paper", "exact", "decoupled", "per_class"])
def test_exponentials_are_for_the_full_program(mode):
    with pytest.raises(ValueError, match=f"loss is for mode 'full', .*{mode}"):
        solve(problem(), mode, loss="exp")
    with pytest.raises(ValueError, match="loss must be 'cuts' or 'exp', got 'log'"):
        solve(problem(), "full", loss="log")


def test_a_solve_that_times_out_says_so():
    found = solve(hard(), "paper", gap=1e-9, time_limit=1.5)
    assert found.status == "time limit"
