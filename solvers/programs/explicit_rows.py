"""The rows of the explicit program, written sample by sample; ``explicit`` lists them."""

import re
from typing import NamedTuple

import numpy as np
import scipy.sparse

from solvers.network.bounds import Interval, largest_other
from solvers.network.chain import Chain, Linear, Maximum, Rectify
from solvers.programs.builder import Builder
from solvers.programs.entries import Entries
from solvers.programs.problem import PruningProblem


class Placed(NamedTuple):
    """The columns of a step, of one sample or, with a first axis, of the batch.

    Attributes:
      outputs: [entries].
      binaries: [entries], [entries, window] for a maximum; None where the step has none.
    """

    outputs: np.ndarray
    binaries: np.ndarray | None = None


class Writer:
    """Writes the rows of samples.

    Args:
      problem: the network and the batch.
      chain: the network, maybe in other units.
      builder: collects columns and rows; its first columns are the scores.

    Attributes:
      open: how many units and maxima of the samples so far the bounds leave undecided.
    """

    def __init__(self, problem: PruningProblem, chain: Chain, builder: Builder) -> None:
        self._problem, self._chain, self._builder = problem, chain, builder
        self._names = readable(
            [
                "logits" if index == len(self._chain.steps) - 1 else _title(self._chain, index)
                for index in range(len(self._chain.steps))
            ]
        )
        self.open = 0

    def sample(self, index: int, bounds: list[Interval]) -> list[Placed | None]:
        """Writes the rows of one sample.

        Args:
          index: the sample's number.
          bounds: on its inputs and on the outputs of each step.

        Returns:
          The columns of each step; None for steps that are part of the next one.
        """
        values = self._problem.flat[index]
        now = Entries.of_constants(values, self._chain.neurons)
        placed: list[Placed | None] = []
        for position, (step, before, after) in enumerate(
            zip(self._chain.steps, bounds, bounds[1:], strict=False)
        ):
            title = f"s{index}_{self._names[position]}"
            place = None
            match step:
                case Linear():
                    now = now.through(step)
                    if step.gate is not None:
                        place = self._gated(now, title, step.gate, after)
                    elif position == len(self._chain.steps) - 1:
                        place = self._logits(now, title)
                case Rectify(gate):
                    place = self._rectified(now, title, gate, before)
                case Maximum(windows):
                    place = self._maximum(now, title, windows, before)
            if place is not None:
                now = Entries.of_columns(place.outputs)
            placed.append(place)
        return placed

    def _gate(self, gate: int, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The term ``-U s`` of each entry of a layer: columns and coefficients."""
        return self._chain.slices()[gate].start + self._chain.gates[gate].units, -upper

    def _gated(self, now: Entries, title: str, gate: int, bound: Interval) -> Placed:
        count = len(now.constant)
        outputs = self._builder.columns(_each("h", title, count))
        self._builder.rows(
            _each("gate", title, count),
            [(outputs, 1.0), self._gate(gate, bound.upper)],
            now.constant - bound.upper,
            now.constant - bound.upper,
            minus=now.matrix,
        )
        return Placed(outputs)

    def _logits(self, now: Entries, title: str) -> Placed:
        count = len(now.constant)
        outputs = self._builder.columns(_each("o", title, count))
        self._builder.rows(
            _each("logit", title, count),
            [(outputs, 1.0)],
            now.constant,
            now.constant,
            minus=now.matrix,
        )
        return Placed(outputs)

    def _rectified(self, now: Entries, title: str, gate: int | None, before: Interval) -> Placed:
        count, positive = len(now.constant), np.maximum(before.upper, 0)
        outputs = self._builder.columns(_each("h", title, count), 0.0)
        on = self._builder.columns(_each("v", title, count), 0.0, 1.0, binary=True)
        gates, lost = [], np.zeros(count)
        if gate is not None:
            gates, lost = [self._gate(gate, positive)], positive
        self._builder.rows(
            _each("relu_on", title, count), [(outputs, 1.0), (on, -positive)], upper=0.0
        )
        self._builder.rows(
            _each("relu_lower", title, count),
            [(outputs, 1.0), *gates],
            lower=now.constant - lost,
            minus=now.matrix,
        )
        self._builder.rows(
            _each("relu_upper", title, count),
            [(outputs, 1.0), *gates, (on, -before.lower)],
            upper=now.constant - before.lower - lost,
            minus=now.matrix,
        )
        self.open += int(np.sum((before.lower < 0) & (before.upper > 0)))
        return Placed(outputs, on)

    def _maximum(self, now: Entries, title: str, windows: np.ndarray, before: Interval) -> Placed:
        count, size = windows.shape
        outputs = self._builder.columns(_each("m", title, count))
        chosen = self._builder.columns(
            [f"zeta_{title}_{output}_{place}" for output in range(count) for place in range(size)],
            0.0,
            1.0,
            binary=True,
        ).reshape(windows.shape)
        slack = spread(before.lower[windows], before.upper[windows])
        for place in range(size):
            entries = now.matrix[windows[:, place]]
            constant = now.constant[windows[:, place]]
            names = [f"{title}_{output}_{place}" for output in range(count)]
            self._builder.rows(
                [f"max_lower_{name}" for name in names],
                [(outputs, 1.0)],
                lower=constant,
                minus=entries,
            )
            self._builder.rows(
                [f"max_upper_{name}" for name in names],
                [(outputs, 1.0), (chosen[:, place], slack[:, place])],
                upper=constant + slack[:, place],
                minus=entries,
            )
        self._builder.rows(
            _each("max_one", title, count),
            [(chosen[:, place], 1.0) for place in range(size)],
            1.0,
            1.0,
        )
        lower = before.lower[windows]
        self.open += int(np.sum((lower < largest_other(before.upper[windows])).all(axis=1)))
        return Placed(outputs, chosen)


def write_penalty(builder: Builder, problem: PruningProblem, column: int) -> None:
    """Writes the rows of P, one per choice of layers; see ``Importance.choices``."""
    for layers, weights, offset in problem.importance.choices():
        builder.rows(
            ["penalty_" + "_".join(map(str, layers))],
            [(np.array([column]), 1.0)],
            lower=offset,
            minus=scipy.sparse.csr_array(weights[None]),
        )


def spread(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """``max of the other U - L_i``: how far a maximum may exceed each entry; 0 if it is alone."""
    if lower.shape[-1] == 1:
        return np.zeros_like(lower)
    return largest_other(upper) - lower


def of_batch(places: list[Placed | None]) -> Placed | None:
    """The columns of a step of all samples, from those of each sample."""
    columns = [place for place in places if place is not None]
    if not columns:
        return None
    binaries = [place.binaries for place in columns if place.binaries is not None]
    return Placed(
        np.stack([place.outputs for place in columns]), np.stack(binaries) if binaries else None
    )


def _title(chain: Chain, index: int) -> str:
    step = chain.steps[index]
    gate = None if isinstance(step, Maximum) else step.gate
    return f"{type(step).__name__.lower()}{index}" if gate is None else chain.gates[gate].name


def _each(prefix: str, title: str, count: int) -> list[str]:
    return [f"{prefix}_{title}_{entry}" for entry in range(count)]


def readable(titles: list[str]) -> list[str]:
    """Makes names that every file format takes, and that are all different."""
    names: list[str] = []
    for place, title in enumerate(titles):
        name = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_")[:60]
        names.append(name if name and name not in names else f"{name}_at{place}")
    return names
