"""The published program class by class."""

import numpy as np
import pytest

from solvers.layers import Dense, Relu
from solvers.modes import paper, per_class
from solvers.problem import Problem
from solvers.search.independent import WORST_FIRST, Answers
from solvers.settings import Settings


def problem():
    random = np.random.default_rng(0)
    layers = [
        Dense(random.normal(size=(6, 8)) / 2, random.normal(size=8) * 0.1, name="first"),
        Relu(),
        Dense(random.normal(size=(8, 5)) / 2, random.normal(size=5) * 0.1, name="second"),
        Relu(),
        Dense(random.normal(size=(5, 4)), random.normal(size=4)),
    ]
    # unequal counts, and no sample of class 2
    labels = np.array([0, 3, 1, 0, 3, 0, 1])
    return Problem(layers, random.uniform(size=(7, 6)), labels)


def alone(instance, label):
    where = instance.labels == label
    part = Problem(instance.layers, instance.inputs[where], instance.labels[where])
    return paper.solve(part, Settings(gap=1e-6))


def test_scores_are_the_mean_of_each_classs_own():
    instance = problem()
    found = per_class.solve(instance, Settings(gap=1e-6))
    classes = [alone(instance, label) for label in (0, 1, 3)]
    for layer in range(2):
        np.testing.assert_allclose(
            found.scores[layer], np.mean([each.scores[layer] for each in classes], axis=0)
        )
    assert found.objective == pytest.approx(np.mean([each.objective for each in classes]))
    assert found.bound == pytest.approx(np.mean([each.bound for each in classes]))
    assert found.loss == pytest.approx(np.mean([each.loss for each in classes]))
    assert found.layers == ("first", "second")
    assert found.status == "optimal"
    assert found.bound_scope == "paper-restriction"
    assert found.violation <= 1e-6
    assert found.problem is instance
    assert "the means over 3 programs, one per class" in found.explain()


def test_two_processes_find_what_one_finds():
    instance = problem()
    one, two = (per_class.solve(instance, Settings(workers=workers)) for workers in (1, 2))
    assert (one.objective, one.bound) == (two.objective, two.bound)
    for first, second in zip(one.scores, two.scores, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_time_limit_of_zero_keeps_everything():
    told = []
    found = per_class.solve(
        problem(), Settings(time_limit=0.0, on_incumbent=lambda *moved: told.append(moved))
    )
    assert found.status == "time limit"
    assert all((scores == 1).all() for scores in found.scores)
    assert len(told) == 3  # as each class is answered


def test_classes_share_the_time(monkeypatch):
    limits = []

    def solve(instance, settings):
        limits.append(settings.time_limit)
        return paper.solve(instance, settings)

    monkeypatch.setattr(per_class, "_solve_class", solve)
    per_class.solve(problem(), Settings(time_limit=30.0))
    # the first gets a third, the next half of what is left, the last all of it
    assert limits == pytest.approx([10.0, 15.0, 30.0], rel=0.1)
    assert sum(limits) > 50  # each class takes next to nothing of its share


def test_after_ctrl_c_the_remaining_classes_are_answered_at_once(monkeypatch):
    limits = []

    def solve(instance, settings):
        limits.append(settings.time_limit)
        found = paper.solve(instance, settings)
        return found if len(limits) != 2 else interrupted(found)

    def interrupted(found):
        return type(found)(**{**vars(found), "status": "interrupted"})

    monkeypatch.setattr(per_class, "_solve_class", solve)
    found = per_class.solve(problem(), Settings())
    assert limits == [None, None, 0.0]
    assert found.status == "interrupted"


def test_the_worst_status_counts():
    class Solved:
        def __init__(self, status):
            self.status = status

    for place, status in enumerate(WORST_FIRST):
        others = [Solved(word) for word in WORST_FIRST[place:]]
        assert Answers([*others[::-1], *others], False).status == status
