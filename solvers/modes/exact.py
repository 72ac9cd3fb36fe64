"""The program of all masks, solved to certainty: local search, tangents, mixed-integer programs."""

import time
from typing import Any

import numpy as np

from solvers.modes.whole import whole
from solvers.network.bounds import interval
from solvers.network.scaling import normalised
from solvers.programs import masked, reduced
from solvers.programs.objective import Objective
from solvers.programs.problem import PruningProblem
from solvers.programs.program import LIMITS
from solvers.programs.rows import Row
from solvers.search import local_search
from solvers.search.certificates import certified
from solvers.search.local_search import Mask
from solvers.settings import Settings
from solvers.solution import Solution
from solvers.tolerances import GAP, WHOLE_NEURON

ROUNDS = 60
"""How many linear programs come before the first mixed-integer one, at most."""

RESTARTS = 10
"""How often local search shakes its best mask in vain before it ends."""

SEARCHED = 0.3
"""Of a time limit the part that local search may take."""

SLOW = 0.002
"""If a linear program closes a smaller part of the gap, the mixed-integer program begins."""

NEAR = 0.01
"""Local search starts from a mask only if its objective is at most this much worse than the best
one, relatively."""

THRESHOLDS = np.linspace(0.1, 0.9, 9)
"""For scores: each threshold gives a mask that is tried."""


def solve(problem: PruningProblem, settings: Settings) -> Solution:
    """The mask with the smallest objective, and a bound that holds for all masks.

    Args:
        problem: the network and the batch.
        settings: limits and the solver.

    Returns:
        The solution: scores of 0 and 1. At a limit, and on Ctrl-C, the best mask so far. With one
        hidden layer the gap closes in seconds. With several layers and more than a few dozen
        neurons the bound mostly stays trivial: a loss of 0, and all neurons pruned that may be. No
        cut that was tried improves it. The masks are good all the same; ``Solution.explain`` says
        what is certain.
    """
    started = time.perf_counter()
    try:
        search = _Search(problem, settings)
    except TimeoutError:
        return whole(problem, "all-masks", "time limit", time.perf_counter() - started)
    status = "optimal"
    try:
        status = search.run()
    except KeyboardInterrupt:
        status = "interrupted"
    return search.solution(status)


