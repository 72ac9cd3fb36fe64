"""Rows of ReLUs and maxima whose inputs are affine in the columns."""

import dataclasses

import numpy as np

from solvers.programs.entries import Entries
from solvers.programs.rows import Row, Rows, joined, stacked


def relu_rows(
    inputs: Entries,
    outputs: np.ndarray,
    on: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    gates: np.ndarray | None = None,
) -> Rows:
    """``h <= U v``, ``h >= z - U (1 - s)``, ``h <= z - L (1 - v)``, unit by unit.

    These are a ReLU's constraints in ElAraby et al. (2023); ``h >= 0`` is a bound of h's column.

    Args:
      inputs: z, one entry per unit.
      outputs: the columns of h, [units].
      on: the columns of v, [units]; that of s where a unit is active unless it is pruned.
      lower: L, [units].
      upper: U, not negative, [units].
      gates: the columns of s, [units]; None if s is 1, or part of z already.

    Returns:
      Three rows per unit, one unit after the other.
    """
    count = len(outputs)
    ones, pairs = np.ones(count), 2 * np.arange(count + 1)
    at_most = Rows(
        pairs,
        np.column_stack([on, outputs]).ravel(),
        np.column_stack([upper, -ones]).ravel(),
        np.zeros(count),
    )
    least = Rows.of_matrix(-inputs.matrix, inputs.constant).appended(outputs, ones)
    if gates is not None:
        least = least.appended(gates, -upper)
        least = dataclasses.replace(least, bounds=least.bounds - upper)
    most = Rows.of_matrix(inputs.matrix, lower - inputs.constant)
    most = most.appended(outputs, -ones).appended(on, lower)
    by_unit = np.arange(3 * count).reshape(3, count).T.ravel()
    return joined([at_most, least, most]).at(by_unit)


def maximum_rows(
    inputs: Entries, output: int, chosen: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> Rows:
    """``m >= x_i``, ``m <= x_i + (1 - zeta_i) (max of the other U - L_i)``, ``sum zeta = 1``.

    Args:
      inputs: x, the entries that compete.
      output: the column of m.
      chosen: the columns of zeta, [entries].
      lower: L, [entries].
      upper: U, [entries].

    Returns:
      Two rows for the sum, then two rows per entry.
    """
    ones = np.ones(len(chosen))
    rows = [Row(chosen, ones, 1.0), Row(chosen, -ones, -1.0)]
    for place, choice in enumerate(chosen.tolist()):
        indices, coefficients, constant = inputs.row(place)
        spread = float(np.delete(upper, place).max() - lower[place])
        rows += [
            Row(np.append(indices, output), np.append(-coefficients, 1.0), constant),
            Row(
                np.append(indices, [output, choice]),
                np.append(coefficients, [-1.0, -spread]),
                -spread - constant,
            ),
        ]
    return stacked(rows)
