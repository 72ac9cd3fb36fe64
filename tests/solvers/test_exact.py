"""Mode "exact" against brute force over all masks of small networks."""

import itertools
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from solvers.layers import Affine, AveragePool, Conv, Dense, MaxPool, Relu
from solvers.modes import exact
from solvers.problem import Problem
from solvers.programs import masked
from solvers.search import local_search
from solvers.settings import Settings

TIGHT = Settings(gap=0.0)


def dense(random, inputs, units):
    scale = 1.5 / np.sqrt(inputs)
    return Dense(random.normal(size=(inputs, units)) * scale, random.normal(size=units) * 0.3)


def conv(random, inputs, filters, **options):
    scale = 1.5 / np.sqrt(9 * inputs)
    kernel = random.normal(size=(3, 3, inputs, filters)) * scale
    return Conv(kernel, random.normal(size=filters) * 0.3, **options)


def batch_norm(random, channels):
    return Affine.batch_norm(
        random.normal(size=channels) * 0.1,
        random.uniform(0.5, 2, channels),
        random.uniform(0.5, 2, channels) * random.choice([-1, 1], channels),
        random.normal(size=channels) * 0.2,
    )


def network(kind, random):
    """Layers and the shape of an input."""
    same = ((1, 1), (1, 1))
    match kind:
        case "one hidden layer":
            return [dense(random, 5, 10), Relu(), dense(random, 10, 3)], (5,)
        case "14 neurons":
            layers = [dense(random, 5, 8), Relu(), dense(random, 8, 6), Relu()]
            return [*layers, dense(random, 6, 3)], (5,)
        case "two hidden layers":
            layers = [dense(random, 5, 6), Relu(), dense(random, 6, 5), Relu()]
            return [*layers, dense(random, 5, 3)], (5,)
        case "three hidden layers":
            layers = [dense(random, 4, 4), Relu(), dense(random, 4, 4), Relu()]
            return [*layers, dense(random, 4, 4), Relu(), dense(random, 4, 3)], (4,)
        case "average pool":
            layers = [conv(random, 1, 4), batch_norm(random, 4), Relu(), AveragePool((2, 2))]
            return [*layers, dense(random, 16, 5), Relu(), dense(random, 5, 3)], (6, 6, 1)
        case "pool before ReLU":
            layers = [conv(random, 1, 4), AveragePool((2, 2)), batch_norm(random, 4), Relu()]
            return [*layers, dense(random, 16, 5), Relu(), dense(random, 5, 3)], (6, 6, 1)
        case "max pool":
            layers = [conv(random, 2, 3), Relu(), MaxPool((2, 2))]
            layers += [conv(random, 3, 3, padding=same), Relu(), MaxPool((2, 2))]
            return [*layers, dense(random, 3, 3)], (6, 6, 2)
        case "max pool before ReLU":
            layers = [conv(random, 1, 3), Relu(), conv(random, 3, 3), MaxPool((2, 2)), Relu()]
            return [*layers, dense(random, 3, 3)], (6, 6, 1)
        case "overlapping windows":
            layers = [conv(random, 1, 3), batch_norm(random, 3), Relu(), AveragePool((2, 2))]
            layers += [MaxPool((2, 2), (1, 1)), dense(random, 3, 4), Relu()]
            return [*layers, dense(random, 4, 3)], (6, 6, 1)
        case _:
            raise ValueError(kind)


KINDS = (
    "one hidden layer",
    "two hidden layers",
    "three hidden layers",
    "average pool",
    "pool before ReLU",
    "max pool",
    "max pool before ReLU",
    "overlapping windows",
)


def problem(kind, seed=0, batch=3, **options):
    """Labels that the network mostly agrees with, so that neurons are worth something."""
    random = np.random.default_rng(seed)
    layers, shape = network(kind, random)
    inputs = random.uniform(size=(batch, *shape))
    labels = (
        Problem(layers, inputs, np.zeros(batch, int))
        .chain.logits(inputs.reshape(batch, -1))
        .argmax(axis=1)
    )
    labels[0] = (labels[0] + 1) % 3
    return Problem(layers, inputs, labels, **options)


def objective(instance, kept):
    """Straight from the definition."""
    importances = [
        float(np.sum(kept[part] - 2)) / gate.size
        for gate, part in zip(instance.chain.gates, instance.chain.slices(), strict=True)
    ]
    penalty = sum(sorted(importances, reverse=True)[: instance.largest])
    return instance.loss_weight * instance.loss(kept) + penalty


def brute_force(instance, share=1.0):
    """The smallest objective of all masks that prune at most this share of each layer."""
    return min(
        objective(instance, kept)
        for kept in map(np.array, itertools.product([0.0, 1.0], repeat=instance.chain.neurons))
        if all((1 - kept[part]).mean() <= share + 1e-9 for part in instance.chain.slices())
    )


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


