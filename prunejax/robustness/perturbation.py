"""What a registry says of a perturbation: its function, and how strong it can be."""

import dataclasses
import math
from collections.abc import Callable

from jaxtyping import Array, Float, PRNGKeyArray

Change = Callable[..., Array]
"""``(key, weights, strength) -> weights``: on the kept weights of one layer, as a flat vector."""


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """A perturbation and its range; called as its function is.

    Attributes:
      change: ``(key, weights, strength) -> weights``; jitted, with a traced strength. Strength 0
        changes nothing.
      most: the largest strength; infinity where there is none.
    """

    change: Change
    most: float = 1.0

    def __call__(
        self, key: PRNGKeyArray, weights: Float[Array, " links"], strength: Float[Array, ""]
    ) -> Array:
        """Perturbs the weights of one layer.

        Args:
          key: for what is drawn.
          weights: the kept weights of the layer.
          strength: in [0, ``most``]; traced, so that another one recompiles nothing.

        Returns:
          As many weights, of the same dtype.
        """
        return self.change(key, weights, strength)


def any_strength(change: Change) -> Perturbation:
    """A perturbation of somebody's own: any strength of 0 or more."""
    return Perturbation(change, most=math.inf)
