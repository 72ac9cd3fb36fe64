"""The answer: scores, and how far they are certain."""

import dataclasses
from typing import Any

import numpy as np

from solvers import checks, tolerances

SCOPES = {
    "paper-restriction": (
        "No scores in [0, 1] that fulfil the published program's rows have a smaller objective "
        "than the bound. These rows keep every unit within the bounds of the whole network, so "
        "that the bound says nothing about other masks."
    ),
    "all-masks": (
        "No mask of these neurons, within the share that may be pruned, has a smaller objective on "
        "this batch than the bound: the program's loss is that of the masked network. Nothing is "
        "said about other images."
    ),
    "probe": (
        "No scores in [0, 1] have a smaller objective than the bound as long as each layer is read "
        "by its probe, in the place of the rest of the network, with the layers before it whole. "
        "The bound says nothing about the masked network's own loss."
    ),
}
"""The scope of a bound -> what it certifies, and what it does not."""

EXPLAINED = 0.1
"""``Solution.explain`` masks the neurons with scores below this."""

NOTHING_BETTER = (
    "It ended before anything better than the whole network was found: nothing would be pruned."
)
"""Said where a limit came so early that nothing was found."""

AVERAGED = (
    "Objective and bound are the means over {} programs, one per class; nothing is said about the "
    "averaged scores."
)
"""Said where the scores are means over several programs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Scores of neurons; a higher score means a more critical neuron.

    Attributes:
      layers: the names of the layers whose neurons are scored.
      scores: one array in [0, 1] per layer, [neurons].
      status: "optimal" (to the gap asked for), "time limit", "memory limit", "interrupted" or
        "precision limit" (the solver's tolerances allow no smaller gap).
      objective: of the scores.
      bound: no solution has a smaller objective than this, within ``bound_scope``.
      bound_scope: what the bound is about, a key of ``SCOPES``: "paper-restriction", "all-masks"
        or "probe".
      loss: the mean cross-entropy in the program, in nats.
      problem: the network and the batch.
      violation: the largest violation of a row, recomputed in NumPy.
      seconds: the time for building and the time for solving.
      rows: how many rows the last linear program had.
      columns: how many columns it had.
      binaries: how many of its columns were binary.
      open: how many units and maxima the bounds leave undecided.
      trajectory: (seconds, objective, bound) whenever the objective or the bound moved.
      programs: how many programs were solved: one, or one per class or per layer.
    """

    layers: tuple[str, ...]
    scores: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    status: str
    objective: float
    bound: float
    bound_scope: str
    loss: float
    problem: Any = dataclasses.field(repr=False)
    violation: float
    seconds: dict[str, float]
    rows: int
    columns: int
    binaries: int
    open: int
    trajectory: tuple[tuple[float, ...], ...] = dataclasses.field(repr=False)
    programs: int = 1

    @property
    def gap(self) -> float:
        """The relative gap, ``(objective - bound) / max(1, |objective|)``."""
        return (self.objective - self.bound) / max(1.0, abs(self.objective))

    def masks(self, threshold: float | str) -> tuple[np.ndarray, ...]:
        """Which neurons stay.

        Args:
          threshold: neurons with scores below it go; "mean" is the mean score of each layer.

        Returns:
          One bool array per layer, [neurons]; True means that the neuron stays.

        Raises:
          ValueError: the threshold is another word, or NaN.
        """
        return tuple(above(scores, threshold) for scores in self.scores)

    def masked_loss(self, threshold: float | str) -> float:
        """The mean cross-entropy of the network under ``masks(threshold)`` on the batch, in nats.

        Args:
          threshold: as in ``masks``.

        Returns:
          The loss.

        Raises:
          ValueError: the threshold is another word, or NaN.
        """
        return self.problem.loss(np.concatenate(self.masks(threshold)).astype(np.float64))

    def _certain(self) -> str:
        """A sentence on the loss alone: the relative gap depends on the penalty's constants."""
        penalty = self.objective - self.problem.loss_weight * self.loss
        least = (self.bound - penalty) / self.problem.loss_weight
        said = f"With the same penalty, {penalty:.4g}, no loss can be below {max(least, 0):.4g}"
        return f"{said}." if least > 0 else f"{said}: the bound says no more than that."

    def explain(self) -> str:
        """The answer in words: how certain it is, what it loses, how large the program was."""
        pruned = sum(int((~mask).sum()) for mask in self.masks(EXPLAINED))
        neurons = sum(len(scores) for scores in self.scores)
        averaged = self.programs > 1 and self.bound_scope == "paper-restriction"
        whole = all((scores == 1).all() for scores in self.scores)
        lines = [
            f"{self.status}: objective {self.objective:.6g}, bound {self.bound:.6g}, "
            f"gap {self.gap:.2g}",
            SCOPES[self.bound_scope],
            *([AVERAGED.format(self.programs)] if averaged else []),
            *([self._certain()] if self.programs == 1 else []),
            *([NOTHING_BETTER] if self.status != "optimal" and whole else []),
            f"The loss is {self.loss:.4g} by the program, {self.problem.loss():.4g} of the whole "
            f"network, {self.masked_loss(EXPLAINED):.4g} with the {pruned} of {neurons} neurons "
            f"below {EXPLAINED} masked.",
            f"No row is broken by more than {self.violation:.2g}.",
            f"{self.rows} rows, {self.columns} columns, {self.binaries} binaries ({self.open} "
            "units or maxima undecided); "
            + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in self.seconds.items()),
        ]
        return "\n".join(lines)


def whole(problem: Any, scope: str, status: str, seconds: float) -> Solution:
    """The whole network as an answer, where the program could not be built in time.

    Args:
      problem: the network and the batch, a ``programs.problem.PruningProblem``.
      scope: of the bound, a key of ``SCOPES``. The bound needs no solver.
      status: why there is no better answer.
      seconds: the time that was spent.

    Returns:
      The solution.
    """
    scores = np.ones(problem.chain.neurons)
    loss = problem.loss()
    objective = problem.loss_weight * loss + problem.penalty(scores)
    # neither scores nor losses are negative
    bound = problem.penalty(np.zeros(problem.chain.neurons))
    return Solution(
        layers=problem.chain.names,
        scores=problem.chain.split(scores),
        status=status,
        objective=objective,
        bound=bound,
        bound_scope=scope,
        loss=loss,
        problem=problem,
        violation=0.0,
        seconds={"build": seconds, "solve": 0.0},
        rows=0,
        columns=0,
        binaries=0,
        open=0,
        trajectory=((seconds, objective, bound),),
    )


def above(scores: np.ndarray, threshold: float | str) -> np.ndarray:
    """Which scores are not below a threshold.

    Args:
      scores: [neurons].
      threshold: a number, or "mean", the mean of the scores.

    Returns:
      Bool, [neurons].

    Raises:
      ValueError: the threshold is another word, or NaN.
    """
    if isinstance(threshold, str) and threshold == "mean":
        # equal scores are not below their mean, whatever it is rounded to
        return scores >= scores.mean() - tolerances.EQUAL_SCORES
    if not checks.is_number(threshold) or threshold != threshold:
        raise ValueError(f"threshold must be a number or 'mean', got {threshold!r}")
    return scores >= threshold
