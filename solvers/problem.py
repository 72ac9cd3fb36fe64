"""The problem of critical neurons: a network, a batch, and what a neuron is worth."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from solvers.chain import Chain, build
from solvers.layers import Layer

Aggregate = Literal["sum_largest", "sum"]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A network, a batch, and what a neuron is worth.

    ``min loss_weight mean_b loss_b + P`` with the cross-entropy of each sample and, for each layer
    whose neurons can be pruned, ``I_l = sum_i (s_i - 2) / N_l`` (N_l: units of a dense layer,
    filters x height x width of a convolution's kernel).

    Attributes:
        layers: of the network; the last is a ``Dense`` that gives the logits and is never pruned.
        inputs: [batch, ...], in the shape that the first layer takes, usually in [0, 1].
        labels: [batch], integers.
        loss_weight: lambda, 5 in the paper.
        epsilon: by how much an input may move when bounds are computed.
        aggregate: P is the "sum_largest" I_l, all but the smallest (the paper), or the "sum" of
            all.

    Raises:
        ValueError: what does not fit, or is NaN.
    """

    layers: Sequence[Layer]
    inputs: np.ndarray
    labels: np.ndarray
    loss_weight: float = 5.0
    epsilon: float = 1e-5
    aggregate: Aggregate = "sum_largest"

    def __post_init__(self) -> None:
        inputs, labels = np.asarray(self.inputs), np.asarray(self.labels)
        if inputs.ndim < 2 or len(inputs) == 0:
            raise ValueError(f"inputs must be [batch, ...], got shape {list(inputs.shape)}")
        if not np.isfinite(inputs).all():
            raise ValueError("the inputs have values that are NaN or infinite")
        if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be {len(inputs)} integers, got {labels.dtype}{list(labels.shape)}"
            )
        if not 0 < self.loss_weight < np.inf:
            raise ValueError(f"loss_weight must be positive, got {self.loss_weight}")
        if not 0 <= self.epsilon < np.inf:
            raise ValueError(f"epsilon must not be negative, got {self.epsilon}")
        if self.aggregate not in ("sum_largest", "sum"):
            raise ValueError(f"aggregate must be 'sum_largest' or 'sum', got {self.aggregate!r}")
        if not self.chain.gates:
            raise ValueError("no layer before the last one has neurons that could be pruned")
        classes = self.chain.classes
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f"labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
            )

    @functools.cached_property
    def chain(self) -> Chain:
        """The network as linear steps, ReLUs and maxima."""
        return build(self.layers, np.asarray(self.inputs).shape[1:])

    @functools.cached_property
    def flat(self) -> np.ndarray:
        """The inputs as vectors, [batch, inputs]."""
        return np.asarray(self.inputs, np.float64).reshape(len(self.inputs), -1)

    @property
    def largest(self) -> int:
        """Of how many layers' importances P is the sum, the largest."""
        layers = len(self.chain.gates)
        return layers if self.aggregate == "sum" else max(layers - 1, 1)

    def loss(self, kept: np.ndarray | None = None) -> float:
        """The mean cross-entropy of the batch, in nats, with some neurons masked.

        Args:
            kept: for each neuron 1 or 0; by default all 1.

        Returns:
            The loss.
        """
        logits = self.chain.logits(self.flat, kept)
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float(np.mean(total - logits[np.arange(len(logits)), np.asarray(self.labels)]))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the published program to a file for other solvers: .mps, .lp or .cip.

        Only .cip holds the losses; the linear formats have tangents in their place. See
        ``export.write``.

        Args:
            path: of the file.

        Raises:
            ValueError: another ending.
            ImportError: pyscipopt is not installed.
        """
        from solvers import export  # it imports this file

        export.write(self, path)
