"""Units: positive factors that cancel between layers change no answer, checked by brute force."""

import dataclasses
import itertools

import highspy
import numpy as np
import pyscipopt
import pytest

from solvers import export
from solvers.critical_neurons import Problem, solve
from solvers.layers import AveragePool, Conv, Dense, MaxPool, Relu
from solvers.modes import full
from solvers.network import scaling
from solvers.network.bounds import interval
from solvers.network.chain import Linear, Maximum
from solvers.programs.explicit import formulate
from solvers.settings import Settings

FINE = 1e-7
"""The gap asked for."""


def network(kind, random):
    """Layers and an input's shape."""
    if kind == "dense":
        sizes, layers = (4, 5, 4, 3), []
        for inputs, neurons in itertools.pairwise(sizes):
            kernel = random.normal(size=(inputs, neurons)) * 1.5 / np.sqrt(inputs)
            layers += [Dense(kernel, random.normal(size=neurons) * 0.3), Relu()]
        return layers[:-1], (4,)
    first = Conv(random.normal(size=(2, 2, 1, 3)) * 0.7, random.normal(size=3) * 0.2)
    second = Conv(random.normal(size=(2, 2, 3, 3)) * 0.4, random.normal(size=3) * 0.2)
    last = Dense(random.normal(size=(3, 3)) * 1.5, random.normal(size=3) * 0.2)
    behind = [Relu(), MaxPool((2, 2))]
    if kind == "maximum, then ReLU":
        behind = behind[::-1]
    return [first, Relu(), second, *behind, last], (4, 4, 1)


def rescaled(layers, factors):
    """The same network: each layer of neurons times a factor, the next one divided by it."""
    before, left, made = 1.0, [*factors, 1.0], []
    for layer in layers:
        if isinstance(layer, Dense | Conv):
            now = np.asarray(left.pop(0))
            kernel = layer.kernel * now / np.reshape(before, (-1, 1) if np.ndim(before) else ())
            layer = dataclasses.replace(layer, kernel=kernel, bias=layer.bias * now)
            before = now
        made.append(layer)
    return made


def problem(kind, seed, epsilon=1e-2, factors=(1.0, 1.0), last=1.0):
    random = np.random.default_rng(seed)
    layers, shape = network(kind, random)
    layers[-1] = dataclasses.replace(
        layers[-1], kernel=layers[-1].kernel * last, bias=layers[-1].bias * last
    )
    inputs, labels = random.uniform(size=(3, *shape)), random.integers(0, 3, size=3)
    return Problem(rescaled(layers, factors), inputs, labels, epsilon=epsilon)


def best_mask(given):
    """The smallest objective of all masks."""
    return min(
        given.loss_weight * given.loss(kept) + given.penalty(kept)
        for kept in map(np.array, itertools.product((0.0, 1.0), repeat=given.chain.neurons))
    )


def check(found, expected):
    assert found.status == "optimal"
    assert found.violation <= 1e-6
    scale = max(1.0, abs(expected))
    assert found.objective == pytest.approx(expected, abs=2e-6 * scale)
    assert found.bound <= min(expected, found.objective) + 2e-6 * scale


FACTORS = [(1e-8, 1.0), (1.3e-6, 1e-6), (1e-6, 3e6), (1e3, 1e-3), (1e8, 1.0), (0.7e8, 1e-8)]


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("kind", ["dense", "maximum, then ReLU", "ReLU, then maximum"])
def test_factors_that_cancel_change_no_answer(kind, factors):
    seed = FACTORS.index(factors)
    plain, given = problem(kind, seed), problem(kind, seed, factors=factors)
    check(solve(given, "exact", gap=FINE), best_mask(plain))
    # the published program: another solver's answer to the network as it was
    expected = full.solve(plain, Settings(gap=FINE, backend="highs")).objective
    for mode in ("paper", "full"):
        check(solve(given, mode, gap=FINE), expected)


@pytest.mark.parametrize("backend", ["scip", "highs"])
def test_factors_of_single_neurons_change_no_answer(backend):
    factors = 10.0 ** np.random.default_rng(0).integers(-8, 9, size=5)
    plain, given = problem("dense", 3), problem("dense", 3, factors=(factors, 1.0))
    check(solve(given, "exact", gap=FINE, backend=backend), best_mask(plain))
    expected = solve(plain, "paper", gap=FINE).objective
    for mode in ("paper", "full"):
        check(solve(given, mode, gap=FINE, backend=backend), expected)


def scip_alone(model):
    """What SCIP finds with its own tolerances."""
    model.hideOutput()
    model.setParam("limits/gap", 1e-6)
    model.optimize()
    return model.getObjVal()


def scip_reading(path):
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    return scip_alone(model)


def highs_reading(path):
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.readModel(str(path))
    highs.run()
    return highs.getObjectiveValue()


