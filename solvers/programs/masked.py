"""The program of all masks: binary scores s, neurons that put out ``s relu(z)``.

The input z of a unit is affine in columns: scores, outputs h of units before it, maxima. A unit
with a constant input puts out ``s relu(z)``, which is linear in s, so that it needs no column; the
first layer of neurons therefore has none. The rows hold for every mask, and for binary s their only
solution is the masked network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from solvers.network.bounds import Interval
from solvers.network.chain import Chain, Linear, Maximum, Rectify
from solvers.programs.activations import maximum_rows, relu_rows
from solvers.programs.affine import AffineProgram, Columns, dense
from solvers.programs.entries import Entries, Largest, Units, placed
from solvers.programs.rows import Row, joined, stacked
from solvers.settings import in_time
from solvers.tolerances import ZERO


def build(
    chain: Chain, inputs: np.ndarray, most: Sequence[int], until: float = np.inf
) -> AffineProgram:
    """Makes the program of a network and a batch.

    Args:
      chain: the network.
      inputs: [batch, inputs].
      most: how many neurons of each gated layer may be pruned. A number below the layer's own
        gives a row, and closer bounds.
      until: when to give up, a reading of ``time.perf_counter``.

    Returns:
      The program.

    Raises:
      TimeoutError: the program was not complete in time.
    """
    builder = _Builder(chain, most)
    logits = [builder.sample(np.asarray(values, np.float64)) for values in in_time(inputs, until)]
    width = len(builder.columns.lower)
    return AffineProgram(
        [dense(each, width) for each in logits],
        builder.columns,
        joined([]),
        builder.open,
        builder.steps,
    )


@dataclass
class _Builder:
    """Walks along the chain, once per sample."""

    chain: Chain
    most: Sequence[int]
    columns: Columns = field(init=False)
    steps: list[Units | Largest] = field(default_factory=list)
    open: int = 0

    def __post_init__(self) -> None:
        count = self.chain.neurons
        self.columns = Columns.of_scores(count, binary=True)
        # for each column: the neuron without which it is 0, and its smallest value with that neuron
        self._owner, self._floor = list(range(count)), [1.0] * count
        for gate, part, most in zip(self.chain.gates, self.chain.slices(), self.most, strict=True):
            if most < gate.neurons:
                kept = np.arange(part.start, part.stop), np.ones(gate.neurons)
                self.columns.blocks.append(stacked([Row(*kept, gate.neurons - most)]))

    def sample(self, values: np.ndarray) -> Entries:
        """The logits of one sample."""
        now = Entries.of_constants(values, len(self.columns.lower))
        for index, step in enumerate(self.chain.steps):
            match step:
                case Linear():
                    now = now.through(step)
                case Rectify():
                    now = self._rectified(now, self.chain.owners.get(index))
                case Maximum(windows):
                    now = self._maximum(now, windows)
        return now

    def bounds(self, entries: Entries) -> Interval:
        """Bounds that hold for every mask with enough neurons.

        A neuron contributes 0 if it is pruned. So the smallest sum adds up the neurons' smallest
        contributions, but leaves out the largest positive ones: as many as neurons may be pruned.

        Args:
          entries: the entries.

        Returns:
          The bounds, [entries].
        """
        matrix, count = entries.matrix, self.chain.neurons
        width = matrix.shape[1]
        floor, upper = np.array(self._floor[:width]), np.array(self.columns.upper[:width])
        owner = np.array(self._owner[:width])[matrix.indices]
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        ends = np.stack([floor[matrix.indices], upper[matrix.indices]]) * matrix.data
        each = [
            np.bincount(
                rows * (count + 1) + owner, values, minlength=matrix.shape[0] * (count + 1)
            ).reshape(-1, count + 1)
            for values in (ends.min(axis=0), -ends.max(axis=0))
        ]
        # the last place holds the columns that no neuron switches off
        sums = [values[:, count].copy() for values in each]
        for part, most in zip(self.chain.slices(), self.most, strict=True):
            for total, values in zip(sums, each, strict=True):
                gains = np.sort(np.maximum(values[:, part], 0), axis=1)[:, ::-1][:, :most]
                total += values[:, part].sum(axis=1) - gains.sum(axis=1)
        return Interval(entries.constant + sums[0], entries.constant - sums[1])

    def _rectified(self, now: Entries, neurons: np.ndarray | None) -> Entries:
        lower, upper = self.bounds(now)
        fixed = np.diff(now.matrix.indptr) == 0
        positive = np.maximum(now.constant, 0)
        if neurons is None:
            simple = fixed | (upper <= ZERO)
            passed = ~simple & (lower >= -ZERO)
            neurons = np.full(len(fixed), -1)
            constant = np.where(fixed, positive, np.where(passed, now.constant, 0))
            parts = [placed(now, np.flatnonzero(passed))]
            varying = np.flatnonzero(~simple & ~passed)
        else:
            rows = np.flatnonzero(fixed & (positive > 0))
            constant = np.zeros(len(fixed))
            parts = [(rows, neurons[rows], positive[rows])]
            varying = np.flatnonzero(~fixed & (upper > ZERO))
        outputs, on = self._units(now.at(varying), lower[varying], upper[varying], neurons[varying])
        self._follow(Units(now.at(varying), outputs, on, neurons[varying]))
        parts.append((varying, outputs, np.ones(len(varying))))
        return Entries.of_parts(constant, parts, len(self.columns.lower))

    def _units(
        self, inputs: Entries, lower: np.ndarray, upper: np.ndarray, neurons: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """``0 <= h <= U v``, ``v <= s``, ``h >= z - U (1 - s)``, ``h <= z - L (1 - v)``.

        A unit that is active whenever its neuron is kept has ``v = s``; without a neuron, s is 1.

        Returns:
          The columns of h, [units], and those of v, [units]; -1 where v is s.
        """
        active = lower >= -ZERO
        widths = np.where(active, 1, 2)
        outputs = len(self.columns.lower) + np.cumsum(widths) - widths
        on = np.where(active, neurons, outputs + 1)
        self.open += int(np.sum(~active))
        for low, high, neuron, sure in zip(
            lower.tolist(), upper.tolist(), neurons.tolist(), active.tolist(), strict=True
        ):
            self._column(0.0, high, neuron, max(low, 0.0))
            if not sure:
                self._column(0.0, 1.0, neuron, 0.0, binary=True)
        if len(outputs):
            least = np.where(active, np.maximum(lower, 0.0), lower)
            # neurons are -1 in a layer whose neurons cannot be pruned, and never -1 elsewhere
            gates = neurons if neurons[0] >= 0 else None
            rows = relu_rows(inputs, outputs, on, least, upper, gates)
            linked = np.flatnonzero(~active & (neurons >= 0))
            pairs = [
                Row(np.array(pair), np.array([1.0, -1.0]), 0.0)
                for pair in zip(neurons[linked].tolist(), on[linked].tolist(), strict=True)
            ]
            of_unit = np.concatenate([4 * linked, 4 * np.arange(len(outputs)).repeat(3) + 1])
            block = joined([stacked(pairs), rows])
            self.columns.blocks.append(block.at(np.argsort(of_unit, kind="stable")))
        return outputs, np.where(active, -1, on)

    def _maximum(self, now: Entries, windows: np.ndarray) -> Entries:
        lower, upper = self.bounds(now)
        start = now.value(np.array(self.columns.start))[windows]
        chosen = windows[np.arange(len(windows)), start.argmax(axis=1)]
        rivals = np.zeros(windows.shape, bool)
        best = now.at(chosen)
        for place in range(windows.shape[1]):
            ahead = best.minus(now.at(windows[:, place]))
            rivals[:, place] = (windows[:, place] != chosen) & (self.bounds(ahead).lower < -ZERO)
        open_ = rivals.any(axis=1)
        parts = [placed(best, np.flatnonzero(~open_))]
        constant = np.where(open_, 0, best.constant)
        competing = [
            np.append(chosen[place], windows[place][rivals[place]])
            for place in np.flatnonzero(open_)
        ]
        outputs = [self._largest(now.at(part), lower[part], upper[part]) for part in competing]
        parts.append((np.flatnonzero(open_), np.array(outputs, np.int64), np.ones(len(outputs))))
        return Entries.of_parts(constant, parts, len(self.columns.lower))

    def _largest(self, inputs: Entries, lower: np.ndarray, upper: np.ndarray) -> int:
        """``m >= x_i``, ``m <= x_i + (1 - zeta_i) (max other U - L_i)``, ``sum zeta = 1``."""
        self.open += 1
        owners = {self._owner[column] for column in inputs.matrix.indices}
        owned = len(owners) == 1 and not inputs.constant.any()
        owner = owners.pop() if owned else self.chain.neurons
        # an owned maximum's smallest value is taken as that of a pruned neuron
        least = float(lower.max())
        output = self._column(least, float(upper.max()), owner, least)
        chosen = [self._column(0.0, 1.0, owner, 0.0, binary=True) for _ in lower]
        self.columns.blocks.append(maximum_rows(inputs, output, np.array(chosen), lower, upper))
        self._follow(Largest(inputs, output, np.array(chosen)))
        return output

    def _follow(self, step: Units | Largest) -> None:
        start = np.array(self.columns.start)
        step.complete(start)
        self.columns.start[:] = start.tolist()
        self.steps.append(step)

    def _column(
        self, lower: float, upper: float, owner: int, floor: float, *, binary: bool = False
    ) -> int:
        self._owner.append(owner if owner >= 0 else self.chain.neurons)
        self._floor.append(floor)
        return self.columns.add(lower, upper, 0.0, binary=binary)
