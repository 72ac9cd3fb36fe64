"""What a registry says of a criterion: its function, and what its authors prescribe."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import PRNGKeyArray, PyTree

from prunejax.criteria.prunable import LossFn

Score = Callable[..., PyTree]
"""``(params, masks, batch, *, loss_fn, key) -> scores``."""


@dataclasses.dataclass(frozen=True)
class Criterion:
    """A criterion and what it needs; called as its function is.

    Attributes:
      score: ``(params, masks, batch, *, loss_fn, key) -> scores``.
      rounds: the rounds of ``pruning.prune`` that its authors prescribe.
      float64: whether ``pruning.prune`` computes it in float64, as its authors do.
      needs_loss: whether it calls a loss function.
    """

    score: Score
    rounds: int = 1
    float64: bool = False
    needs_loss: bool = True

    def __call__(
        self,
        params: PyTree,
        masks: PyTree,
        batch: Any = None,
        *,
        loss_fn: LossFn | None = None,
        key: PRNGKeyArray | None = None,
        **settings: Any,
    ) -> PyTree:
        """Scores weights.

        Args:
          params: the network's parameters.
          masks: which leaves to score; a pruned weight scores 0.
          batch: what ``loss_fn`` takes.
          loss_fn: ``(params, batch) -> loss`` or ``(loss, outputs)``.
          key: for criteria that draw.
          **settings: of the criterion's own.

        Returns:
          Scores parallel to ``masks``; higher means keep.

        Raises:
          ValueError: as the criterion's function.
        """
        return self.score(params, masks, batch, loss_fn=loss_fn, key=key, **settings)
