"""What solving gave: scores, and how far they are certain."""

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
"""What a bound certifies, and what not."""

EXPLAINED = 0.1
"""The threshold of the masks that ``Solution.explain`` speaks of."""

NOTHING_BETTER = (
    "It ended before anything better than the whole network was found: nothing would be pruned."
)
"""What a limit that comes early leaves."""

AVERAGED = (
    "Objective and bound are the means over {} programs, one a class; nothing is said about the "
    "averaged scores."
)
"""What the bound certifies where scores are means over programs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Scores of neurons, the higher the more critical.

    Attributes:
        layers: the names of the layers whose neurons are scored.
        scores: for each of them an array in [0, 1], [neurons].
        status: "optimal" (to the gap asked for), "time limit", "memory limit", "interrupted" or
            "precision limit" (the solver's tolerances allow no smaller gap).
        objective: of the scores.
        bound: no solution has a smaller objective than this, within ``bound_scope``.
        bound_scope: what the bound is about, a key of ``SCOPES``: "paper-restriction", "all-masks"
            or "probe".
        loss: the mean cross-entropy that the program reckons with, nats.
        problem: what was solved.
        violation: by how much a row is broken at most, recomputed in NumPy.
        seconds: of building and of solving.
        rows: of the last linear program.
        columns: of it.
        binaries: of it.
        open: units and maxima that the bounds do not decide.
        trajectory: (seconds, objective, bound) whenever they moved.
        programs: of how many programs this is the answer, one a class or one a layer.
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
            threshold: neurons with scores below it go; "mean" is each layer's own mean score.

        Returns:
            For each layer a bool array, [neurons].

        Raises:
            ValueError: another word.
        """
        return tuple(above(scores, threshold) for scores in self.scores)

    def masked_loss(self, threshold: float | str) -> float:
        """The mean cross-entropy of the network with those masks on the same batch, nats."""
        return self.problem.loss(np.concatenate(self.masks(threshold)).astype(np.float64))

    def _certain(self) -> str:
        """What the bound says of the loss alone; the gap depends on the penalty's constants."""
        penalty = self.objective - self.problem.loss_weight * self.loss
        least = (self.bound - penalty) / self.problem.loss_weight
        said = f"With the same penalty, {penalty:.4g}, no loss can be below {max(least, 0):.4g}"
        return f"{said}." if least > 0 else f"{said}: the bound says no more than that."

    def explain(self) -> str:
        """What was found, in words."""
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
    """The whole network as an answer, where there is no better one.

    Args:
        problem: the network and the batch.
        scope: of the bound; no solver is needed for it.
        status: why there is nothing better.
        seconds: how long it took to find nothing.

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
        threshold: a number, or "mean", their own mean.

    Returns:
        Bool, [neurons].

    Raises:
        ValueError: another word, or NaN.
    """
    if isinstance(threshold, str) and threshold == "mean":
        # equal scores are not below their mean, whatever it is rounded to
        return scores >= scores.mean() - tolerances.EQUAL_SCORES
    if not checks.is_number(threshold) or threshold != threshold:
        raise ValueError(f"threshold must be a number or 'mean', got {threshold!r}")
    return scores >= threshold
