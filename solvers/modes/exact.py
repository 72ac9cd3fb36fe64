"""The program of all masks, solved to certainty: local search, tangents, mixed-integer programs."""

import time
from typing import Any

import numpy as np

from solvers.network.bounds import interval
from solvers.network.scaling import normalised
from solvers.programs import masked
from solvers.programs.master import master
from solvers.programs.objective import Objective
from solvers.programs.problem import PruningProblem
from solvers.programs.program import LIMITS
from solvers.programs.rows import Rows, joined
from solvers.search import local_search
from solvers.search.incumbent import Incumbent
from solvers.search.lazy_rows import LazyRows
from solvers.search.local_search import Mask
from solvers.settings import Settings
from solvers.solution import Solution, whole
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
        self._limits = settings.limits(self._started)
        most = most_pruned(problem, settings.max_prune)
        every_mask = interval(problem.chain, problem.flat, problem.epsilon, gated=True)
        chain = normalised(problem.chain, every_mask).chain
        self._program = masked.build(chain, problem.flat, most, self._limits.until)
        self._objective = Objective(
            self._program, np.asarray(problem.labels), problem.loss_weight, problem.importance
        )
        self._evaluator = local_search.Evaluator(problem, most)
        self._width = len(self._program.columns.lower)
        self._master = master(self._program, self._objective)
        self._blocks = [self._master.rows]
        self._linear = settings.solver().LinearProgram(*self._master[:3])
        self._linear.add(self._master.rows)
        self._seen: set[bytes] = set()
        # losses are not negative
        floor = problem.penalty(np.zeros(chain.neurons))
        self._incumbent = Incumbent(np.ones(chain.neurons), floor, self._started, settings.tell)
        self._built = time.perf_counter()
        self.consider(self._incumbent.solution)

    def run(self) -> str:
        """Narrows the gap until it is closed, or a limit is reached: the status."""
        until, limit = self._limits.until, self._settings.time_limit
        searched = until if limit is None else self._started + SEARCHED * limit
        for mask in local_search.search(self._evaluator, self._settings.seed, RESTARTS, searched):
            self.consider(mask.kept)
        best = self._incumbent
        for _ in range(ROUNDS):
            if self.closed or time.perf_counter() >= until:
                break
            before = best.bound
            self.relax()
            if best.bound - before < SLOW * (best.value - best.bound):
                break
        if self.closed:
            return "optimal"
        left = self._limits.left()
        if left is not None and left <= 0:
            return "time limit"
        status = self.branch(left)
        return "optimal" if self.closed else LIMITS.get(status, "precision limit")

    @property
    def closed(self) -> bool:
        """Whether the gap is what was asked for."""
        return self._incumbent.closed(max(self._settings.gap, GAP))

    def consider(self, kept: np.ndarray) -> None:
        """Adds the losses' tangents at a mask, and takes it if it is better."""
        key = kept.astype(bool).tobytes()
        if key in self._seen:
            return
        self._seen.add(key)
        columns = self._program.complete(kept)
        loss = self._tangents(columns)
        value = self._problem.loss_weight * loss + self._objective.penalty(columns)
        if value < self._incumbent.value and self._evaluator.allowed(kept[None])[0]:
            self._incumbent.take(kept, value)
        self._incumbent.record()

    def relax(self) -> None:
        """Solves the linear program, adds tangents at its solution, and looks around it."""
        try:
            solved = self._linear.solve(self._limits.left())
        except TimeoutError:
            return
        if solved is None:  # a mask is a solution: its numerics are too hard
            return
        columns = solved[0][: self._width]
        self._incumbent.lift(solved[1])
        self._tangents(columns)
        near, best = self._around(columns), self._incumbent.value
        if near.objective < best + NEAR * abs(best):
            self.consider(local_search.improve(self._evaluator, near.kept, self._limits.until).kept)
        self._incumbent.record()

    def branch(self, left: float | None) -> str:
        """Solves the mixed-integer program, with tangents as its solutions need them."""
        result: Any = self._settings.solver().solve_mip(
            *self._master[:3],
            self._program.columns.binary,
            joined(self._blocks),
            time_limit=left,
            gap=max(self._settings.gap, GAP) / 2,
            memory_mb=self._settings.memory_mb,
            seed=self._settings.seed,
            start=self._start(),
            priority=range(self._problem.chain.neurons),
            separate=False,  # its own planes cost these programs several times what they bring
            on_incumbent=lambda _, bound, values: self._improved(values, bound),
            lazy=self._broken,
            complete=self._completed,
        )
        self._improved(result.values, result.bound)
        return result.status

    def _improved(self, values: np.ndarray | None, bound: float) -> None:
        self._incumbent.lift(bound)
        if values is not None:
            self.consider(np.round(values[: self._problem.chain.neurons]))
        self._incumbent.record()

    def _start(self) -> np.ndarray:
        """The best mask with its losses and penalty."""
        return self._objective.completed(self._program.complete(self._incumbent.solution))

    def _around(self, columns: np.ndarray) -> Mask:
        """The best mask that keeps the scores above some threshold; it is considered, too."""
        scores = columns[: self._problem.chain.neurons]
        masks = np.unique((scores >= THRESHOLDS[:, None]).astype(np.float64), axis=0)
        values = self._evaluator.objectives(masks)
        near = Mask(masks[values.argmin()], float(values.min()))
        if near.objective < np.inf:
            self.consider(near.kept)
        return near

    def _completed(self, values: np.ndarray) -> np.ndarray | None:
        """A better mask near a solver's solution, or None."""
        before = self._incumbent.value
        self._around(values[: self._width])
        return self._start() if self._incumbent.value < before else None

    def _broken(self, values: np.ndarray) -> Rows:
        """The tangents that a solver's solution violates."""
        return self._objective.broken(values, self._width, self._settings.gap)

    def solution(self, status: str) -> Solution:
        """The answer."""
        best, program, chain = self._incumbent, self._program, self._problem.chain
        columns = program.complete(best.solution)
        solved = time.perf_counter()
        return Solution(
            layers=chain.names,
            scores=chain.split(best.solution),
            status=status,
            objective=best.value,
            bound=best.bound,
            bound_scope="all-masks",
            loss=float(self._objective.losses(columns)[0].mean()),
            problem=self._problem,
            violation=max(0.0, LazyRows(program).violation(columns)),
            seconds={"build": self._built - self._started, "solve": solved - self._built},
            rows=sum(map(len, self._blocks)),
            columns=len(self._master.costs),
            binaries=len(program.columns.binary),
            open=program.open,
            trajectory=tuple(best.trajectory),
        )

    def _tangents(self, columns: np.ndarray) -> float:
        """Adds the tangents at a point; the mean loss there."""
        values, rows = self._objective.tangents(columns, self._width)
        self._blocks.append(rows)
        self._linear.add(rows)
        return float(values.mean())


def most_pruned(problem: PruningProblem, share: float | None) -> list[int]:
    """How many neurons of each gated layer may be pruned."""
    allowed = 1.0 if share is None else share
    return [int(np.floor(allowed * gate.neurons + WHOLE_NEURON)) for gate in problem.chain.gates]
