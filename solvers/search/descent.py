"""Coordinate descent on scores: better ones that fulfil every row, without a linear program."""

import time

import numpy as np
import scipy.sparse

from solvers.network.losses import cross_entropy
from solvers.programs.affine import AffineProgram
from solvers.programs.objective import Objective
from solvers.programs.rows import joined

STEP = 1e-6
"""Shorter steps of a score, which goes from 0 to 1, are not tried."""


class Descent:
    """Lowers one score after the other, as far as the rows allow and the objective falls.

    The program's other columns, those of open units, keep their values.

    Args:
        program: whose rows hold.
        objective: what is minimised.
    """

    def __init__(self, program: AffineProgram, objective: Objective) -> None:
        self._objective = objective
        columns = program.columns
        rows = joined([program.lazy, columns.rows])
        self._rows = scipy.sparse.csc_array(rows.matrix(len(columns.lower)))
        self._bounds = rows.bounds
        self._lower = np.array(columns.lower)

    def lowered(self, columns: np.ndarray, until: float) -> np.ndarray:
        """Goes once through all scores, the most promising first.

        Args:
            columns: of the program; they fulfil its rows.
            until: when to end, a reading of ``time.perf_counter``.

        Returns:
            Columns that fulfil the rows; their objective is not higher.
        """
        objective, found = self._objective, columns.copy()
        slack = np.maximum(self._rows @ found - self._bounds, 0)
        logits = objective.logits(found)
        value = objective.value(found)
        for score in objective.promising(found).tolist():
            if time.perf_counter() >= until:
                break
            part = slice(self._rows.indptr[score], self._rows.indptr[score + 1])
            rows, coefficients = self._rows.indices[part], self._rows.data[part]
            falling = coefficients > 0
            allowed = slack[rows[falling]] / coefficients[falling]
            step = float(min(found[score] - self._lower[score], allowed.min(initial=np.inf)))
            if step < STEP:
                continue
            moved = logits - step * objective.effects(score)
            before, found[score] = found[score], found[score] - step
            losses = cross_entropy(moved, objective.labels).values
            lower = objective.loss_weight * float(losses.mean()) + objective.penalty(found)
            if lower >= value:
                found[score] = before
                continue
            slack[rows] -= step * coefficients
            logits, value = moved, lower
        return found
