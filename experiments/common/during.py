"""The methods that prune or rewire while a network trains, as the comparison has them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import PRNGKeyArray

from experiments.common.sources import digest
from prunejax.rewiring import during_training
from prunejax.rewiring.during_training import TRAINING_METHODS

ENDS = 0.75
"""After this part of the epochs masks stay as they are (Evci et al. 2020: RigL stops there)."""


class During(NamedTuple):
    """A method that changes masks after each epoch, under the same budget of epochs.

    Attributes:
      method: a name in ``prunejax.rewiring.during_training.TRAINING_METHODS``.
      distribution: how layers share what is kept.
      about: what ``--help`` says of it.
    """

    method: str
    distribution: str
    about: str

    def wrapper(
        self, sparsity: float, epochs: int, per_epoch: int, key: PRNGKeyArray
    ) -> Callable[[optax.GradientTransformation], optax.GradientTransformationExtraArgs]:
        """What makes an optimiser prune as it trains.

        Args:
          sparsity: the fraction of prunable weights removed in the end.
          epochs: of the whole training.
          per_epoch: steps per epoch.
          key: of what is drawn.
        """
        last = max(1, int(ENDS * epochs)) * per_epoch
        return lambda tx: during_training.sparsified(
            tx,
            self.method,
            sparsity=sparsity,
            every=per_epoch,
            end=last,
            distribution=self.distribution,
            key=key,
        )

    def settings(self) -> dict[str, Any]:
        """What its name stands for, as records say it."""
        method = TRAINING_METHODS[self.method]
        return {
            "function": "sparsified",
            "source": digest(during_training.sparsified, type(method)),
            "method": self.method,
            "distribution": self.distribution,
            "ends": ENDS,
        }


DURING: dict[str, During] = {
    "gmp": During("gradual", "global", "|w|, gradually while training (Zhu & Gupta 2017)"),
    "set": During("set", "er", "the smallest go, any grow, while training (Mocanu et al. 2018)"),
    "rigl": During("rigl", "erk", "the smallest go, large gradients grow (Evci et al. 2020)"),
    "ch3_l3": During("ch3_l3", "er", "grown where paths predict links (Zhang et al. 2024)"),
}
"""Gradual magnitude pruning, SET, RigL, growth by CH3-L3 (layers with two axes only). The first
begins dense, the others as sparse as they end."""
