"""The published program in the space of its scores.

The bounds fix nearly every binary of the published program: an active unit is
``h = z - (1 - s) U``, which is affine in its inputs, and an inactive one is 0. So the logits are
affine in the scores s, and the loss is convex in them. What is left is a convex program over the
scores, with the rows that keep units active. Only a unit or a maximum that the bounds leave open
keeps its variables, as columns beside the scores.
"""

import numpy as np

from solvers.network.bounds import Interval, interval, largest_other
from solvers.network.chain import Chain, Linear, Maximum, Rectify
from solvers.programs.activations import maximum_rows, relu_rows
from solvers.programs.affine import AffineProgram, Columns, dense
from solvers.programs.entries import Entries, Largest, Units, placed
from solvers.programs.rows import Rows, joined
from solvers.settings import in_time
from solvers.tolerances import EQUAL


def reduce(
    chain: Chain, inputs: np.ndarray, epsilon: float, until: float = np.inf
) -> AffineProgram:
    """Eliminates all variables but the scores, and those of open units and maxima.

    Args:
      chain: the network.
      inputs: [batch, inputs].
      epsilon: see ``bounds.interval``.
      until: when to give up, a reading of ``time.perf_counter``.

    Returns:
      The program.

    Raises:
      TimeoutError: the program was not complete in time.
    """
    intervals = interval(chain, inputs, epsilon, gated=False)
    columns = Columns.of_scores(chain.neurons)
    elimination = _Elimination(chain, columns)
    logits = [
        elimination.sample(
            np.asarray(values, np.float64),
            [Interval(bound.lower[index], bound.upper[index]) for bound in intervals],
        )
        for index, values in enumerate(in_time(inputs, until))
    ]
    width = len(columns.lower)
    return AffineProgram(
        [dense(each, width) for each in logits],
        columns,
        joined(elimination.lazy),
        elimination.open,
        elimination.steps,
    )


