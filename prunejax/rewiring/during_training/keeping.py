"""Methods that keep the weights of highest score: gradual, at once, or straight through."""

import dataclasses
from collections.abc import Callable
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree

from prunejax import names
from prunejax.allocation import Pattern
from prunejax.rewiring.during_training.course import Course, Moment
from prunejax.rewiring.during_training.scores import Score, magnitude, scores_of


def _cubic(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return 1 - (1 - fractions) ** 3


def _linear(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return fractions


def _at_once(fractions: Float[np.ndarray, " changes"]) -> Float[np.ndarray, " changes"]:
    return np.ones_like(fractions)


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "cubic": _cubic,
    "linear": _linear,
    "at_once": _at_once,
}
"""How far training is between the first change and the last -> which part of the sparsity is
reached. Cubic is ``1 - (1 - t)^3`` (Zhu & Gupta 2017, equation 1)."""


@dataclasses.dataclass(frozen=True)
class KeepBest:
    """Keeps the weights of highest score; how many, a schedule says.

    Attributes:
      score: ``magnitude``, ``saliency``, ``chance``, or another function of that form.
      schedule: how the sparsity grows between the first change and the last, a name in
        ``SCHEDULES``.
      straight_through: whether pruned weights are kept and trained on: the forward pass uses the
        weights that the masks keep, the gradient goes to all of them as if all were used (Bengio et
        al. 2013, arXiv 1308.3432), and each change of masks chooses among all. Otherwise a pruned
        weight is 0 and stays so.

    Raises:
      ValueError: there is no such schedule.
    """

    score: Score = magnitude
    schedule: str = "cubic"
    straight_through: bool = False

    def __post_init__(self) -> None:
        names.choose("schedule", self.schedule, SCHEDULES)

    @property
    def needs_end(self) -> bool:
        """Whether the last change must be known beforehand."""
        return self.schedule != "at_once"

    @property
    def changes_once(self) -> bool:
        """Whether there is nothing to change after the first change."""
        return self.schedule == "at_once" and not self.straight_through

    def course(
        self,
        params: PyTree,
        sparsity: SupportsFloat | None,
        distribution: str,
        pattern: Pattern,
        fractions: Float[np.ndarray, " changes"],
    ) -> Course:
        """What each change keeps.

        Raises:
          ValueError: as ``counts`` of the pattern.
        """
        progress = SCHEDULES[self.schedule](fractions)
        counts = pattern.counts(params, sparsity, distribution, progress)
        return Course(counts, fractions, pattern)

    def first(self, key: PRNGKeyArray, params: PyTree, course: Course) -> PyTree:
        """The masks at step 0, if masks change there.

        Raises:
          ValueError: as the score, where it needs a gradient.
        """
        if SCHEDULES[self.schedule](course.fractions)[0] == 0:
            return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params)
        scores = scores_of(self.score, key, params, None)
        return course.pattern.keep(scores, jnp.asarray(course.counts[0]), None)

    def change(self, moment: Moment, course: Course) -> PyTree:
        """The masks from now on."""
        scores = scores_of(self.score, moment.key, moment.params, moment.gradients)
        count = jnp.asarray(course.counts)[moment.number]
        return course.pattern.keep(scores, count, None if self.straight_through else moment.masks)
