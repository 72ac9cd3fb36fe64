"""Mode "exact": binary scores, and a bound that holds for every mask."""

import time

import numpy as np

from solvers.network.bounds import interval
from solvers.network.scaling import normalised
from solvers.programs import masked
from solvers.programs.objective import Objective
from solvers.programs.problem import PruningProblem
from solvers.programs.results import LIMITS
from solvers.programs.rows import Rows
from solvers.search import local_search
from solvers.search.incumbent import Incumbent
from solvers.search.lazy_rows import LazyRows
from solvers.search.masks import Evaluator, Mask
from solvers.search.relaxation import Relaxation
from solvers.settings import Settings
from solvers.solution import Solution, whole
from solvers.tolerances import GAP, WHOLE_NEURON

ROUNDS = 60
"""At most so many linear programs come before the first mixed-integer one."""

RESTARTS = 10
"""Local search ends after it has shaken its best mask this many times in vain."""

SEARCHED = 0.3
"""The share of a time limit that local search may take."""

SLOW = 0.002
"""If a linear program closes less than this share of the gap, the mixed-integer program begins."""

NEAR = 0.01
"""Local search starts from a mask only if its objective is at most this much worse than the best
one, relatively."""

THRESHOLDS = np.linspace(0.1, 0.9, 9)
"""Thresholds on scores; each one gives a mask to try."""


def solve(problem: PruningProblem, settings: Settings) -> Solution:
    """Finds the mask with the smallest objective, and a bound that holds for all masks.

    First local search looks for good masks, then linear programs with tangents raise the bound, and
    then a mixed-integer program closes the gap.

    With one hidden layer of a few dozen neurons that takes seconds. With several layers and more
    neurons the bound mostly stays the trivial one: a loss of 0, and as many neurons pruned as
    allowed. No cut that was tried improves it. The masks are good all the same;
    ``Solution.explain`` says what is certain.

    Args:
      problem: the network and the batch.
      settings: limits and the solver.

    Returns:
      The solution, with scores of 0 and 1; at a limit, and on Ctrl-C, the best mask so far.

    Raises:
      ImportError: the solver is not installed.
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
    """The search: its rows so far and its best mask."""

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
        self._evaluator = Evaluator(problem, most)
        self._relaxation = Relaxation(self._program, self._objective, settings.solver())
        self._seen: set[bytes] = set()
        # losses are not negative
        floor = problem.penalty(np.zeros(chain.neurons))
        self._incumbent = Incumbent(np.ones(chain.neurons), floor, self._started, settings.tell)
        self._built = time.perf_counter()
        self.consider(self._incumbent.solution)

    def run(self) -> str:
        """Narrows the gap until it is closed or a limit is reached; the status at the end."""
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
        """Whether the gap is as small as asked for."""
        return self._incumbent.closed(max(self._settings.gap, GAP))

    def consider(self, kept: np.ndarray) -> None:
        """Adds the losses' tangents at a mask, and takes it if it is better."""
        key = kept.astype(bool).tobytes()
        if key in self._seen:
            return
        self._seen.add(key)
        columns = self._program.complete(kept)
        loss = float(self._relaxation.add_tangents(columns).mean())
        value = self._problem.loss_weight * loss + self._objective.penalty(columns)
        if value < self._incumbent.value and self._evaluator.allowed(kept[None])[0]:
            self._incumbent.take(kept, value)
        self._incumbent.record()

    def relax(self) -> None:
        """Solves the linear program, adds tangents at its solution, and looks around it."""
        try:
            solved = self._relaxation.solve(self._limits.left())
        except TimeoutError:
            return
        if solved is None:  # there is a solution, but the solver does not find it
            return
        columns, bound = solved
        self._incumbent.lift(bound)
        self._relaxation.add_tangents(columns)
        near, best = self._around(columns), self._incumbent.value
        if near.objective < best + NEAR * abs(best):
            self.consider(local_search.improve(self._evaluator, near.kept, self._limits.until).kept)
        self._incumbent.record()

    def branch(self, left: float | None) -> str:
        """Solves the mixed-integer program, with tangents as its solutions need them."""
        result = self._relaxation.branch(
            time_limit=left,
            gap=max(self._settings.gap, GAP) / 2,
            memory_mb=self._settings.memory_mb,
            seed=self._settings.seed,
            start=self._start(),
            priority=range(self._problem.chain.neurons),
            separate=False,  # the solver's own planes cost several times what they save here
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
        """Considers the best of the masks that keep the scores above a threshold; that mask."""
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
        self._around(values[: self._relaxation.width])
        return self._start() if self._incumbent.value < before else None

    def _broken(self, values: np.ndarray) -> Rows:
        """The tangents that a solver's solution violates."""
        return self._objective.broken(values, self._relaxation.width, self._settings.gap)

    def solution(self, status: str) -> Solution:
        """The solution with the best mask."""
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
            rows=len(self._relaxation),
            columns=self._relaxation.columns,
            binaries=len(program.columns.binary),
            open=program.open,
            trajectory=tuple(best.trajectory),
        )


def most_pruned(problem: PruningProblem, share: float | None) -> list[int]:
    """How many neurons of each gated layer may be pruned.

    Args:
      problem: the network.
      share: the largest share of a layer, in [0, 1]; None is 1.

    Returns:
      One number per gated layer.
    """
    allowed = 1.0 if share is None else share
    return [int(np.floor(allowed * gate.neurons + WHOLE_NEURON)) for gate in problem.chain.gates]
