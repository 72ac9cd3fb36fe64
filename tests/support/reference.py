"""Slow, obvious versions of what the library computes, in NumPy."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]


def mlp_logits(layers: Layers, inputs: np.ndarray, activation: Callable = np.tanh) -> np.ndarray:
    """A dense network: (kernel [in, out], bias [out]) by layer, an activation between them."""
    hidden = inputs
    for index, (kernel, bias) in enumerate(layers):
        hidden = hidden @ kernel + bias
        if index < len(layers) - 1:
            hidden = activation(hidden)
    return hidden


def mean_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """-log softmax of the true class, averaged."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        shifted = row - row.max()
        total += np.log(np.exp(shifted).sum()) - shifted[label]
    return total / len(labels)


def finite_gradient(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6):
    """Central differences, one coordinate at a time."""
    gradient = np.zeros_like(at)
    for index in range(at.size):
        ahead, behind = at.copy(), at.copy()
        ahead[index] += step
        behind[index] -= step
        gradient[index] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


def finite_hessian(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-4):
    """Second differences, one pair of coordinates at a time."""
    size = at.size
    hessian = np.zeros((size, size))
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        total = 0.0
        for sign_i, sign_j in itertools.product((1, -1), repeat=2):
            moved = at.copy()
            moved[i] += sign_i * step
            moved[j] += sign_j * step
            total += sign_i * sign_j * function(moved)
        hessian[i, j] = hessian[j, i] = total / (4 * step * step)
    return hessian


def keep_highest(scores: list[np.ndarray], count: int) -> set[tuple[int, int]]:
    """The (leaf, position) pairs that sorting all scores keeps, where no two are equal."""
    everything = [
        (value, leaf, position)
        for leaf, array in enumerate(scores)
        for position, value in enumerate(array.ravel())
    ]
    everything.sort(key=lambda entry: -entry[0])
    return {(leaf, position) for _, leaf, position in everything[:count]}


def erk_densities(shapes: list[tuple[int, ...]], kept: int, raw: Callable[[Any], float]):
    """Layer densities min(1, c * raw) whose weights sum to ``kept``: c by bisection."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    low, high = 0.0, 1e12
    for _ in range(300):
        middle = (low + high) / 2
        total = sum(min(1.0, middle * raw(s)) * n for s, n in zip(shapes, sizes, strict=True))
        low, high = (middle, high) if total < kept else (low, middle)
    return [min(1.0, low * raw(shape)) for shape in shapes]
