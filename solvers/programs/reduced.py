"""The published program in the space of the scores alone, by Kelley's cuts.

Bounds fix nearly every binary of the published program: an active unit is then
``h = z - (1 - s) U``, affine in what comes before, and an inactive one is 0. So the logits are
affine in the scores s, the loss is convex in them, and a linear program with tangents of the loss
and the rows that keep units active is all that is left. A unit or a maximum that the bounds leave
open keeps its variables: it is a column beside the scores, with its binaries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.bounds import Interval, interval, largest_other
from solvers.network.chain import Chain, Gate, Linear, Maximum, Rectify
from solvers.programs.entries import Entries, Largest, Units, placed
from solvers.programs.rows import Row, relu_rows
from solvers.settings import in_time
from solvers.tolerances import EQUAL


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


@dataclass(frozen=True, eq=False)
class Reduced:
    """The program without its loss.

    Attributes:
        logits: for each sample, affine in the columns.
        columns: the scores, one a neuron, and what stands beside them.
        lazy: rows ``matrix x >= bound``, most of which never bind: [rows, columns], sparse, and
            [rows].
        open: how many units and maxima the bounds leave open.
        steps: how their columns follow from the scores.
    """

    logits: list[Vector]
    columns: Columns
    lazy: tuple[scipy.sparse.csr_array, np.ndarray]
    open: int
    steps: Sequence[Units | Largest] = ()

    def complete(self, scores: np.ndarray) -> np.ndarray:
        """All columns, [columns], where the network is evaluated with these scores.

        They fulfil every row where the scores are 1, and need not elsewhere.
        """
        columns = np.zeros(len(self.columns.lower))
        columns[: len(scores)] = scores
        for step in self.steps:
            step.complete(columns)
        return columns


def reduce(chain: Chain, inputs: np.ndarray, epsilon: float, until: float = np.inf) -> Reduced:
    """Eliminates everything but the scores and what the bounds leave open.

    Args:
        chain: the network.
        inputs: [batch, inputs].
        epsilon: see ``bounds.interval``.
        until: when to give up, a reading of ``time.perf_counter``.

    Returns:
        The program.

    Raises:
        TimeoutError: it took too long.
    """
    intervals = interval(chain, inputs, epsilon, gated=False)
    columns = Columns([0.0] * chain.neurons, [1.0] * chain.neurons, [1.0] * chain.neurons)
    elimination = _Elimination(chain, columns)
    logits = [
        elimination.sample(
            np.asarray(values, np.float64),
            [Interval(bound.lower[index], bound.upper[index]) for bound in intervals],
        )
        for index, values in enumerate(in_time(inputs, until))
    ]
    width = len(columns.lower)
    rows = [scipy.sparse.csr_array((0, width))]
    for entries in elimination.lazy:
        entries.matrix.resize((len(entries.constant), width))
        rows.append(entries.matrix)
    bounds = np.concatenate([np.zeros(0), *(-entries.constant for entries in elimination.lazy)])
    return Reduced(
        [Vector(each.constant, each.matrix.toarray()).widened(width) for each in logits],
        columns,
        (scipy.sparse.csr_array(scipy.sparse.vstack(rows)), bounds),
        elimination.open,
        elimination.steps,
    )


class _Elimination:
    """Walks a chain once a sample.

    Args:
        chain: the network.
        columns: takes new columns and their rows.
    """

    def __init__(self, chain: Chain, columns: Columns) -> None:
        self._chain, self._columns, self._slices = chain, columns, chain.slices()
        self.lazy: list[Entries] = []  # what must not be negative
        self.steps: list[Units | Largest] = []
        self.open = 0

    def sample(self, values: np.ndarray, bounds: list[Interval]) -> Entries:
        """The logits of one sample."""
        now = _constants(values, len(self._columns.lower))
        before = Interval(values, values)
        for step, bound in zip(self._chain.steps, bounds, strict=True):
            match step:
                case Linear(matrix, offset, gate):
                    now = Entries(matrix @ now.constant + offset, _csr(matrix @ now.matrix))
                    if gate is not None:
                        now = self._gated(now, gate, bound.upper)
                case Rectify(gate):
                    now = self._rectified(now, gate, before)
                case Maximum(windows):
                    now = self._maximum(now, windows, before)
            before = bound
        return now

    def _gated(self, now: Entries, gate: int, upper: np.ndarray) -> Entries:
        """``z - (1 - s) U``."""
        units = self._slices[gate].start + self._chain.gates[gate].units
        rise = _csr((upper, (np.arange(len(units)), units)), shape=now.matrix.shape)
        return Entries(now.constant - upper, _csr(now.matrix + rise))

    def _rectified(self, now: Entries, gate: int | None, before: Interval) -> Entries:
        positive = np.maximum(before.upper, 0)
        gated = now if gate is None else self._gated(now, gate, positive)
        active, inactive = before.lower >= 0, before.upper <= 0
        # the published rows box every unit: 0 <= h <= U where it is active, L <= z <= 0 where not
        self._boxed(gated, np.zeros(len(active)), positive, active & ~inactive)
        self._boxed(gated, before.lower, np.zeros(len(active)), inactive)
        open_ = np.flatnonzero(~active & ~inactive)
        start = gated.value(np.array(self._columns.start))
        units = [
            self._unit(gated.row(entry), start[entry], before.lower[entry], positive[entry])
            for entry in open_.tolist()
        ]
        outputs, on = np.array(units, np.int64).reshape(-1, 2).T
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
        """Rows for entries that must not be negative; constant entries need none.

        A row of one column becomes a bound of that column; later layers can use it.
        """
        lengths = np.diff(entries.matrix.indptr)
        self.lazy.append(entries.at(np.flatnonzero(lengths > 1)))
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

    def _unit(
        self,
        gated: tuple[np.ndarray, np.ndarray, float],
        value: float,
        lower: float,
        positive: float,
    ) -> tuple[int, int]:
        """``0 <= h <= v U``, ``h >= z - (1-s) U``, ``h <= z - (1-v) L - (1-s) U``: h and v."""
        columns = self._columns
        self.open += 1
        output = columns.add(0.0, float(positive), max(float(value), 0.0))
        on = columns.add(0.0, 1.0, float(value > 0), binary=True)
        columns.rows += relu_rows(gated, output, on, float(lower), float(positive))
        return output, on

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
            # entries that are 0 whatever the scores are compete with nobody
            rows = sure[best[sure] != place]
            ahead = _difference(result.at(rows), now.at(windows[rows, place]))
            self._never_negative(ahead)
            # the rival's own row, zeta = 0: the maximum may exceed it by so much and no more
            within = (others - lower)[rows, place] - ahead.constant
            self._never_negative(Entries(within, -ahead.matrix))
        columns = [
            self._open_maximum(now.at(windows[output]), lower[output], upper[output])
            for output in open_.tolist()
        ]
        return self._joined(result, sure, open_, np.array(columns, np.int64))

    def _dominant(self, now: Entries, windows: np.ndarray) -> np.ndarray:
        """The place in each window that no other exceeds, whatever the columns are; -1 without any.

        Equal pixels make equal entries, whose intervals overlap without leaving anything open.
        """
        places = range(windows.shape[1])
        found = np.full(len(windows), -1)
        for place in places:
            rows = np.flatnonzero(found < 0)
            entries, never = now.at(windows[rows, place]), np.ones(len(rows), bool)
            for other in places:
                ahead = _difference(entries, now.at(windows[rows, other]))
                never &= self._range(ahead).lower >= -EQUAL
            found[rows[never]] = place
        return found

    def _range(self, entries: Entries) -> Interval:
        """The least and the largest values of entries, whatever the columns are."""
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
        # the published bounds would not do: a gated layer's entries leave them
        least, most = self._range(inputs)
        top = columns.add(float(least.max()), float(most.max()), float(values[first]))
        chosen = [
            columns.add(0.0, 1.0, float(place == first), binary=True) for place in range(len(lower))
        ]
        ones = np.ones(len(lower))
        columns.rows += [
            Row(np.array(chosen), ones, 1.0),
            Row(np.array(chosen), -ones, -1.0),
        ]
        for place, choice in enumerate(chosen):
            indices, coefficients, constant = inputs.row(place)
            spread = float(np.delete(upper, place).max() - lower[place])
            columns.rows += [
                Row(np.append(indices, top), np.append(-coefficients, 1.0), constant),
                Row(
                    np.concatenate([indices, [top, choice]]),
                    np.concatenate([coefficients, [-1.0, -spread]]),
                    -spread - constant,
                ),
            ]
        self.steps.append(Largest(inputs, top, np.array(chosen)))
        return top

    def _joined(
        self, entries: Entries, rows: np.ndarray, open_: np.ndarray, columns: np.ndarray
    ) -> Entries:
        """Some entries as they are, columns in the place of others, 0 elsewhere."""
        constant = np.zeros(len(entries.constant))
        constant[rows] = entries.constant[rows]
        parts = [placed(entries, rows), (open_, columns, np.ones(len(open_)))]
        at, of, values = (np.concatenate(each) for each in zip(*parts, strict=True))
        shape = (len(constant), len(self._columns.lower))
        return Entries(constant, _csr((values, (at, of)), shape=shape))


def _csr(*arguments: Any, **settings: Any) -> scipy.sparse.csr_array:
    """A sparse matrix without entries that are 0."""
    made = scipy.sparse.csr_array(*arguments, **settings)
    made.eliminate_zeros()
    return made


def _constants(values: np.ndarray, columns: int) -> Entries:
    return Entries(values, scipy.sparse.csr_array((len(values), columns)))


def _difference(one: Entries, other: Entries) -> Entries:
    return Entries(one.constant - other.constant, _csr(one.matrix - other.matrix))


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
