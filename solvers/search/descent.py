"""Coordinate descent on scores: it needs no linear program and keeps every row."""

import time

import numpy as np
import scipy.sparse

from solvers.network.losses import cross_entropy
from solvers.programs.affine import AffineProgram
from solvers.programs.objective import Objective
from solvers.programs.rows import joined

STEP = 1e-6
"""A score, from 0 to 1, is not lowered by less than this."""


class Descent:
    """Lowers one score after the other, as far as the rows allow, if the objective falls.

    The columns beside the scores keep their values.

    Args:
      program: gives the rows.
      objective: the objective to minimise.
    """

    def __init__(self, program: AffineProgram, objective: Objective) -> None:
        self._objective = objective
        columns = program.columns
        rows = joined([program.lazy, columns.rows])
        self._rows = scipy.sparse.csc_array(rows.matrix(len(columns.lower)))
        self._bounds = rows.bounds
        self._lower = np.array(columns.lower)

    def lowered(self, columns: np.ndarray, until: float) -> np.ndarray:
        """Goes through all scores once, the most promising ones first.

        Args:
          columns: a point that fulfils the rows, [columns].
          until: when to end, a reading of ``time.perf_counter``.

        Returns:
          A point that fulfils the rows, and whose objective is not higher, [columns].
        """
        objective, point = self._objective, columns.copy()
        slack = np.maximum(self._rows @ point - self._bounds, 0)
        logits = objective.logits(point)
        value = objective.value(point)
        for score in objective.promising(point).tolist():
            if time.perf_counter() >= until:
                break
            part = slice(self._rows.indptr[score], self._rows.indptr[score + 1])
            rows, coefficients = self._rows.indices[part], self._rows.data[part]
            falling = coefficients > 0
            allowed = slack[rows[falling]] / coefficients[falling]
            step = float(min(point[score] - self._lower[score], allowed.min(initial=np.inf)))
            if step < STEP:
                continue
            moved = logits - step * objective.effects(score)
            before, point[score] = point[score], point[score] - step
            losses = cross_entropy(moved, objective.labels).values
            lower = objective.loss_weight * float(losses.mean()) + objective.penalty(point)
            if lower >= value:
                point[score] = before
                continue
            slack[rows] -= step * coefficients
            logits, value = moved, lower
        return point
