"""The program of all masks: its rows and its bounds."""

import numpy as np
import pytest
import scipy.optimize

from solvers.modes import exact
from solvers.programs import masked
from tests.support.mask_cases import KINDS, problem


@pytest.mark.parametrize("kind", KINDS)
def test_every_mask_fulfils_the_rows_and_no_other_outputs_do(kind):
    """For sampled masks the rows hold, and leave the logits no freedom."""
    instance = problem(kind, 7, batch=2)
    gates = instance.chain.gates
    program = masked.build(instance.chain, instance.flat, [gate.neurons for gate in gates])
    columns, neurons = program.columns, instance.chain.neurons
    rows = np.zeros((len(columns.rows), len(columns.lower)))
    for row, (indices, coefficients, _) in zip(rows, columns.rows, strict=True):
        np.add.at(row, indices, coefficients)
    bounds = np.array([row.bound for row in columns.rows])
    random = np.random.default_rng(0)
    for kept in random.integers(0, 2, (4, neurons)).astype(float):
        values = program.complete(kept)
        assert np.all(rows @ values >= bounds - 1e-9)
        assert np.all(values >= np.array(columns.lower) - 1e-9)
        assert np.all(values <= np.array(columns.upper) + 1e-9)
        logits = np.array([each.constant + each.matrix @ values for each in program.logits])
        np.testing.assert_allclose(logits, instance.chain.logits(instance.flat, kept), atol=1e-9)
        fixed = [*zip(columns.lower, columns.upper, strict=True)]
        fixed[:neurons] = [(value, value) for value in kept]
        whole = np.zeros(len(fixed))
        whole[columns.binary] = 1
        for sign in (1, -1):
            vector = program.logits[0].matrix[0] * sign
            found = scipy.optimize.milp(
                vector,
                integrality=whole,
                bounds=scipy.optimize.Bounds(*np.array(fixed).T),
                constraints=[scipy.optimize.LinearConstraint(rows, bounds)] if len(rows) else [],
            )
            assert found.fun == pytest.approx(float(vector @ values), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_bounds_contain_what_units_take_in(kind, share):
    instance = problem(kind, 9, batch=2)
    most = exact.most_pruned(instance, share)
    program = masked.build(instance.chain, instance.flat, most)
    columns = program.columns
    random = np.random.default_rng(1)
    masks = np.ones((60, instance.chain.neurons))
    for mask in masks:
        for part, count in zip(instance.chain.slices(), most, strict=True):
            gone = random.permutation(np.arange(part.start, part.stop))
            mask[gone[: random.integers(0, count + 1)]] = 0
    for mask in masks:
        values = program.complete(mask)
        assert np.all(values >= np.array(columns.lower) - 1e-9)
        assert np.all(values <= np.array(columns.upper) + 1e-9)
        broken = [row.bound - row.coefficients @ values[row.indices] for row in columns.rows]
        assert max([*broken, 0.0]) <= 1e-8
        logits = [each.constant + each.matrix @ values for each in program.logits]
        np.testing.assert_allclose(logits, instance.chain.logits(instance.flat, mask), atol=1e-9)


def test_a_cap_makes_bounds_closer():
    instance = problem("two hidden layers", 3)
    counts = [
        masked.build(instance.chain, instance.flat, exact.most_pruned(instance, share))
        for share in (1.0, 0.2)
    ]
    assert counts[1].open < counts[0].open
