"""The published program with all its variables, as it is written down, exported and solved.

ElAraby, Wolf and Carvalho, "Identifying Critical Neurons in ANN Architectures using Mixed Integer
Programming" (2023). For sample b and layer input h, ``z = h W + bias``; L and U are the bounds of z
in the whole network, and ``U+ = max(U, 0)``. Variables: h, and v in {0, 1}, per sample and unit;
zeta in {0, 1} per entry of a maximum's window; s in [0, 1] per neuron, shared by the batch; the
logits o, theta_b, P.

    ReLU                   h >= 0, h <= v U+, h >= z - (1-s) U+, h <= z - (1-v) L - (1-s) U+
    gated, no ReLU yet     h = z - (1-s) U
    maximum                m >= x_i, m <= x_i + (1-zeta_i) (max of the other U - L_i), sum zeta = 1
    last layer             o = z
    penalty                P >= the sum of the I_l of any L-1 of the L gated layers
    loss                   theta_b >= log sum_k exp(o_bk) - o_b,label      (not a row: not linear)

Objective: ``lambda mean_b theta_b + P``. Average pools, and batch normalisation that is not folded
into a layer, have no rows: they are part of the next z.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from solvers.network.bounds import Interval, interval, largest_other
from solvers.network.chain import Chain, Linear, Maximum, Rectify
from solvers.network.losses import cross_entropy
from solvers.programs.builder import Builder
from solvers.programs.explicit_rows import (
    Placed,
    Writer,
    of_batch,
    readable,
    spread,
    write_penalty,
)
from solvers.programs.problem import PruningProblem
from solvers.programs.program import Loss, Program
from solvers.programs.rows import Row, Rows, stacked
from solvers.settings import in_time


@dataclass(frozen=True, eq=False)
class Formulation:
    """The program of a problem, and which columns hold what.

    Attributes:
      problem: the network and the batch.
      chain: the network, maybe in other units.
      units: for each column, the value in the network's own units that is 1 here, [columns].
      program: without the losses; its first columns are the scores.
      bounds: on the inputs and on the outputs of each step, in the whole network.
      placed: the columns of each step; None for steps that are part of the next one.
      losses: the columns theta, [batch].
      penalty: the column P.
      open: how many units and maxima the bounds leave undecided.
    """

    problem: PruningProblem
    chain: Chain
    units: np.ndarray
    program: Program
    bounds: list[Interval]
    placed: list[Placed | None]
    losses: np.ndarray
    penalty: int
    open: int

    @property
    def logits(self) -> np.ndarray:
        """The logits' columns, [batch, classes]."""
        last = self.placed[-1]
        assert last is not None  # the last layer always has columns
        return last.outputs

    @property
    def exact_losses(self) -> list[Loss]:
        """The losses as constraints, for a solver that takes exponentials."""
        return [
            Loss(logits.tolist(), int(logits[label]), int(theta))
            for logits, label, theta in zip(
                self.logits, np.asarray(self.problem.labels), self.losses, strict=True
            )
        ]

    def cross_entropy(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The losses of the logits in ``values``, [batch], and their slopes, [batch, classes]."""
        return cross_entropy(values[self.logits], np.asarray(self.problem.labels))

    def tangents(self, values: np.ndarray) -> Rows:
        """Rows ``theta_b >= loss_b + slope (o_b - logits_b)`` at a point, one per sample."""
        losses, slopes = self.cross_entropy(values)
        at = values[self.logits]
        rows = [
            Row(np.append(columns, theta), np.append(-slope, 1.0), float(loss - slope @ point))
            for columns, theta, slope, loss, point in zip(
                self.logits, self.losses, slopes, losses, at, strict=True
            )
        ]
        return stacked(rows)

    def in_units(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        """Converts rows over columns in the network's own units to this program's units."""
        return {
            name: row._replace(coefficients=row.coefficients * self.units[row.indices])
            for name, row in rows.items()
        }

    def objective(self, values: np.ndarray) -> float:
        """The objective that the logits and the scores in ``values``, [columns], really have."""
        losses, _ = self.cross_entropy(values)
        penalty = self.problem.penalty(values[: self.chain.neurons])
        return self.problem.loss_weight * float(losses.mean()) + penalty

    def complete(self, scores: np.ndarray) -> np.ndarray:
        """The values of all columns that follow from scores.

        The rows determine all of them but the binaries; these are set so that they violate rows
        least.

        Args:
          scores: [neurons].

        Returns:
          The values, [columns]. They violate rows if the scores are not feasible.
        """
        chain = self.chain
        values = np.zeros(len(self.program.costs))
        values[: chain.neurons] = scores
        now = self.problem.flat
        for step, place, before, after in zip(
            chain.steps, self.placed, self.bounds, self.bounds[1:], strict=False
        ):
            gate = None if isinstance(step, Maximum) else step.gate
            lost = 0.0
            if gate is not None:
                lost = 1 - scores[chain.slices()[gate]][chain.gates[gate].units]
            binaries = None
            match step:
                case Linear(matrix, offset):
                    now = now @ matrix.T + offset - lost * after.upper
                case Rectify():
                    positive = np.maximum(before.upper, 0)
                    rest = now - lost * positive
                    now = np.maximum(rest, 0)
                    on = np.maximum(now - rest, now - positive)
                    off = np.maximum(now, before.lower - rest + now)
                    binaries = on < off
                case Maximum(windows):
                    entries = now[:, windows]
                    now = entries.max(axis=2)
                    behind = now[:, :, None] - entries
                    broken = behind - spread(before.lower[:, windows], before.upper[:, windows])
                    chosen = np.maximum(behind, largest_other(broken)).argmin(axis=2)
                    binaries = chosen[:, :, None] == np.arange(windows.shape[1])
            if place is not None:
                values[place.outputs] = now
                if place.binaries is not None and binaries is not None:
                    values[place.binaries] = binaries
        values[self.losses], _ = self.cross_entropy(values)
        values[self.penalty] = self.problem.penalty(scores)
        return values


def formulate(
    problem: PruningProblem, *, normal: bool = False, until: float = np.inf
) -> Formulation:
    """Writes the published program down, row by row.

    Args:
      problem: the network and the batch.
      normal: True for units in which every column is about 1, as solvers need them, see
        ``network.scaling``; False for the network's own.
      until: when to give up, a reading of ``time.perf_counter``.

    Returns:
      The program.

    Raises:
      TimeoutError: the program was not complete in time.
    """
    chain, builder = problem.chain, Builder()
    scales = [np.ones(1)] * len(chain.steps)
    if normal:
        chain, scales = problem.normal
    for gate, name in zip(chain.gates, readable([gate.name for gate in chain.gates]), strict=True):
        builder.columns([f"s_{name}_{unit}" for unit in range(gate.neurons)], 0.0, 1.0)
    inputs = problem.flat
    bounds = [
        Interval(inputs, inputs),
        *interval(chain, inputs, problem.epsilon, gated=False),
    ]
    writer = Writer(problem, chain, builder)
    placed = [
        writer.sample(index, [Interval(bound.lower[index], bound.upper[index]) for bound in bounds])
        for index in in_time(range(len(inputs)), until)
    ]
    names = [f"loss_s{index}" for index in range(len(inputs))]
    losses = builder.columns(names, 0.0, cost=problem.loss_weight / len(inputs))
    penalty = int(builder.columns(["penalty"], cost=1.0)[0])
    write_penalty(builder, problem, penalty)
    program = builder.build()
    stacks = [of_batch(list(of_step)) for of_step in zip(*placed, strict=True)]
    units = np.ones(len(program.costs))
    for place, scale in zip(stacks, scales, strict=True):
        if place is not None:
            units[place.outputs] = scale
    return Formulation(
        problem=problem,
        chain=chain,
        units=units,
        program=program,
        bounds=bounds,
        placed=stacks,
        losses=losses,
        penalty=penalty,
        open=writer.open,
    )
