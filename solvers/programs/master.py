"""The linear program to which cutting planes add tangents of the losses."""

from typing import NamedTuple

import numpy as np

from solvers.programs.affine import AffineProgram
from solvers.programs.objective import Objective
from solvers.programs.rows import Rows, joined


class Master(NamedTuple):
    """``min costs x`` over bounds and rows.

    The columns are those of an ``AffineProgram``, then one loss per sample, then P.

    Attributes:
      costs: [columns].
      lower: [columns].
      upper: [columns].
      rows: the program's rows that are not lazy, and the rows of P.
    """

    costs: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    rows: Rows


def master(program: AffineProgram, objective: Objective) -> Master:
    """Makes the master problem of a program.

    Args:
      program: the program without its loss.
      objective: the objective to minimise.

    Returns:
      The linear program, without any tangent.
    """
    columns, batch = program.columns, objective.batch
    width = len(columns.lower)
    weights = np.full(batch, objective.loss_weight / batch)
    blocks = [columns.rows, objective.importance.rows(width + batch)]
    return Master(
        costs=np.concatenate([np.zeros(width), weights, [1.0]]),
        lower=np.concatenate([columns.lower, np.zeros(batch), [-np.inf]]),
        upper=np.concatenate([columns.upper, np.full(batch + 1, np.inf)]),
        rows=joined(blocks),
    )
