"""Tolerances stand in one place and mean what they say."""

import ast
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers.critical_neurons import Problem
from solvers.layers import Dense, Relu
from solvers.modes import exact
from solvers.network.probes import fit_probe
from solvers.search import local_search
from solvers.solution import above
from solvers.tolerances import better

FILES = sorted(Path(solvers.__file__).parent.rglob("*.py"))


def nameless(code):
    """The small numbers in functions' bodies; defaults of arguments have names."""
    found = []
    for function in ast.walk(code):
        if isinstance(function, ast.FunctionDef | ast.Lambda):
            body = function.body if isinstance(function.body, list) else [function.body]
            for node in (node for part in body for node in ast.walk(part)):
                if isinstance(node, ast.FunctionDef | ast.Lambda):
                    node.args.defaults, node.args.kw_defaults = [], []
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, float)
                    and 0 < abs(node.value) < 0.05
                ):
                    found.append((node.lineno, node.value))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_small_numbers_have_names(path):
    assert nameless(ast.parse(path.read_text())) == []


def test_nameless_numbers_are_seen():
    assert nameless(ast.parse("def f(x=1e-9):\n    return x > 1e-12")) == [(2, 1e-12)]


def test_better_is_relative():
    assert better(1.0, 1.0 + 1e-9)
    assert not better(1.0, 1.0 + 1e-11)
    assert better(-1e8, -1e8 + 1)
    assert not better(1e8, 1e8 + 1e-3)
    assert better(1.0, np.inf)
    assert not better(np.inf, 1.0)
    assert not better(np.inf, np.inf)


@pytest.mark.parametrize("weight", [1e-6, 1.0, 1e9])
def test_local_search_ends_at_any_size_of_the_objective(weight):
    """It stops where no flip is better by more than rounding, and brute force finds none."""
    random = np.random.default_rng(4)
    layers = [
        Dense(random.normal(size=(5, 8)), random.normal(size=8)),
        Relu(),
        Dense(random.normal(size=(8, 3))),
    ]
    given = Problem(
        layers, random.uniform(size=(6, 5)), random.integers(0, 3, size=6), loss_weight=weight
    )
    evaluator = local_search.Evaluator(given, [8])
    found = local_search.improve(evaluator, np.ones(8), np.inf)
    every = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(np.float64)
    flips = every[np.abs(every - found.kept).sum(axis=1) <= 2]
    least = evaluator.objectives(flips).min()
    assert found.objective - least <= 1e-9 * max(1.0, abs(least))


@pytest.mark.parametrize(("neurons", "share"), [(100, 0.29), (10, 0.3), (7, 1.0), (3, 1 / 3)])
def test_a_share_of_whole_neurons_is_not_rounded_away(neurons, share):
    layers = [Dense(np.ones((2, neurons))), Relu(), Dense(np.ones((neurons, 2)))]
    given = Problem(layers, np.ones((1, 2)), np.zeros(1, int))
    assert exact.most_pruned(given, share) == [round(neurons * share)]


def test_equal_scores_are_not_below_their_mean():
    for count in range(1, 50):
        assert above(np.full(count, 0.7), "mean").all()
    np.testing.assert_array_equal(above(np.array([0.5, 0.5 + 1e-6]), "mean"), [False, True])


def test_a_probe_does_not_see_directions_that_samples_do_not_span():
    """Samples that are copies: as if there were one of each, at any size."""
    random = np.random.default_rng(0)
    two = random.normal(size=(2, 1, 9))
    for size in (1e-6, 1.0, 1e6):
        once = fit_probe(two * size, np.array([0, 1]), 2)
        copies = fit_probe(np.repeat(two, 3, axis=0) * size, np.repeat([0, 1], 3), 2)
        np.testing.assert_allclose(copies.kernel * size, once.kernel * size, atol=1e-4)