@pytest.mark.parametrize("kind", KINDS)
def test_every_mask_fulfils_the_rows_and_no_other_outputs_do(kind):
    """For sampled masks the rows hold, and leave the logits no freedom."""
    instance = problem(kind, 7, batch=2)
    gates = instance.chain.gates
    program = masked.build(instance.chain, instance.flat, [gate.neurons for gate in gates])
    columns, neurons = program.columns, instance.chain.neurons
    rows = np.zeros((len(columns.rows), len(columns.lower)))
    for row, (indices, coefficients, _) in zip(rows, columns.rows, strict=True):
        np.add.at(row, indices, coefficients)
    bounds = np.array([row.bound for row in columns.rows])
    random = np.random.default_rng(0)
    for kept in random.integers(0, 2, (4, neurons)).astype(float):
        values = program.complete(kept)
        assert np.all(rows @ values >= bounds - 1e-9)
        assert np.all(values >= np.array(columns.lower) - 1e-9)
        assert np.all(values <= np.array(columns.upper) + 1e-9)
        logits = np.array([each.constant + each.matrix @ values for each in program.logits])
        np.testing.assert_allclose(logits, instance.chain.logits(instance.flat, kept), atol=1e-9)
        fixed = [*zip(columns.lower, columns.upper, strict=True)]
        fixed[:neurons] = [(value, value) for value in kept]
        whole = np.zeros(len(fixed))
        whole[columns.binary] = 1
        for sign in (1, -1):
            vector = program.logits[0].matrix[0] * sign
            found = scipy.optimize.milp(
                vector,
                integrality=whole,
                bounds=scipy.optimize.Bounds(*np.array(fixed).T),
                constraints=[scipy.optimize.LinearConstraint(rows, bounds)] if len(rows) else [],
            )
            assert found.fun == pytest.approx(float(vector @ values), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_bounds_contain_what_units_take_in(kind, share):
    instance = problem(kind, 9, batch=2)
    most = exact.most_pruned(instance, share)
    program = masked.build(instance.chain, instance.flat, most)
    columns = program.columns
    random = np.random.default_rng(1)
    masks = np.ones((60, instance.chain.neurons))
    for mask in masks:
        for part, count in zip(instance.chain.slices(), most, strict=True):
            gone = random.permutation(np.arange(part.start, part.stop))
            mask[gone[: random.integers(0, count + 1)]] = 0
    for mask in masks:
        values = program.complete(mask)
        assert np.all(values >= np.array(columns.lower) - 1e-9)
        assert np.all(values <= np.array(columns.upper) + 1e-9)
        broken = [row.bound - row.coefficients @ values[row.indices] for row in columns.rows]
        assert max([*broken, 0.0]) <= 1e-8
        logits = [each.constant + each.matrix @ values for each in program.logits]
        np.testing.assert_allclose(logits, instance.chain.logits(instance.flat, mask), atol=1e-9)


def test_a_cap_makes_bounds_closer():
    instance = problem("two hidden layers", 3)
    counts = [
        masked.build(instance.chain, instance.flat, exact.most_pruned(instance, share))
        for share in (1.0, 0.2)
    ]
    assert counts[1].open < counts[0].open


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


def test_local_search_alone_finds_good_masks():
    instance = problem("two hidden layers", 6)
    evaluator = local_search.Evaluator(instance, [6, 5])
    found = list(local_search.search(evaluator, 0, 5, np.inf))
    for mask in found:
        assert mask.objective == pytest.approx(objective(instance, mask.kept), abs=1e-12)
    assert min(mask.objective for mask in found) <= brute_force(instance) + 0.05


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_a_shaken_mask_prunes_no_more_than_it_may(share):
    """Under a cap that binds a flip becomes a swap, and is not dropped."""
    instance = problem("two hidden layers", 6)
    evaluator = local_search.Evaluator(instance, exact.most_pruned(instance, share))
    random = np.random.default_rng(0)
    kept = np.ones(11)
    for part, most in zip(evaluator.slices, evaluator.most.tolist(), strict=True):
        kept[part][:most] = 0
    moved = 0
    for _ in range(50):
        found = local_search.shaken(evaluator, kept, random)
        assert set(found) <= {0.0, 1.0}
        assert evaluator.allowed(found[None])[0]
        moved += not np.array_equal(found, kept)
    assert moved >= (0 if share == 0 else 40)
    np.testing.assert_array_equal(kept[:1], 0 if share >= 0.2 else 1)


def test_under_a_binding_cap_shakes_find_better_masks():
    """Where the cap binds, a search that starts anew finds what the first one has not."""
    better = 0
    for seed in range(6):
        instance = problem("14 neurons", seed, batch=6, loss_weight=2.0)
        evaluator = local_search.Evaluator(instance, exact.most_pruned(instance, 0.3))
        optimum = brute_force(instance, 0.3) if seed == 0 else None
        values = [mask.objective for mask in local_search.search(evaluator, seed, 8, np.inf)]
        assert len(values) >= 2 + 9  # the whole network, the greedy mask, and every start
        better += min(values) < min(values[:3]) - 1e-9
        if optimum is not None:
            assert min(values) == pytest.approx(optimum, abs=1e-9)
    assert better >= 1


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


@pytest.mark.parametrize("kind", KINDS)
def test_many_masks_at_once_have_the_masked_networks_losses(kind, monkeypatch):
    monkeypatch.setattr(local_search, "CHUNK", 100)
    instance = problem(kind, 8)
    masks = np.random.default_rng(0).integers(0, 2, (9, instance.chain.neurons)).astype(float)
    found = local_search.Evaluator(instance, [99] * len(instance.chain.gates)).losses(masks)
    np.testing.assert_allclose(found, [instance.loss(kept) for kept in masks], atol=1e-12)


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
