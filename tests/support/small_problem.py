"""A random network of two hidden layers with a batch."""

import numpy as np

from solvers.critical_neurons import Problem
from solvers.layers import Dense, Relu


def problem(epsilon=0.05):
    random = np.random.default_rng(0)
    layers = [
        Dense(random.normal(size=(20, 12)) / 4, random.normal(size=12) * 0.1, "first"),
        Relu(),
        Dense(random.normal(size=(12, 8)) / 3, random.normal(size=8) * 0.1, "second"),
        Relu(),
        Dense(random.normal(size=(8, 5))),
    ]
    return Problem(layers, random.uniform(size=(10, 20)), np.arange(10) % 5, epsilon=epsilon)


def whole(given):
    """The objective of all scores at 1: both layers' importances are -1, the larger one counts."""
    return given.loss_weight * given.loss() - 1