class _Elimination:
    """Walks along the chain, once per sample.

    Args:
      chain: the network.
      columns: collects new columns and their rows.

    Attributes:
      lazy: rows that must hold; most of them never bind.
      steps: how new columns follow from the scores.
      open: how many units and maxima the bounds leave open.
    """

    def __init__(self, chain: Chain, columns: Columns) -> None:
        self._chain, self._columns, self._slices = chain, columns, chain.slices()
        self.lazy: list[Rows] = []
        self.steps: list[Units | Largest] = []
        self.open = 0

    def sample(self, values: np.ndarray, bounds: list[Interval]) -> Entries:
        """The logits of one sample."""
        now = Entries.of_constants(values, len(self._columns.lower))
        before = Interval(values, values)
        for step, bound in zip(self._chain.steps, bounds, strict=True):
            match step:
                case Linear():
                    now = now.through(step).without_zeros()
                    if step.gate is not None:
                        now = self._gated(now, step.gate, bound.upper)
                case Rectify(gate):
                    now = self._rectified(now, gate, before)
                case Maximum(windows):
                    now = self._maximum(now, windows, before)
            before = bound
        return now

    def _gated(self, now: Entries, gate: int, upper: np.ndarray) -> Entries:
        """``z - (1 - s) U``."""
        units = self._slices[gate].start + self._chain.gates[gate].units
        fall = (np.arange(len(units)), units, -upper)
        return now.minus(Entries.of_parts(upper, [fall], now.matrix.shape[1])).without_zeros()

    def _rectified(self, now: Entries, gate: int | None, before: Interval) -> Entries:
        positive = np.maximum(before.upper, 0)
        gated = now if gate is None else self._gated(now, gate, positive)
        active, inactive = before.lower >= 0, before.upper <= 0
        # the published rows box every unit: 0 <= h <= U where it is active, L <= z <= 0 where not
        self._boxed(gated, np.zeros(len(active)), positive, active & ~inactive)
        self._boxed(gated, before.lower, np.zeros(len(active)), inactive)
        open_ = np.flatnonzero(~active & ~inactive)
        outputs, on = self._units(gated.at(open_), before.lower[open_], positive[open_])
        self.steps.append(Units(gated.at(open_), outputs, on, np.full(len(open_), -1)))
        return self._joined(gated, np.flatnonzero(active & ~inactive), open_, outputs)

    def _boxed(
        self, entries: Entries, lower: np.ndarray, upper: np.ndarray, where: np.ndarray
    ) -> None:
        rows = np.flatnonzero(where)
        constant, matrix = entries.at(rows)
        self._never_negative(Entries(constant - lower[rows], matrix))
        self._never_negative(Entries(upper[rows] - constant, -matrix))

    def _never_negative(self, entries: Entries) -> None:
        """Makes rows ``entry >= 0``; constant entries need none.

        A row of one column becomes a bound of that column, which later layers can use.
        """
        lengths = np.diff(entries.matrix.indptr)
        rows = entries.at(np.flatnonzero(lengths > 1))
        rows.matrix.sort_indices()
        self.lazy.append(Rows.of_matrix(rows.matrix, -rows.constant))
        columns = self._columns
        for row in np.flatnonzero(lengths == 1).tolist():
            index, coefficient, constant = (
                each.item() for each in map(np.asarray, entries.row(row))
            )
            end, start = -constant / coefficient, columns.start[index]
            if coefficient > 0:
                columns.lower[index] = max(columns.lower[index], min(end, start))
            else:
                columns.upper[index] = min(columns.upper[index], max(end, start))

    def _units(
        self, gated: Entries, lower: np.ndarray, positive: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """``0 <= h <= v U``, ``h >= z - (1-s) U``, ``h <= z - (1-v) L - (1-s) U``: h and v."""
        columns, count = self._columns, len(lower)
        self.open += count
        values = gated.value(np.array(columns.start))
        outputs = len(columns.lower) + 2 * np.arange(count)
        for value, most in zip(values.tolist(), positive.tolist(), strict=True):
            columns.add(0.0, most, max(value, 0.0))
            columns.add(0.0, 1.0, float(value > 0), binary=True)
        if count:
            columns.blocks.append(relu_rows(gated, outputs, outputs + 1, lower, positive))
        return outputs, outputs + 1

    def _maximum(self, now: Entries, windows: np.ndarray, before: Interval) -> Entries:
        lower, upper = before.lower[windows], before.upper[windows]
        each, others = np.arange(len(windows)), largest_other(upper)
        best = (lower - others).argmax(axis=1)
        decided = lower[each, best] >= others[each, best]
        left = np.flatnonzero(~decided)
        largest = self._dominant(now, windows[left])
        best[left] = np.where(largest >= 0, largest, best[left])
        decided[left] = largest >= 0
        sure, open_ = np.flatnonzero(decided), np.flatnonzero(~decided)
        result = now.at(windows[each, best])
        for place in range(windows.shape[1]):
            # the difference is constant, and needs no row, where both entries are
            rows = sure[best[sure] != place]
            ahead = result.at(rows).minus(now.at(windows[rows, place])).without_zeros()
            self._never_negative(ahead)
            # the rival's own row where its zeta is 0: how far the maximum may exceed it
            within = (others - lower)[rows, place] - ahead.constant
            self._never_negative(Entries(within, -ahead.matrix))
        columns = [
            self._open_maximum(now.at(windows[output]), lower[output], upper[output])
            for output in open_.tolist()
        ]
        return self._joined(result, sure, open_, np.array(columns, np.int64))

    def _dominant(self, now: Entries, windows: np.ndarray) -> np.ndarray:
        """The place in each window that no other exceeds, whatever the columns are; -1 if none.

        Equal pixels make equal entries: their intervals overlap, but their order is decided.
        """
        places = range(windows.shape[1])
        largest = np.full(len(windows), -1)
        for place in places:
            rows = np.flatnonzero(largest < 0)
            entries, never = now.at(windows[rows, place]), np.ones(len(rows), bool)
            for other in places:
                ahead = entries.minus(now.at(windows[rows, other])).without_zeros()
                never &= self._range(ahead).lower >= -EQUAL
            largest[rows[never]] = place
        return largest

    def _range(self, entries: Entries) -> Interval:
        """The smallest and the largest value of each entry within the columns' bounds."""
        matrix = entries.matrix
        sides = [
            np.array(side)[matrix.indices] for side in (self._columns.lower, self._columns.upper)
        ]
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        ends = np.sort([side * matrix.data for side in sides], axis=0)
        sums = [np.bincount(rows, each, minlength=matrix.shape[0]) for each in ends]
        return Interval(entries.constant + sums[0], entries.constant + sums[1])

    def _open_maximum(self, inputs: Entries, lower: np.ndarray, upper: np.ndarray) -> int:
        """``m >= x_i``, ``m <= x_i + (1 - zeta_i) (max other U - L_i)``, ``sum zeta = 1``: m."""
        columns = self._columns
        self.open += 1
        values = inputs.value(np.array(columns.start))
        first = int(np.argmax(values))
        # the published bounds do not hold for entries of a gated layer
        least, most = self._range(inputs)
        top = columns.add(float(least.max()), float(most.max()), float(values[first]))
        chosen = [
            columns.add(0.0, 1.0, float(place == first), binary=True) for place in range(len(lower))
        ]
        columns.blocks.append(maximum_rows(inputs, top, np.array(chosen), lower, upper))
        self.steps.append(Largest(inputs, top, np.array(chosen)))
        return top

    def _joined(
        self, entries: Entries, rows: np.ndarray, open_: np.ndarray, columns: np.ndarray
    ) -> Entries:
        """Entries that are kept in ``rows``, replaced by columns in ``open_``, and 0 elsewhere."""
        constant = np.zeros(len(entries.constant))
        constant[rows] = entries.constant[rows]
        parts = [placed(entries, rows), (open_, columns, np.ones(len(open_)))]
        return Entries.of_parts(constant, parts, len(self._columns.lower)).without_zeros()
