"""The problem of critical neurons: a network, a batch, and what a neuron costs."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from solvers import checks
from solvers.network.bounds import interval
from solvers.network.chain import Chain, build
from solvers.network.layers import Layer
from solvers.network.losses import cross_entropy
from solvers.network.scaling import Normal, normalised
from solvers.programs.importance import Importance, importance

Aggregate = Literal["sum_largest", "sum"]

LARGEST_LOGIT = 1e15
"""Beyond this SCIP takes numbers for infinite and fails."""


@dataclasses.dataclass(frozen=True, eq=False)
class PruningProblem:
    """A network, a batch, and what a neuron costs.

    The programs minimise ``loss_weight mean_b loss_b + P`` (ElAraby et al. 2023): the cross-entropy
    of each sample, and a penalty P of the importances ``I_l = sum_i (s_i - 2) / N_l`` of each layer
    whose neurons can be pruned. N_l is the number of units of a dense layer, and filters x height x
    width of a convolution's kernel.

    Attributes:
      layers: of the network; the last one is a ``Dense`` that gives the logits. It is never
        pruned.
      inputs: [batch, ...], in the shape that the first layer takes, usually in [0, 1]. Inputs
        outside of [0, 1] are not clipped. In the paper they are: there, bounds start from
        ``[max(x, 0) - epsilon, min(x, 1) + epsilon]``.
      labels: [batch], integers.
      loss_weight: lambda, 5 in the paper.
      epsilon: how far an input may move when bounds are computed.
      aggregate: "sum_largest": P is the sum of all I_l but the smallest, as in the paper; "sum":
        P is the sum of all.

    Raises:
      ValueError: an argument is out of range, does not fit the others, or is NaN.
    """

    layers: Sequence[Layer] = dataclasses.field(repr=False)
    inputs: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    loss_weight: float = 5.0
    epsilon: float = 1e-5
    aggregate: Aggregate = "sum_largest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checks.sequence(self.layers, "layers"))
        checks.batch(self.inputs, self.labels, None, "the batch")
        checks.positive(self.loss_weight, "loss_weight")
        checks.not_negative(self.epsilon, "epsilon")
        if self.aggregate not in ("sum_largest", "sum"):
            raise ValueError(f"aggregate must be 'sum_largest' or 'sum', got {self.aggregate!r}")
        if not self.chain.gates:
            raise ValueError("no layer before the last one has neurons that could be pruned")
        checks.batch(self.inputs, self.labels, self.chain.classes, "the batch")
        logits = np.abs(self.chain.logits(self.flat))
        if not np.isfinite(logits).all():
            raise ValueError("the network's logits are too large for float64: NaN or infinite")
        if logits.max() > LARGEST_LOGIT:
            raise ValueError(
                f"the network's logits are up to {logits.max():.1g}, and for solvers "
                f"{LARGEST_LOGIT:g} is infinite: divide the last layer's weights"
            )

    @functools.cached_property
    def chain(self) -> Chain:
        """The network as linear steps, ReLUs and maxima."""
        return build(self.layers, np.asarray(self.inputs).shape[1:])

    @functools.cached_property
    def normal(self) -> Normal:
        """The chain in units in which the outputs of every step are about 1, and these units."""
        bounds = interval(self.chain, self.flat, self.epsilon, gated=False)
        return normalised(self.chain, bounds)

    @functools.cached_property
    def flat(self) -> np.ndarray:
        """The inputs as vectors, [batch, inputs]."""
        return np.asarray(self.inputs, np.float64).reshape(len(self.inputs), -1)

    @property
    def largest(self) -> int:
        """How many layers' importances P is the sum of."""
        layers = len(self.chain.gates)
        return layers if self.aggregate == "sum" else max(layers - 1, 1)

    @functools.cached_property
    def importance(self) -> Importance:
        """The importances of the layers, and P."""
        return importance(self.chain.gates, self.largest)

    def penalty(self, scores: np.ndarray) -> float:
        """P, the sum of the largest importances.

        Args:
          scores: one per neuron, [neurons].

        Returns:
          P.
        """
        return self.importance.penalty(scores)

    def loss(self, kept: np.ndarray | None = None) -> float:
        """The mean cross-entropy of the batch, in nats, with some neurons masked.

        Args:
          kept: 1 for neurons that stay, 0 for others, [neurons]; by default all 1.

        Returns:
          The loss.

        Raises:
          ValueError: ``kept`` has another shape.
        """
        if kept is not None and np.shape(kept) != (self.chain.neurons,):
            raise ValueError(
                f"kept must have {self.chain.neurons} numbers, got shape {list(np.shape(kept))}"
            )
        logits = self.chain.logits(self.flat, kept)
        return float(cross_entropy(logits, np.asarray(self.labels)).values.mean())
