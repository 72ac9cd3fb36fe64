"""Thresholds on scores."""

import numpy as np
import pytest

from solvers import critical_neurons
from solvers.solution import above
from tests.support.small_problem import problem


def test_equal_scores_are_not_below_their_mean():
    assert above(np.full(3, 0.1), "mean").all()
    np.testing.assert_array_equal(above(np.array([0.1, 0.3]), "mean"), [False, True])


@pytest.mark.parametrize("threshold", ["median", None, float("nan")])
def test_what_is_no_threshold_is_refused(threshold):
    found = critical_neurons.solve(problem(), time_limit=0.0)
    with pytest.raises(ValueError, match="threshold must be a number or 'mean'"):
        found.masks(threshold)
