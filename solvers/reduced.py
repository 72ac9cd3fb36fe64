"""The published program in the space of the scores alone, by Kelley's cuts.

Bounds fix nearly every binary of the published program: an active unit is then
``h = z - (1 - s) U``, affine in what comes before, and an inactive one is 0. So the logits are
affine in the scores s, the loss is convex in them, and a linear program with tangents of the loss
and the rows that keep units active is all that is left. A unit or a maximum that the bounds leave
open keeps its variables: it is a column beside the scores, with its binaries.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.bounds import Interval, interval, largest_other
from solvers.chain import Chain, Gate, Linear, Maximum, Rectify


class Row(NamedTuple):
    """``coefficients x >= bound`` over the columns ``indices``."""

    indices: np.ndarray
    coefficients: np.ndarray
    bound: float


@dataclass
class Columns:
    """The variables beside the scores: open units, and binaries.

    Attributes:
        lower: bounds of all columns, scores first.
        upper: the same from above.
        start: values that fulfil all rows: those of the whole network.
        binary: the columns that are binary.
        rows: what ties them, always part of the program.
    """

    lower: list[float]
    upper: list[float]
    start: list[float]
    binary: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, lower: float, upper: float, start: float, *, binary: bool = False) -> int:
        """A new column's number."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.start.append(start)
        if binary:
            self.binary.append(len(self.lower) - 1)
        return len(self.lower) - 1


class Vector(NamedTuple):
    """Entries affine in the columns: ``constant + matrix x``, [entries] and [entries, columns]."""

    constant: np.ndarray
    matrix: np.ndarray

    def widened(self, columns: int) -> "Vector":
        """The same with zeros for columns that came later."""
        missing = columns - self.matrix.shape[1]
        return self._replace(matrix=np.pad(self.matrix, ((0, 0), (0, missing))))

    def row(self, entry: int) -> tuple[np.ndarray, np.ndarray, float]:
        """An entry's columns, coefficients and constant."""
        indices = np.flatnonzero(self.matrix[entry])
        return indices, self.matrix[entry, indices], float(self.constant[entry])


@dataclass(frozen=True, eq=False)
class Reduced:
    """The program without its loss.

    Attributes:
        logits: for each sample, affine in the columns.
        columns: the scores, one a neuron, and what stands beside them.
        lazy: rows ``matrix x >= bound``, most of which never bind: [rows, columns], sparse, and
            [rows].
        open: how many units and maxima the bounds leave open.
    """

    logits: list[Vector]
    columns: Columns
    lazy: tuple[scipy.sparse.csr_array, np.ndarray]
    open: int


def reduce(chain: Chain, inputs: np.ndarray, epsilon: float) -> Reduced:
    """Eliminates everything but the scores and what the bounds leave open.

    Args:
        chain: the network.
        inputs: [batch, inputs].
        epsilon: see ``bounds.interval``.

    Returns:
        The program.
    """
    intervals = interval(chain, inputs, epsilon, gated=False)
    columns = Columns([0.0] * chain.neurons, [1.0] * chain.neurons, [1.0] * chain.neurons)
    elimination = _Elimination(chain, columns)
    logits = [
        elimination.sample(
            np.asarray(values, np.float64),
            [Interval(bound.lower[index], bound.upper[index]) for bound in intervals],
        )
        for index, values in enumerate(inputs)
    ]
    width = len(columns.lower)
    rows = [scipy.sparse.csr_array((0, width))]
    for matrix, constants in elimination.lazy:
        matrix.resize((len(constants), width))
        rows.append(matrix)
    bounds = np.concatenate([np.zeros(0), *(-constants for _, constants in elimination.lazy)])
    lazy = scipy.sparse.csr_array(scipy.sparse.vstack(rows)), bounds
    return Reduced([vector.widened(width) for vector in logits], columns, lazy, elimination.open)