class _Search:
    """The rows so far, the best mask and the bound."""

    def __init__(self, problem: PruningProblem, settings: Settings) -> None:
        self._started = time.perf_counter()
        self._problem, self._settings = problem, settings
        batch = len(problem.labels)
        most = most_pruned(problem, settings.max_prune)
        every_mask = interval(problem.chain, problem.flat, problem.epsilon, gated=True)
        chain = normalised(problem.chain, every_mask).chain
        self._program = masked.build(chain, problem.flat, most, settings.until(self._started))
        columns = self._program.columns
        self._objective = Objective(
            self._program,
            np.asarray(problem.labels),
            problem.loss_weight,
            reduced.penalty_rows(chain.gates),
            problem.largest,
        )
        self._evaluator = local_search.Evaluator(problem, most)
        self._width = len(columns.lower)
        weight = problem.loss_weight / batch
        self._costs = np.concatenate([np.zeros(self._width), np.full(batch, weight), [1.0]])
        self._lower = np.concatenate([columns.lower, np.zeros(batch), [-np.inf]])
        self._upper = np.concatenate([columns.upper, np.full(batch + 1, np.inf)])
        self._rows = [*columns.rows, *self._objective.penalty_rows(self._width + batch)]
        self._lp = settings.solver().LinearProgram(self._costs, self._lower, self._upper)
        self._lp.add(self._rows)
        self._seen: set[bytes] = set()
        self._trajectory: list[tuple[float, ...]] = []
        self._best = Mask(np.ones(chain.neurons), np.inf)
        # losses are not negative
        self._floor = self._objective.penalty(np.zeros(chain.neurons))
        self._bound = self._floor
        self._built = time.perf_counter()
        self.consider(self._best.kept)

    def run(self) -> str:
        """Narrows the gap until it is closed, or a limit is reached: the status."""
        limit = self._settings.time_limit
        until = np.inf if limit is None else self._started + limit
        searched = until if limit is None else self._started + SEARCHED * limit
        for mask in local_search.search(self._evaluator, self._settings.seed, RESTARTS, searched):
            self.consider(mask.kept)
        for _ in range(ROUNDS):
            if self.closed or time.perf_counter() >= until:
                break
            before = self._bound
            self.relax(until)
            if self._bound - before < SLOW * (self._best.objective - self._bound):
                break
        if self.closed:
            return "optimal"
        left = None if limit is None else until - time.perf_counter()
        if left is not None and left <= 0:
            return "time limit"
        status = self.branch(left)
        return "optimal" if self.closed else LIMITS.get(status, "precision limit")

    @property
    def gap(self) -> float:
        """Between the best mask and the bound, relative."""
        return (self._best.objective - self._bound) / max(1.0, abs(self._best.objective))

    @property
    def closed(self) -> bool:
        """Whether the gap is what was asked for."""
        return self.gap <= max(self._settings.gap, GAP)

    def consider(self, kept: np.ndarray) -> None:
        """Adds the losses' tangents at a mask, and takes it if it is better."""
        key = kept.astype(bool).tobytes()
        if key in self._seen:
            return
        self._seen.add(key)
        columns = self._program.complete(kept)
        loss = self._tangents(columns)
        value = self._problem.loss_weight * loss + self._objective.penalty(columns)
        if value < self._best.objective and self._evaluator.allowed(kept[None])[0]:
            self._best = Mask(kept, value)
        self._moved()

    def relax(self, until: float) -> None:
        """Solves the linear program, adds tangents at its solution, and looks around it."""
        try:
            solved = self._lp.solve(None if until == np.inf else until - time.perf_counter())
        except TimeoutError:
            return
        if solved is None:  # a mask is a solution: its numerics are too hard
            return
        columns = solved[0][: self._width]
        self._bound = max(self._bound, solved[1])
        self._tangents(columns)
        near = self._around(columns)
        if near.objective < self._best.objective + NEAR * abs(self._best.objective):
            self.consider(local_search.improve(self._evaluator, near.kept, until).kept)
        self._moved()

    def branch(self, left: float | None) -> str:
        """Solves the mixed-integer program, with tangents as its solutions need them."""
        neurons = len(self._best.kept)
        result: Any = self._settings.solver().solve_mip(
            self._costs,
            self._lower,
            self._upper,
            self._program.columns.binary,
            self._rows,
            time_limit=left,
            gap=max(self._settings.gap, GAP) / 2,
            memory_mb=self._settings.memory_mb,
            seed=self._settings.seed,
            start=self._start(),
            priority=range(neurons),
            separate=False,  # its own planes cost these programs several times what they bring
            on_incumbent=lambda _, bound, values: self._incumbent(values, bound),
            lazy=self._broken,
            complete=self._completed,
        )
        self._incumbent(result.values, result.bound)
        return result.status

    def _incumbent(self, values: np.ndarray | None, bound: float) -> None:
        self._bound = max(self._bound, bound)
        if values is not None:
            self.consider(np.round(values[: len(self._best.kept)]))
        self._moved()

    def _start(self) -> np.ndarray:
        """The best mask with its losses and penalty."""
        columns = self._program.complete(self._best.kept)
        losses = self._objective.losses(columns)[0]
        return np.concatenate([columns, losses, [self._objective.penalty(columns)]])

    def _around(self, columns: np.ndarray) -> Mask:
        """The best mask that keeps the scores above some threshold; it is considered, too."""
        scores = columns[: len(self._best.kept)]
        masks = np.unique((scores >= THRESHOLDS[:, None]).astype(np.float64), axis=0)
        values = self._evaluator.objectives(masks)
        near = Mask(masks[values.argmin()], float(values.min()))
        if near.objective < np.inf:
            self.consider(near.kept)
        return near

    def _completed(self, values: np.ndarray) -> np.ndarray | None:
        """A better mask near a solver's solution, or None."""
        before = self._best.objective
        self._around(values[: self._width])
        return self._start() if self._best.objective < before else None

    def _broken(self, values: np.ndarray) -> list[Row]:
        """The tangents that a solver's solution violates."""
        return self._objective.broken(values, self._width, self._settings.gap)

    def solution(self, status: str) -> Solution:
        """The answer."""
        kept, program = self._best.kept, self._program
        columns = program.complete(kept)
        solved = time.perf_counter()
        return Solution(
            layers=tuple(gate.name for gate in self._problem.chain.gates),
            scores=tuple(kept[part] for part in self._problem.chain.slices()),
            status=status,
            objective=self._best.objective,
            bound=self._bound,
            bound_scope="all-masks",
            loss=float(self._objective.losses(columns)[0].mean()),
            problem=self._problem,
            violation=self._violation(columns),
            seconds={"build": self._built - self._started, "solve": solved - self._built},
            rows=len(self._rows),
            columns=len(self._costs),
            binaries=len(program.columns.binary),
            open=program.open,
            trajectory=tuple(self._trajectory),
        )

    def _tangents(self, columns: np.ndarray) -> float:
        """Adds the tangents at a point; the mean loss there."""
        values, rows = self._objective.tangents(columns, self._width)
        self._rows += rows
        self._lp.add(rows)
        return float(values.mean())

    def _violation(self, columns: np.ndarray) -> float:
        """By how much the columns break a row or a bound, at most."""
        known = self._program.columns
        broken = [row.violation(columns) for row in known.rows]
        outside = np.maximum(np.array(known.lower) - columns, columns - np.array(known.upper))
        return max(0.0, float(outside.max()), *broken)

    def _moved(self) -> None:
        self._bound = certified(self._bound, self._best.objective, self._floor)
        moved = (self._best.objective, self._bound)
        if not self._trajectory or moved != self._trajectory[-1][1:]:
            self._trajectory.append((time.perf_counter() - self._started, *moved))
            self._settings.tell(*self._trajectory[-1])


def most_pruned(problem: PruningProblem, share: float | None) -> list[int]:
    """How many neurons of each gated layer may be pruned."""
    allowed = 1.0 if share is None else share
    return [int(np.floor(allowed * gate.neurons + WHOLE_NEURON)) for gate in problem.chain.gates]
