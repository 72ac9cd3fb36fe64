"""Feasible points on a segment."""

import numpy as np

from solvers.search.segments import furthest


def test_the_furthest_feasible_point_of_a_segment():
    start, end = np.zeros(2), np.array([4.0, 2.0])
    found = furthest(start, end, lambda point: point[0] <= 1.0)
    assert 0.99 <= found[0] <= 1.0
    assert found[1] == found[0] / 2
    np.testing.assert_array_equal(furthest(start, end, lambda _: True), end)
    np.testing.assert_array_equal(furthest(start, end, lambda _: False), start)
