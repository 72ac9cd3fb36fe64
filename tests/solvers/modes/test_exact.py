"""Mode "exact" against brute force over all masks of small networks."""

import itertools
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from solvers.layers import Dense, Relu
from solvers.modes import exact
from solvers.problem import Problem
from solvers.search import local_search
from solvers.settings import Settings
from tests.support.mask_cases import KINDS, brute_force, objective, problem

TIGHT = Settings(gap=0.0)


def check(instance, solution, optimum):
    kept = np.concatenate(solution.scores)
    assert set(kept) <= {0.0, 1.0}
    assert solution.objective == pytest.approx(optimum, abs=1e-6)
    assert objective(instance, kept) == pytest.approx(solution.objective, abs=1e-9)
    assert solution.loss == pytest.approx(instance.loss(kept), abs=1e-5)
    assert solution.masked_loss(0.5) == pytest.approx(solution.loss, abs=1e-5)
    assert solution.bound <= optimum + 1e-7
    assert solution.violation <= 1e-8
    assert solution.bound_scope == "all-masks"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_equals_brute_force(kind, seed):
    options = {"loss_weight": (1.0, 5.0, 3.0)[seed], "aggregate": ("sum_largest", "sum")[seed % 2]}
    instance = problem(kind, seed, **options)
    solution = exact.solve(instance, TIGHT)
    assert solution.status == "optimal"
    assert solution.gap <= 1e-6
    check(instance, solution, brute_force(instance))


@pytest.mark.slow
def test_equals_brute_force_of_14_neurons():
    instance = problem("14 neurons", batch=8)
    check(instance, exact.solve(instance, TIGHT), brute_force(instance))


def test_without_local_search_the_program_alone_finds_the_optimum(monkeypatch):
    """So the rows, not the warm start, are what is right."""
    monkeypatch.setattr(local_search, "search", lambda *_: [])
    monkeypatch.setattr(local_search, "improve", lambda _, kept, __: local_search.Mask(kept, 0.0))
    for kind in ("two hidden layers", "max pool"):
        instance = problem(kind, 5)
        check(instance, exact.solve(instance, TIGHT), brute_force(instance))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("kind", ["one hidden layer", "two hidden layers", "max pool"])
def test_no_more_than_the_cap_is_pruned(kind, share):
    instance = problem(kind, 2, loss_weight=0.5)
    solution = exact.solve(instance, Settings(gap=0.0, max_prune=share))
    assert all((scores == 0).mean() <= share for scores in solution.scores)
    check(instance, solution, brute_force(instance, share))


def test_the_same_seed_gives_the_same_masks():
    instance = problem("two hidden layers", 4)
    first, second = (exact.solve(instance, Settings(seed=3)) for _ in range(2))
    for one, other in zip(first.scores, second.scores, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.bound == second.bound


@pytest.mark.parametrize("kind", ["one hidden layer", "max pool"])
def test_a_time_limit_of_zero_gives_a_mask_and_a_bound(kind):
    # a small weight, so that the optimum is near the bound that needs no solver
    instance = problem(kind, loss_weight=0.01)
    solution = exact.solve(instance, Settings(time_limit=0.0))
    assert solution.status == "time limit"
    assert np.isfinite(solution.objective)
    assert solution.loss == pytest.approx(instance.loss(np.concatenate(solution.scores)), abs=1e-9)
    assert solution.bound <= brute_force(instance)


def test_a_memory_limit_gives_the_best_mask_so_far(monkeypatch):
    monkeypatch.setattr(exact, "ROUNDS", 0)
    instance = problem("three hidden layers", 1)
    solution = exact.solve(instance, Settings(gap=0.0, memory_mb=0.01))
    assert solution.status == "memory limit"
    assert np.isfinite(solution.objective)
    assert solution.bound <= brute_force(instance)


def test_progress_is_told_and_never_goes_back():
    told = []
    solution = exact.solve(
        problem("two hidden layers", 1), Settings(on_incumbent=lambda *moved: told.append(moved))
    )
    assert tuple(told) == solution.trajectory
    seconds, objectives, bounds = np.array(told).T
    assert np.all(np.diff(seconds) >= 0)
    assert np.all(np.diff(objectives) <= 0)
    assert np.all(np.diff(bounds) >= 0)


def test_local_search_takes_its_part_of_the_time(monkeypatch):
    """A search that never ends on its own leaves the solver the rest."""
    until = []

    def search(evaluator, seed, restarts, end):
        until.append(end)
        return []

    monkeypatch.setattr(local_search, "search", search)
    before = time.perf_counter()
    exact.solve(problem("two hidden layers"), Settings(time_limit=10.0))
    exact.solve(problem("two hidden layers"), Settings())
    assert before + 3 <= until[0] <= before + 3.5
    assert until[1] == np.inf


def test_what_is_certain_of_the_loss_is_said():
    instance = problem("two hidden layers", 1)
    found = exact.solve(instance, TIGHT)
    penalty = instance.penalty(np.concatenate(found.scores))
    losses = [
        instance.loss(kept)
        for kept in map(np.array, itertools.product([0.0, 1.0], repeat=11))
        if abs(instance.penalty(kept) - penalty) < 1e-9
    ]
    assert min(losses) == pytest.approx(found.loss, abs=1e-6)
    assert f"With the same penalty, {penalty:.4g}, no loss can be below" in found.explain()
    assert f"below {min(losses):.4g}." in found.explain()
    early = exact.solve(instance, Settings(time_limit=0.0))
    assert "below 0: the bound says no more than that" in early.explain()


def digits(hidden):
    """A trained network and ten images, one of each class, that it has not seen."""
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    model = MLPClassifier(hidden, max_iter=400, random_state=0).fit(images[300:], labels[300:])
    layers = []
    for kernel, bias in zip(model.coefs_, model.intercepts_, strict=True):
        layers += [Dense(kernel, bias), Relu()]
    batch = [int(np.flatnonzero(labels[:300] == label)[0]) for label in range(10)]
    return Problem(layers[:-1], images[batch], labels[batch])


def test_ctrl_c_returns_the_best_mask():
    """The signal comes from another process."""
    instance = digits((32, 24))
    started = time.perf_counter()
    # in the background of a shell it would be ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sender = subprocess.Popen(["sh", "-c", f"sleep 4; kill -INT {os.getpid()}"])
    try:
        solution = exact.solve(instance, Settings(time_limit=60, gap=0.0))
    finally:
        sender.wait()
        signal.signal(signal.SIGINT, before)
    assert solution.status == "interrupted"
    assert time.perf_counter() - started < 30
    assert solution.objective <= objective(instance, np.ones(instance.chain.neurons))


@pytest.mark.slow
def test_one_hidden_layer_of_64_is_solved():
    instance = digits((64,))
    solution = exact.solve(instance, Settings(time_limit=120))
    assert solution.status == "optimal"
    assert solution.gap <= 1e-4
    assert solution.loss == pytest.approx(instance.loss(np.concatenate(solution.scores)), abs=1e-5)
