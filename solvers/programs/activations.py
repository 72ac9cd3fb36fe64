"""The rows of a ReLU and of a maximum whose inputs are affine in the columns."""

import numpy as np
import scipy.sparse

from solvers.network.matrices import Matrix
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

    Together with h >= 0, which is a bound of its column, these are ElAraby et al. (2023),
    constraints of a ReLU; with a gate s that is part of z already, s is 1 here.

    Args:
        inputs: z, of each unit.
        outputs: the columns of h, [units].
        on: the columns of v, or of s where a unit is active whenever it is not pruned, [units].
        lower: L, [units].
        upper: U, not below 0, [units].
        gates: the columns of s, [units], -1 where there is none; None: nowhere.

    Returns:
        Three rows per unit, one unit after the other.
    """
    count = len(outputs)
    ones = np.ones(count)
    width = 1 + max(
        [inputs.matrix.shape[1] - 1, *(int(each.max(initial=0)) for each in (outputs, on))]
    )
    nothing = scipy.sparse.csr_array((count, width))
    gated = np.zeros(count, bool) if gates is None else gates >= 0
    cut = np.where(gated, upper, 0.0)
    least = _with_entry(-inputs.matrix, outputs, ones, width)
    if gates is not None:
        least = _with_entry(least, gates, -upper, width, gated)
    most = _with_entry(_with_entry(inputs.matrix, outputs, -ones, width), on, lower, width)
    blocks = [
        Rows(_with_entry(_with_entry(nothing, on, upper, width), outputs, -ones, width), 0 * ones),
        Rows(least, inputs.constant - cut),
        Rows(most, lower - inputs.constant),
    ]
    return joined(blocks, width).at(np.arange(3 * count).reshape(3, count).T.ravel())


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
        The rows; the sum's two come first.
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
    width = max(inputs.matrix.shape[1], output + 1, int(chosen.max()) + 1)
    return stacked(rows, width)


def _with_entry(
    matrix: Matrix,
    columns: np.ndarray,
    values: np.ndarray,
    width: int,
    where: np.ndarray | None = None,
) -> Matrix:
    """A sparse matrix with one more entry at the end of each row, or of the rows told."""
    rows = np.arange(len(columns)) if where is None else np.flatnonzero(where)
    ends = matrix.indptr[1:][rows]
    longer = np.zeros(len(columns) + 1, np.int64)
    longer[1 + rows] = 1
    return scipy.sparse.csr_array(
        (
            np.insert(matrix.data, ends, values[rows]),
            np.insert(matrix.indices, ends, columns[rows]),
            matrix.indptr + np.cumsum(longer),
        ),
        shape=(len(columns), width),
    )
