"""Bounds on what enters each step of a chain: interval arithmetic."""

from typing import NamedTuple

import numpy as np

from solvers.network.chain import Chain, Linear, Maximum, Rectify


class Interval(NamedTuple):
    """Lower and upper bounds, each [batch, entries]."""

    lower: np.ndarray
    upper: np.ndarray


def interval(chain: Chain, inputs: np.ndarray, epsilon: float, *, gated: bool) -> list[Interval]:
    """Bounds on what every step puts out.

    Args:
        chain: the network.
        inputs: [batch, inputs].
        epsilon: how far an input may lie from its value: ``[max(x, 0) - epsilon, min(x, 1) +
            epsilon]`` where x is in [0, 1], ``x -/+ epsilon`` elsewhere.
        gated: whether any neuron may be masked, so that its output may be 0 too. Without, the
            bounds are the published ones, of the whole network.

    Returns:
        For each step the bounds of its outputs; for a linear one before any gate.
    """
    inputs = np.asarray(inputs, np.float64)
    now = Interval(inputs - epsilon, inputs + epsilon)
    found = []
    for index, step in enumerate(chain.steps):
        match step:
            case Linear(matrix, offset):
                rising, falling = matrix.maximum(0), matrix.minimum(0)
                now = Interval(
                    now.lower @ rising.T + now.upper @ falling.T + offset,
                    now.upper @ rising.T + now.lower @ falling.T + offset,
                )
            case Rectify():
                now = Interval(np.maximum(now.lower, 0), np.maximum(now.upper, 0))
            case Maximum(windows):
                now = Interval(now.lower[:, windows].max(axis=2), now.upper[:, windows].max(axis=2))
        found.append(now)
        if gated and index in chain.owners:
            now = Interval(np.minimum(now.lower, 0), now.upper)
    return found


def largest_other(values: np.ndarray) -> np.ndarray:
    """For each entry of the last axis the largest of the others, minus infinity without any."""
    return np.stack(
        [
            np.delete(values, place, axis=-1).max(axis=-1, initial=-np.inf)
            for place in range(values.shape[-1])
        ],
        axis=-1,
    )
