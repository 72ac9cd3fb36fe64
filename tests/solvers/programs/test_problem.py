"""A problem refuses what its programs cannot hold."""

import numpy as np
import pytest

from solvers.critical_neurons import Problem
from solvers.layers import (
    Dense,
    Relu,
)
from solvers.network import bounds, chain
from tests.support.layer_cases import dense


def test_bad_numbers_are_said():
    network = [dense(4, 3), Relu(), dense(3, 2)]
    inputs, labels = np.ones((2, 4)), np.array([0, 1])
    with pytest.raises(ValueError, match="labels of the batch must be from 0 to 1, got 0 to 2"):
        Problem(network, inputs, np.array([0, 2]))
    with pytest.raises(ValueError, match="the batch gives as inputs has values that are NaN"):
        Problem(network, inputs * np.inf, labels)
    with pytest.raises(ValueError, match="labels of the batch must be 2 integers"):
        Problem(network, inputs, labels / 2)
    for wrong in (np.array([["a"] * 4] * 2), inputs + 1j, np.array([[None] * 4] * 2)):
        with pytest.raises(ValueError, match="must be an array of real numbers"):
            Problem(network, wrong, labels)
    for wrong in ("5", None, 0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="loss_weight must be a positive number"):
            Problem(network, inputs, labels, loss_weight=wrong)
    with pytest.raises(ValueError, match="epsilon must be a number from 0 on, got None"):
        Problem(network, inputs, labels, epsilon=None)
    huge = [Dense(np.full((4, 3), 1e200)), Relu(), Dense(np.full((3, 2), 1e200))]
    with pytest.raises(ValueError, match="logits are too large"):
        Problem(huge, inputs, labels)
    problem = Problem(network, inputs, labels)
    with pytest.raises(ValueError, match="kept must have 3 numbers, got shape"):
        problem.loss(np.ones(2))
    with pytest.raises(ValueError, match="no layer before the last one has neurons"):
        Problem(network[2:], np.ones((2, 3)), labels)


def test_weights_that_solvers_take_for_infinite_are_refused():
    network = [dense(4, 3), Relu(), dense(3, 2)]
    network[0] = Dense(np.full((4, 3), 1e25))
    network[2] = Dense(np.full((3, 2), 1e-3))
    with pytest.raises(ValueError, match=r"logits are up to 1e\+23, .*1e\+15 is infinite"):
        Problem(network, np.ones((2, 4)), np.array([0, 1]))
    # what a later layer undoes is harmless
    network[2] = Dense(np.full((3, 2), 1e-25))
    assert Problem(network, np.ones((2, 4)), np.array([0, 1])).loss() == pytest.approx(np.log(2))


def test_inputs_outside_of_the_unit_interval_are_not_clipped():
    random = np.random.default_rng(0)
    chain_ = chain.build([dense(4, 3), Relu(), dense(3, 2)], (4,))
    inputs = random.uniform(-2, 3, size=(5, 4))
    first = bounds.interval(chain_, inputs, 1e-3, gated=False)[0]
    exact = chain_.logits(inputs)
    z = inputs @ chain_.steps[0].matrix.T + chain_.steps[0].offset
    assert np.isfinite(exact).all()
    assert np.all((first.lower <= z) & (z <= first.upper))
    widths = 2e-3 * np.abs(chain_.steps[0].matrix).sum(axis=1)
    np.testing.assert_allclose(first.upper - first.lower, np.tile(widths, (5, 1)), rtol=1e-9)
