"""The published program in files and models of other solvers."""

import highspy
import numpy as np
import pyscipopt
import pytest

from solvers import export
from solvers.modes import full
from solvers.programs.explicit import formulate
from tests.support.full_program_cases import (
    FINE,
    milp,
    problem,
)


def test_tangents_in_files_touch_every_loss():
    form = formulate(problem("dense"))
    program = export.with_tangents(form)
    assert sum(name.startswith("tangent_") for name in program.rows) == 4 * len(export.POINTS)
    for point in export.POINTS:
        values = form.complete(np.full(form.problem.chain.neurons, point))
        broken = program.violation(values)
        for sample in range(4):
            lower = values.copy()
            lower[form.losses[sample]] -= 10.0
            assert program.violation(lower) >= 10.0 - 1e-9 > broken


@pytest.mark.parametrize("ending", ["mps", "lp"])
@pytest.mark.parametrize("name", ["dense", "maximum, then ReLU"])
def test_linear_files_read_back(tmp_path, name, ending):
    whole = problem(name, epsilon=1e-2)
    path = tmp_path / f"net.{ending}"
    path.write_text("replaced")
    whole.write(path)
    assert list(tmp_path.iterdir()) == [path]
    assert "tangents of each sample's cross-entropy" in path.read_text()[:400]
    assert "relu_upper_s1_fc" in path.read_text()
    answer = full.solve(whole, FINE).objective
    if name == "dense":  # without the tangents that the answer took it would lie far below
        assert milp(export.with_tangents(formulate(whole))) < answer - 0.01
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.setParam("limits/gap", 0.0)
    model.optimize()
    expected = model.getObjVal()
    assert answer - 1e-4 * abs(answer) <= expected <= answer + 1e-6
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.readModel(str(path))
    highs.run()
    assert highs.getObjectiveValue() == pytest.approx(expected, abs=1e-5)


def test_no_time_for_tangents_leaves_those_of_some_scores(tmp_path):
    whole = problem("dense")
    whole.write(tmp_path / "net.lp", time_limit=0.0)
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(tmp_path / "net.lp"))
    model.setParam("limits/gap", 0.0)
    model.optimize()
    expected = milp(export.with_tangents(formulate(whole)))
    assert model.getObjVal() == pytest.approx(expected, abs=1e-5)


def test_a_model_of_scips():
    """Everything is in it, under the names of the files."""
    whole = problem("dense", epsilon=1e-2)
    model = whole.to_model()
    model.hideOutput()
    form = formulate(whole)
    assert {variable.name for variable in model.getVars()} == set(form.program.columns)
    assert {row.name for row in model.getConss()} >= set(form.program.rows)
    model.setParam("limits/gap", 1e-6)
    model.optimize()
    assert model.getObjVal() == pytest.approx(full.solve(whole, FINE).objective, abs=2e-4)


def test_a_cip_file_holds_the_losses(tmp_path):
    whole = problem("maximum, then ReLU", epsilon=1e-2)
    whole.write(str(tmp_path / "net.cip"))
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(tmp_path / "net.cip"))
    model.setParam("limits/gap", 1e-6)
    model.optimize()
    assert model.getObjVal() == pytest.approx(full.solve(whole, FINE).objective, abs=2e-4)


def test_another_ending_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"net.txt must end in .mps, .lp, .cip"):
        problem("dense").write(tmp_path / "net.txt")
    assert list(tmp_path.iterdir()) == []