class _Elimination:
    """Walks a chain once a sample.

    Args:
        chain: the network.
        columns: takes new columns and their rows.
    """

    def __init__(self, chain: Chain, columns: Columns) -> None:
        self._chain, self._columns, self._slices = chain, columns, chain.slices()
        # entries that must not be negative: coefficients and constants
        self.lazy: list[tuple[scipy.sparse.csr_array, np.ndarray]] = []
        self.open = 0

    def sample(self, values: np.ndarray, bounds: list[Interval]) -> Vector:
        """The logits of one sample."""
        now = Vector(values, np.zeros((len(values), len(self._columns.lower))))
        before = Interval(values, values)
        for step, bound in zip(self._chain.steps, bounds, strict=True):
            match step:
                case Linear(matrix, offset, gate):
                    now = Vector(matrix @ now.constant + offset, matrix @ now.matrix)
                    if gate is not None:
                        now = self._gated(now, gate, bound.upper)
                case Rectify(gate):
                    now = self._rectified(now, gate, before)
                case Maximum(windows):
                    now = self._maximum(now, windows, before)
            before = bound
        return now

    def _gated(self, now: Vector, gate: int, upper: np.ndarray) -> Vector:
        """``z - (1 - s) U``."""
        units = self._slices[gate].start + self._chain.gates[gate].units
        matrix = now.matrix.copy()
        matrix[np.arange(len(units)), units] += upper
        return Vector(now.constant - upper, matrix)

    def _rectified(self, now: Vector, gate: int | None, before: Interval) -> Vector:
        positive = np.maximum(before.upper, 0)
        gated = now if gate is None else self._gated(now, gate, positive)
        active = before.lower >= 0
        undecided = ~active & (before.upper > 0)
        result = Vector(
            np.where(active, gated.constant, 0), np.where(active[:, None], gated.matrix, 0)
        )
        # the published rows box every unit: 0 <= h <= U where it is active, L <= z <= 0 where not
        self._never_negative(result, active)
        self._never_negative(Vector(positive - result.constant, -result.matrix), active)
        inactive = before.upper <= 0
        self._never_negative(Vector(-gated.constant, -gated.matrix), inactive)
        self._never_negative(Vector(gated.constant - before.lower, gated.matrix), inactive)
        for entry in np.flatnonzero(undecided):
            result = self._unit(result, gated, int(entry), before, positive)
        return result

    def _never_negative(self, entries: Vector, where: np.ndarray) -> None:
        """Rows for entries that must not be negative, but for those that do not vary."""
        where = where & (entries.matrix != 0).any(axis=1)
        self.lazy.append((scipy.sparse.csr_array(entries.matrix[where]), entries.constant[where]))

    def _unit(
        self, result: Vector, gated: Vector, entry: int, before: Interval, positive: np.ndarray
    ) -> Vector:
        """``0 <= h <= v U``, ``h >= z - (1-s) U``, ``h <= z - (1-v) L - (1-s) U``."""
        columns, lower = self._columns, float(before.lower[entry])
        self.open += 1
        indices, coefficients, constant = gated.row(entry)
        value = self._at_start(gated, entry)
        output = columns.add(0.0, float(positive[entry]), max(value, 0.0))
        on = columns.add(0.0, 1.0, float(value > 0), binary=True)
        columns.rows += [
            Row(np.array([on, output]), np.array([positive[entry], -1.0]), 0.0),
            Row(np.append(indices, output), np.append(-coefficients, 1.0), constant),
            Row(
                np.concatenate([indices, [output, on]]),
                np.concatenate([coefficients, [-1.0, lower]]),
                lower - constant,
            ),
        ]
        return self._with_column(result, entry, output)

    def _maximum(self, now: Vector, windows: np.ndarray, before: Interval) -> Vector:
        lower, upper = before.lower[windows], before.upper[windows]
        each, others = np.arange(len(windows)), largest_other(upper)
        best = (lower - others).argmax(axis=1)
        decided = lower[each, best] >= others[each, best]
        for output in np.flatnonzero(~decided):
            largest = self._dominant(now, windows[output])
            if largest is not None:
                decided[output], best[output] = True, largest
        # entries that are 0 whatever the scores are compete with nobody
        chosen = windows[each, best]
        result = Vector(now.constant[chosen], now.matrix[chosen])
        for place in range(windows.shape[1]):
            rival = windows[:, place]
            ahead = Vector(result.constant - now.constant[rival], result.matrix - now.matrix[rival])
            binding = decided & (rival != chosen)
            self._never_negative(ahead, binding)
            # the rival's own row, zeta = 0: the maximum may exceed it by so much and no more
            within = others[:, place] - lower[:, place] - ahead.constant
            self._never_negative(Vector(within, -ahead.matrix), binding)
        for output in np.flatnonzero(~decided):
            result = self._open_maximum(result, now, int(output), windows[output], before)
        return result

    def _dominant(self, now: Vector, window: np.ndarray) -> int | None:
        """The place of an entry that no other exceeds, whatever the columns' values are.

        Equal pixels make equal entries, whose intervals overlap without leaving anything open.
        """
        width = now.matrix.shape[1]
        lower, upper = np.array(self._columns.lower), np.array(self._columns.upper)
        for place in np.argsort(-now.constant[window], kind="stable"):
            ahead = now.matrix[window[place]] - now.matrix[window]
            worst = np.where(ahead > 0, lower[:width], upper[:width])
            # a column without bounds counts only where it is read
            least = np.multiply(ahead, worst, where=ahead != 0, out=np.zeros_like(ahead)).sum(
                axis=1
            )
            if (now.constant[window[place]] - now.constant[window] + least >= 0).all():
                return int(place)
        return None

    def _open_maximum(
        self, result: Vector, now: Vector, output: int, window: np.ndarray, before: Interval
    ) -> Vector:
        """``m >= x_i``, ``m <= x_i + (1 - zeta_i) (max other U - L_i)``, ``sum zeta = 1``."""
        columns = self._columns
        self.open += 1
        lower, upper = before.lower[window], before.upper[window]
        values = [self._at_start(now, int(entry)) for entry in window]
        first = int(np.argmax(values))
        # no box: a gated layer's entries leave the bounds of the whole network
        top = columns.add(-np.inf, np.inf, values[first])
        chosen = [
            columns.add(0.0, 1.0, float(place == first), binary=True)
            for place in range(len(window))
        ]
        ones = np.ones(len(window))
        columns.rows += [
            Row(np.array(chosen), ones, 1.0),
            Row(np.array(chosen), -ones, -1.0),
        ]
        for place, entry in enumerate(window):
            indices, coefficients, constant = now.row(int(entry))
            spread = float(np.delete(upper, place).max() - lower[place])
            columns.rows += [
                Row(np.append(indices, top), np.append(-coefficients, 1.0), constant),
                Row(
                    np.concatenate([indices, [top, chosen[place]]]),
                    np.concatenate([coefficients, [-1.0, -spread]]),
                    -spread - constant,
                ),
            ]
        return self._with_column(result, output, top)

    def _at_start(self, now: Vector, entry: int) -> float:
        indices, coefficients, constant = now.row(entry)
        return constant + float(coefficients @ np.array(self._columns.start)[indices])

    def _with_column(self, result: Vector, entry: int, column: int) -> Vector:
        result = result.widened(len(self._columns.lower))
        result.constant[entry] = 0
        result.matrix[entry] = 0
        result.matrix[entry, column] = 1
        return result


def penalty_rows(gates: tuple[Gate, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The importance of each gated layer, ``I_l = sum_i (s_i - 2) / N_l``, affine in the scores.

    Args:
        gates: the gated layers.

    Returns:
        Coefficients, [layers, neurons], and constants, [layers].
    """
    neurons = sum(gate.neurons for gate in gates)
    weights = np.zeros((len(gates), neurons))
    start = 0
    for layer, gate in enumerate(gates):
        weights[layer, start : start + gate.neurons] = 1 / gate.size
        start += gate.neurons
    return weights, np.array([-2 * gate.neurons / gate.size for gate in gates])