@pytest.mark.parametrize("factor", [1e-8, 1e-6, 1.0, 1e3])
@pytest.mark.parametrize("kind", ["dense", "ReLU, then maximum"])
def test_others_find_the_same_in_models_and_files(tmp_path, kind, factor):
    """The expected value is another solver's, of the network as it was."""
    given = problem(kind, 0, factors=(factor, 1.0))
    expected = full.solve(problem(kind, 0), Settings(gap=FINE, backend="highs")).objective
    assert scip_alone(given.to_model()) == pytest.approx(expected, rel=1e-5)
    given.write(tmp_path / "net.cip")
    assert scip_reading(tmp_path / "net.cip") == pytest.approx(expected, rel=1e-5)
    for ending in ("lp", "mps"):
        path = tmp_path / f"net.{ending}"
        given.write(path)
        for read in (scip_reading, highs_reading):
            # a bound, as near as the default gap of the solve that finds the tangents
            assert expected * (1 - 1e-4) <= read(path) <= expected * (1 + 1e-5)


def test_units_of_what_others_are_given():
    """Each column times its unit is the network's own; rows are measured as everywhere."""
    given = problem("dense", 0, factors=(1e-6, 1.0))
    form, plain = formulate(given, normal=True), formulate(given)
    scores = np.linspace(0.5, 1, given.chain.neurons)
    np.testing.assert_allclose(
        form.complete(scores) * form.units, plain.complete(scores), rtol=1e-12, atol=1e-15
    )
    other = np.array([not name.startswith(("h_", "m_")) for name in form.program.columns])
    np.testing.assert_array_equal(form.units[other], 1)
    largest = abs(export.with_tangents(form).matrix).max(axis=1).toarray()
    assert (largest >= 1).all()
    assert (largest < 2).all()


@pytest.mark.parametrize("last", [1e-6, 1e-3, 1e3])
@pytest.mark.parametrize("kind", ["dense", "ReLU, then maximum"])
def test_logits_of_another_size(kind, last):
    """Another problem: the loss is not free of scale. Brute force, and one program by two ways."""
    given = problem(kind, 5, last=last, factors=(1e-6, 1e6))
    check(solve(given, "exact", gap=FINE), best_mask(given))
    expected = full.solve(problem(kind, 5, last=last), Settings(gap=FINE, backend="highs"))
    for mode in ("paper", "full"):
        check(solve(given, mode, gap=FINE), expected.objective)


def test_a_bound_is_not_above_its_objective():
    """A first layer of 1e-6 in front of one of 1, as the published report of it had."""
    random = np.random.default_rng(8)
    first, offset = random.normal(size=(4, 5)) * 1e-6, random.normal(size=5) * 1e-6
    last = Dense(random.normal(size=(5, 3)), random.normal(size=3))
    given = Problem([Dense(first, offset), Relu(), last], random.uniform(size=(3, 4)), np.arange(3))
    found = {mode: solve(given, mode, gap=FINE) for mode in ("paper", "exact", "full")}
    for each in found.values():
        assert each.status == "optimal"
        assert each.bound <= each.objective
    assert found["paper"].objective == pytest.approx(found["full"].objective, abs=1e-6)
    assert found["exact"].objective == pytest.approx(best_mask(given), abs=1e-6)


@pytest.mark.parametrize("kind", ["dense", "maximum, then ReLU", "ReLU, then maximum"])
@pytest.mark.parametrize("factors", FACTORS)
def test_units_make_every_entry_about_one_and_change_no_logit(kind, factors):
    given = problem(kind, 1, factors=factors)
    chain, sizes = given.normal
    np.testing.assert_allclose(
        chain.logits(given.flat), given.chain.logits(given.flat), rtol=1e-9, atol=1e-12
    )
    bounds = interval(chain, given.flat, given.epsilon, gated=False)
    old = interval(given.chain, given.flat, given.epsilon, gated=False)
    for step, now, before, size in zip(chain.steps[:-1], bounds, old, sizes, strict=False):
        if isinstance(step, Linear):
            assert 1 <= np.abs([now.lower, now.upper]).max() < 2
        np.testing.assert_allclose(now.upper * size, before.upper, rtol=1e-9)
    np.testing.assert_array_equal(sizes[-1], 1)


def test_what_competes_in_a_maximum_has_one_unit():
    random = np.random.default_rng(2)
    images = random.uniform(size=(2, 6, 6, 1)) ** 8
    layers = [
        Conv(random.normal(size=(2, 2, 1, 2))),
        Relu(),
        MaxPool((2, 2), (1, 1)),
        AveragePool((2, 2)),
        Dense(random.normal(size=(8, 2))),
    ]
    given = Problem(layers, images, np.arange(2))
    bounds = interval(given.chain, given.flat, given.epsilon, gated=False)
    sizes = scaling.normalised(given.chain, bounds).units
    pool = given.chain.steps[2]
    assert isinstance(pool, Maximum)
    windows = pool.windows
    for step in (0, 1):
        np.testing.assert_array_equal(sizes[step][windows], sizes[2][:, None] * np.ones((1, 4)))
