"""Bounds on what each step of a chain puts out, by interval arithmetic."""

from typing import NamedTuple

import numpy as np

from solvers.network.chain import Chain, Linear, Maximum, Rectify


class Interval(NamedTuple):
    """Lower and upper bounds, each [batch, entries]."""

    lower: np.ndarray
    upper: np.ndarray


def interval(chain: Chain, inputs: np.ndarray, epsilon: float, *, gated: bool) -> list[Interval]:
    """Bounds on what every step puts out.

    ElAraby et al. (2023) bound the inputs by ``[max(x, 0) - epsilon, min(x, 1) + epsilon]``, which
    is ``[x - epsilon, x + epsilon]`` for inputs in [0, 1]. Here it is that for all inputs.

    Args:
      chain: the network.
      inputs: [batch, inputs].
      epsilon: how far an input may lie from its value.
      gated: True if any neuron may be masked, so that its output may also be 0. If False, these
        are the published bounds, those of the whole network.

    Returns:
      One interval per step, [batch, entries]; that of a linear step holds before any gate.
    """
    inputs = np.asarray(inputs, np.float64)
    now = Interval(inputs - epsilon, inputs + epsilon)
    bounds = []
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
        bounds.append(now)
        if gated and index in chain.owners:
            now = Interval(np.minimum(now.lower, 0), now.upper)
    return bounds


def largest_other(values: np.ndarray) -> np.ndarray:
    """For each entry of the last axis, the largest of the others; minus infinity if it is alone."""
    return np.stack(
        [
            np.delete(values, place, axis=-1).max(axis=-1, initial=-np.inf)
            for place in range(values.shape[-1])
        ],
        axis=-1,
    )
