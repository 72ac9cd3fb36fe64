"""A random layer with its probe, and a small network with several layers."""

import numpy as np

from solvers.layers import AveragePool, Conv, Dense, MaxPool, Relu
from solvers.network.probes import Probe
from solvers.problem import Problem


def layer(batch, positions, neurons, classes=4, seed=0):
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(positions, neurons, classes)) / np.sqrt(positions * neurons)
    labels = np.arange(batch) % classes
    values = random.normal(size=(batch, positions, neurons)) + 2 * kernel.transpose(2, 0, 1)[labels]
    probe = Probe(kernel.reshape(-1, classes) * 2, random.normal(size=classes) * 0.1)
    return np.maximum(values, 0), labels, probe


def network(seed=0):
    """Two convolutions, whose maps are pooled before and behind ReLU, and a dense layer."""
    random = np.random.default_rng(seed)
    layers = [
        Conv(random.normal(size=(3, 3, 1, 5)) / 2, random.normal(size=5) * 0.1, name="first"),
        MaxPool((2, 2)),
        Relu(),
        Conv(random.normal(size=(2, 2, 5, 6)) / 3, random.normal(size=6) * 0.1, name="second"),
        Relu(),
        AveragePool((2, 2), (1, 1)),
        Dense(random.normal(size=(24, 7)) / 3, name="third"),
        Relu(),
        Dense(random.normal(size=(7, 3)), random.normal(size=3)),
    ]
    inputs = random.uniform(size=(9, 10, 10, 1))
    return Problem(layers, inputs, np.arange(9) % 3, loss_weight=20.0)
