"""Independent programs: what is told of each, and what Ctrl-C leaves."""

from solvers.modes import paper
from solvers.search.independent import Answers
from solvers.settings import Settings
from tests.support.small_problem import problem


def test_what_is_not_begun_after_ctrl_c_is_interrupted():
    results = [paper.solve(problem(), Settings(time_limit=0.0))]
    assert Answers(results, False).status == "time limit"
    assert Answers(results, True).status == "interrupted"
