"""How exact is exact: all tolerances of the programs, in one place.

Those of rows are relative to a row's scale; each other one says what it is relative to. A row
counts in units of its largest coefficient (``rows.Row.scaled``), and a network's layers are
measured in units in which what they put out is about 1 (``scaling.normalised``). So a network whose
layers are multiplied by positive factors that cancel has the same answers.
"""

import math

LINEAR = 1e-9
"""By how much a solver may violate a row of a linear program, and a binary of HiGHS."""

MIXED = 1e-8
"""The same for SCIP's mixed-integer programs."""

LAZY = 1e-8
"""A row is added to a linear program late, only when it is violated by more than this."""

LAZY_MIXED = 5e-8
"""The same within a mixed-integer program: more than the solver's own tolerance. Otherwise the
same row would be added again and again."""

FEASIBLE = 1e-7
"""By how much a solution in the space of the scores may violate a row."""

FEASIBLE_FULL = 5e-7
"""The same for one of the whole program, which SCIP's presolving may leave less exact."""

EQUAL = 1e-10
"""Entries, in units of their layer, that never differ by more than this are one and the same."""

ZERO = 1e-9
"""Bounds this near to 0, in units of their layer, are 0: the entry is never above, or below, it."""

GAP = 1e-6
"""A relative gap below this counts as closed: solvers fulfil rows no more exactly."""

CONTRADICTION = 1e-6
"""A bound that is above a solution's objective by more, relatively, is a solver's error."""

BETTER = 1e-10
"""An objective counts as better if it is lower by more than this, relative to its size (or to 1,
for smaller ones): sums in another order differ by as much."""

SLOPE = 1e-12
"""A tangent's coefficients below this are left out. They are nats per unit of a column, and a
column is about 1: each moves the tangent by less than this."""

EQUAL_SCORES = 1e-12
"""Scores, from 0 to 1, that differ by less are equal: a mean of equal ones rounds by as much."""

WHOLE_NEURON = 1e-9
"""A share of a layer may lie below a whole number of neurons by this part of one neuron and still
is that number: 0.29 times 100 is 28.999... in floating-point numbers."""

RANK = 1e-12
"""Eigenvalues of samples' products below this part of the largest one count as 0."""


def better(value: float, than: float) -> bool:
    """Whether an objective is lower than another one by more than rounding.

    Args:
        value: the objective; infinity, that of what is not allowed, is never better.
        than: the other one, maybe infinity.

    Returns:
        Whether it is.
    """
    return math.isfinite(value) and than - value > BETTER * max(1.0, abs(value))


def tangent(gap: float, loss_weight: float) -> float:
    """By how much a tangent may lie above a loss's column, in nats, and the gap still closes."""
    return max(gap, GAP) / (8 * loss_weight)
