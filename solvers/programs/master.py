"""The linear program that tangents of the losses are added to, one after the other."""

from typing import NamedTuple

import numpy as np

from solvers.programs.affine import AffineProgram
from solvers.programs.objective import Objective
from solvers.programs.rows import Rows, joined


class Master(NamedTuple):
    """``min costs x`` over bounds and rows: a program with a column per loss, and one for P.

    Kelley's master problem ("The cutting-plane method for solving convex programs", 1960).

    Attributes:
        costs: [columns].
        lower: [columns].
        upper: [columns].
        rows: those of the program that are not lazy, and those of P.
    """

    costs: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    rows: Rows


def master(program: AffineProgram, objective: Objective) -> Master:
    """The program's columns, then a bound on each sample's loss, then one on the penalty.

    Args:
        program: without its loss.
        objective: what is minimised.

    Returns:
        The linear program without any tangent.
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
