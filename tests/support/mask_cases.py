"""Small networks whose masks can all be tried."""

import itertools

import numpy as np

from solvers.layers import Affine, AveragePool, Conv, Dense, MaxPool, Relu
from solvers.problem import Problem


def dense(random, inputs, units):
    scale = 1.5 / np.sqrt(inputs)
    return Dense(random.normal(size=(inputs, units)) * scale, random.normal(size=units) * 0.3)


def conv(random, inputs, filters, **options):
    scale = 1.5 / np.sqrt(9 * inputs)
    kernel = random.normal(size=(3, 3, inputs, filters)) * scale
    return Conv(kernel, random.normal(size=filters) * 0.3, **options)


def batch_norm(random, channels):
    return Affine.batch_norm(
        random.normal(size=channels) * 0.1,
        random.uniform(0.5, 2, channels),
        random.uniform(0.5, 2, channels) * random.choice([-1, 1], channels),
        random.normal(size=channels) * 0.2,
    )


def network(kind, random):
    """Layers and the shape of an input."""
    same = ((1, 1), (1, 1))
    match kind:
        case "one hidden layer":
            return [dense(random, 5, 10), Relu(), dense(random, 10, 3)], (5,)
        case "14 neurons":
            layers = [dense(random, 5, 8), Relu(), dense(random, 8, 6), Relu()]
            return [*layers, dense(random, 6, 3)], (5,)
        case "two hidden layers":
            layers = [dense(random, 5, 6), Relu(), dense(random, 6, 5), Relu()]
            return [*layers, dense(random, 5, 3)], (5,)
        case "three hidden layers":
            layers = [dense(random, 4, 4), Relu(), dense(random, 4, 4), Relu()]
            return [*layers, dense(random, 4, 4), Relu(), dense(random, 4, 3)], (4,)
        case "average pool":
            layers = [conv(random, 1, 4), batch_norm(random, 4), Relu(), AveragePool((2, 2))]
            return [*layers, dense(random, 16, 5), Relu(), dense(random, 5, 3)], (6, 6, 1)
        case "pool before ReLU":
            layers = [conv(random, 1, 4), AveragePool((2, 2)), batch_norm(random, 4), Relu()]
            return [*layers, dense(random, 16, 5), Relu(), dense(random, 5, 3)], (6, 6, 1)
        case "max pool":
            layers = [conv(random, 2, 3), Relu(), MaxPool((2, 2))]
            layers += [conv(random, 3, 3, padding=same), Relu(), MaxPool((2, 2))]
            return [*layers, dense(random, 3, 3)], (6, 6, 2)
        case "max pool before ReLU":
            layers = [conv(random, 1, 3), Relu(), conv(random, 3, 3), MaxPool((2, 2)), Relu()]
            return [*layers, dense(random, 3, 3)], (6, 6, 1)
        case "overlapping windows":
            layers = [conv(random, 1, 3), batch_norm(random, 3), Relu(), AveragePool((2, 2))]
            layers += [MaxPool((2, 2), (1, 1)), dense(random, 3, 4), Relu()]
            return [*layers, dense(random, 4, 3)], (6, 6, 1)
        case _:
            raise ValueError(kind)


KINDS = (
    "one hidden layer",
    "two hidden layers",
    "three hidden layers",
    "average pool",
    "pool before ReLU",
    "max pool",
    "max pool before ReLU",
    "overlapping windows",
)


def problem(kind, seed=0, batch=3, **options):
    """Labels that the network mostly agrees with, so that neurons are worth something."""
    random = np.random.default_rng(seed)
    layers, shape = network(kind, random)
    inputs = random.uniform(size=(batch, *shape))
    labels = (
        Problem(layers, inputs, np.zeros(batch, int))
        .chain.logits(inputs.reshape(batch, -1))
        .argmax(axis=1)
    )
    labels[0] = (labels[0] + 1) % 3
    return Problem(layers, inputs, labels, **options)


def objective(instance, kept):
    """Straight from the definition."""
    importances = [
        float(np.sum(kept[part] - 2)) / gate.size
        for gate, part in zip(instance.chain.gates, instance.chain.slices(), strict=True)
    ]
    penalty = sum(sorted(importances, reverse=True)[: instance.largest])
    return instance.loss_weight * instance.loss(kept) + penalty


def brute_force(instance, share=1.0):
    """The smallest objective of all masks that prune at most this share of each layer."""
    return min(
        objective(instance, kept)
        for kept in map(np.array, itertools.product([0.0, 1.0], repeat=instance.chain.neurons))
        if all((1 - kept[part]).mean() <= share + 1e-9 for part in instance.chain.slices())
    )
