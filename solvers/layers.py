"""The layers that describe a network; see ``solvers.network.layers``."""

from solvers.network.layers import (
    AdaptiveAveragePool,
    Affine,
    AveragePool,
    Conv,
    Dense,
    Layer,
    MaxPool,
    Relu,
)

__all__ = [
    "AdaptiveAveragePool",
    "Affine",
    "AveragePool",
    "Conv",
    "Dense",
    "Layer",
    "MaxPool",
    "Relu",
]
