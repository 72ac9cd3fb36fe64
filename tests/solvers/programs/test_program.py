"""A program's rows and violations."""

import numpy as np
import pytest

from solvers.programs.builder import Builder
from solvers.programs.rows import Row


def test_a_program_s_rows_and_violation():
    builder = Builder()
    x = builder.columns(["x", "y"], 0.0, 2.0, cost=1.0)
    builder.columns(["b"], 0.0, 1.0, binary=True)
    builder.rows(["equal"], [(x[:1], 1.0), (x[1:], -1.0)], 0.5, 0.5)
    builder.rows(["most"], [(x[:1], 1.0), (x[:1], 2.0)], upper=3.0)
    program = builder.build().with_rows({"least": Row(np.array([1, 2]), np.array([1.0, 4.0]), 1.0)})
    assert program.rows == ("equal", "most", "least")
    np.testing.assert_array_equal(program.matrix.toarray(), [[1, -1, 0], [3, 0, 0], [0, 1, 4]])
    assert [
        (row.indices.tolist(), row.coefficients.tolist(), row.bound)
        for row in program.inequalities()
    ] == [
        ([0, 1], [1.0, -1.0], 0.5),
        ([0, 1], [-1.0, 1.0], -0.5),
        ([0], [-3.0], -3.0),
        ([1, 2], [1.0, 4.0], 1.0),
    ]
    for values, expected in [
        ([0.75, 0.25, 1.0], 0.0),
        ([0.75, 0.5, 1.0], 0.25),  # equal, from below
        ([0.75, 0.0, 1.0], 0.25),  # equal, from above
        ([1.25, 0.75, 1.0], 0.75),  # most
        ([0.5, 0.0, 0.0], 1.0),  # least
        ([0.25, -0.25, 1.0], 0.25),  # a bound
        ([0.75, 0.25, 0.75], 0.25),  # a binary
    ]:
        assert program.violation(np.array(values)) == pytest.approx(expected)
