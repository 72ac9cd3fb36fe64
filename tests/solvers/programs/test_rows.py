"""Rows: their units, and blocks of them against a dense matrix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solvers.network.units import unit, units
from solvers.programs.rows import Row, joined, stacked


def test_rows_are_measured_by_their_largest_coefficient():
    row = Row(np.array([0, 3]), np.array([3e-6, -5e-7]), 1e-6).scaled()
    assert 1 <= np.abs(row.coefficients).max() < 2
    np.testing.assert_allclose(row.coefficients / row.bound, [3, -0.5])
    assert [unit(size) for size in (0.0, 1.0, 1.5, 2.0, 0.3)] == [1, 1, 1, 2, 0.25]
    np.testing.assert_array_equal(units(np.array([0.0, 1.5, 0.3])), [1, 1, 0.25])
    nothing = Row(np.array([], int), np.array([]), -1.0)
    assert nothing.scaled().bound == -1


def random_rows(random, count, columns):
    made = []
    for length in random.integers(0, columns + 1, count):
        indices = random.permutation(columns)[:length]
        made.append(Row(indices, random.normal(size=length), float(random.normal())))
    return made


def dense(rows, columns):
    matrix = np.zeros((len(rows), columns))
    for values, row in zip(matrix, rows, strict=True):
        values[row.indices] = row.coefficients
    return matrix


@given(seed=st.integers(0, 10**6), count=st.integers(0, 6))
def test_a_block_is_its_rows(seed, count):
    random = np.random.default_rng(seed)
    rows, values = random_rows(random, count, 5), random.normal(size=5)
    block = stacked(rows)
    assert len(block) == count
    for one, other in zip(block, rows, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.coefficients, other.coefficients)
        assert one.bound == other.bound
    np.testing.assert_array_equal(block.matrix(5).toarray(), dense(rows, 5))
    np.testing.assert_allclose(
        block.violations(values), [row.violation(values) for row in rows], atol=1e-14
    )
    for one, row in zip(block.scaled(), rows, strict=True):
        np.testing.assert_array_equal(one.coefficients, row.scaled().coefficients)
        assert one.bound == row.scaled().bound


@given(seed=st.integers(0, 10**6))
def test_blocks_are_joined_chosen_and_lengthened(seed):
    random = np.random.default_rng(seed)
    first, second = random_rows(random, 3, 4), random_rows(random, 2, 6)
    both = joined([stacked(first), joined([]), stacked(second)])
    np.testing.assert_array_equal(both.matrix(6).toarray(), dense(first + second, 6))
    order = random.permutation(5)
    np.testing.assert_array_equal(
        both.at(order).matrix(6).toarray(), dense(first + second, 6)[order]
    )
    np.testing.assert_array_equal(both.at(order).bounds, both.bounds[order])
    longer = both.appended(np.full(5, 6), np.arange(5.0))
    expected = np.column_stack([dense(first + second, 6), np.arange(5.0)])
    np.testing.assert_array_equal(longer.matrix(7).toarray(), expected)
