"""The best solution and the bound: what is taken, what is told, what is contradicted."""

import time

import numpy as np
import pytest

from solvers.search.incumbent import Incumbent, certified


def test_only_what_is_better_is_taken_and_only_what_moves_is_told():
    told = []
    best = Incumbent("start", -2.0, time.perf_counter(), lambda *moved: told.append(moved))
    assert best.value == np.inf
    assert best.take("first", 1.0)
    best.record()
    assert not best.take("equal", 1.0)
    best.record()
    best.lift(-3.0)
    best.record()
    best.lift(0.5)
    best.record()
    assert (best.solution, best.value, best.bound) == ("first", 1.0, 0.5)
    assert [moved[1:] for moved in told] == [(1.0, -2.0), (1.0, 0.5)]
    assert best.trajectory == told
    assert all(seconds >= 0 for seconds, *_ in told)


def test_a_gap_is_relative_to_the_objective_or_to_1():
    best = Incumbent(None, 0.0, time.perf_counter())
    assert not best.closed(1.0)
    best.take(None, 10.0)
    best.lift(9.0)
    assert best.closed(0.1)
    assert not best.closed(0.09)
    assert best.closes(9.5, 0.1)
    small = Incumbent(None, 0.0, time.perf_counter())
    small.take(None, 0.1)
    assert small.closed(0.1)


@pytest.mark.parametrize(
    "bound, expected", [(0.5, 0.5), (1.0 + 1e-9, 1.0), (1.1, -2.0), (-5.0, -5.0)]
)
def test_a_bound_above_a_solution_is_no_bound(bound, expected):
    assert certified(bound, 1.0, -2.0) == expected
