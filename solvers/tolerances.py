"""All tolerances of the programs, in one place.

A row is measured in units of its largest coefficient (``rows.Row.scaled``), and a layer in units in
which its outputs are about 1 (``scaling.normalised``). Tolerances of rows are relative to these
units; every other one says what it is relative to. So the answers stay the same when layers are
multiplied by positive factors that cancel.
"""

import math

LINEAR = 1e-9
"""A solver may violate a row of a linear program, and HiGHS a binary, by this much."""

MIXED = 1e-8
"""The same for SCIP's mixed-integer programs."""

LAZY = 1e-8
"""A lazy row is added to a linear program when it is violated by more than this."""

LAZY_MIXED = 5e-8
"""The same within a mixed-integer program. It must be more than ``MIXED``, or the solver would add
the same row again and again."""

FEASIBLE = 1e-7
"""A solution in the space of the scores may violate a row by this much."""

FEASIBLE_FULL = 5e-7
"""The same for the explicit program, whose solutions SCIP's presolving may leave less exact."""

EQUAL = 1e-10
"""Two entries that never differ by more than this, in units of their layer, count as equal."""

ZERO = 1e-9
"""A bound this near to 0, in units of its layer, counts as 0: the entry never changes its sign."""

GAP = 1e-6
"""A relative gap below this counts as closed, because solvers fulfil rows no more exactly."""

CONTRADICTION = 1e-6
"""A bound that exceeds a solution's objective by more than this, relatively, is an error of the
solver."""

BETTER = 1e-10
"""An objective counts as better if it is lower by more than this, relative to its size, or to 1 if
that is larger. A smaller difference may come from the order of a sum."""

SLOPE = 1e-12
"""A tangent leaves out coefficients below this, in nats per unit of a column. Columns are about 1,
so each one moves the tangent by less than this."""

EQUAL_SCORES = 1e-12
"""Scores, from 0 to 1, that differ by less count as equal: their mean is rounded by as much."""

WHOLE_NEURON = 1e-9
"""A share of a layer that is below a whole number of neurons by less than this part of a neuron is
that whole number: 0.29 times 100 is 28.999... in floating-point numbers."""

RANK = 1e-12
"""An eigenvalue of the samples' Gram matrix below this part of the largest one counts as 0."""


def better(value: float, than: float) -> bool:
    """Whether an objective is lower than another one by more than rounding.

    Args:
      value: the objective; infinity, for a mask that is not allowed, is never better.
      than: the other objective, maybe infinity.

    Returns:
      True if it is lower by more than ``BETTER``.
    """
    return math.isfinite(value) and than - value > BETTER * max(1.0, abs(value))


def tangent(gap: float, loss_weight: float) -> float:
    """How far a loss's column may stay below its tangent, in nats, so that the gap still closes."""
    return max(gap, GAP) / (8 * loss_weight)
