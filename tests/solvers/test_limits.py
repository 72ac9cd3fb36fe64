"""Limits and settings in every mode: the best so far comes back, what means nothing is refused."""

import numpy as np
import pytest

from solvers import critical_neurons
from solvers.critical_neurons import MODES, Problem, solve
from solvers.layers import Dense, Relu


def problem(epsilon=0.05):
    random = np.random.default_rng(0)
    layers = [
        Dense(random.normal(size=(20, 12)) / 4, random.normal(size=12) * 0.1, "first"),
        Relu(),
        Dense(random.normal(size=(12, 8)) / 3, random.normal(size=8) * 0.1, "second"),
        Relu(),
        Dense(random.normal(size=(8, 5))),
    ]
    return Problem(layers, random.uniform(size=(10, 20)), np.arange(10) % 5, epsilon=epsilon)


def whole(given):
    """The objective of all scores at 1: both layers' importances are -1, the larger one counts."""
    return given.loss_weight * given.loss() - 1


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
        ({"gap": -1.0}, "gap must not be negative, got -1.0"),
        ({"time_limit": -1.0}, "time_limit must not be negative"),
        ({"memory_mb": 0}, "memory_mb must be positive, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"backend": "gurobi"}, "no backend 'gurobi'; there are scip, highs"),
        ({"mode": "exact", "max_prune": 1.5}, "max_prune must be in \\[0, 1\\], got 1.5"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        solve(problem(), **settings)


@pytest.mark.parametrize("mode", ["decoupled", "per_class"])
def test_independent_programs_tell_of_each(mode):
    told = []
    found = solve(problem(), mode, gap=1e-3, on_incumbent=lambda *now: told.append(now))
    assert len(told) == {"decoupled": 2, "per_class": 5}[mode]
    assert told[-1][1:] == (found.objective, found.bound)
    assert [now[0] for now in told] == sorted(now[0] for now in told)


@pytest.mark.parametrize("threshold", ["median", float("nan")])
def test_what_is_no_threshold_is_refused(threshold):
    found = critical_neurons.solve(problem(), time_limit=0.0)
    with pytest.raises(ValueError, match="threshold must be a number or 'mean'"):
        found.masks(threshold)
