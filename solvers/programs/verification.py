"""A check of scores against the rows of the published program, step by step in NumPy."""

import numpy as np

from solvers.network.bounds import interval, largest_other
from solvers.network.chain import Chain, Linear, Maximum, Rectify


def largest_violation(
    chain: Chain, inputs: np.ndarray, epsilon: float, scores: np.ndarray
) -> float:
    """The largest violation of a row of the published program by scores.

    Activations are as small as the rows allow, ``h = max(0, z - (1 - s) U)``. The check is whether
    each unit has a binary v, and each maximum a zeta, such that ``h <= v U`` and
    ``h <= z - (1 - v) L - (1 - s) U``.

    Args:
      chain: the network.
      inputs: [batch, inputs].
      epsilon: of the bounds, see ``bounds.interval``.
      scores: [neurons].

    Returns:
      The largest violation over all samples, rows and bounds of scores; 0 if there is none.
    """
    bounds = interval(chain, inputs, epsilon, gated=False)
    worst = _largest(np.maximum(-scores, scores - 1))
    values = np.asarray(inputs, np.float64)
    lower = upper = values
    parts = chain.slices()
    for step, bound in zip(chain.steps, bounds, strict=True):
        match step:
            case Linear(matrix, offset, gate):
                values = values @ matrix.T + offset
                if gate is not None:
                    values = (
                        values - (1 - scores[parts[gate]][chain.gates[gate].units]) * bound.upper
                    )
            case Rectify(gate):
                positive = np.maximum(upper, 0)
                cut = np.zeros(values.shape[1:])
                if gate is not None:
                    cut = 1 - scores[parts[gate]][chain.gates[gate].units]
                outputs = np.maximum(values - cut * positive, 0)
                on = np.maximum(outputs - (values - cut * positive), outputs - positive)
                off = np.maximum(outputs, outputs - (values - lower - cut * positive))
                # v = 1 where the lower bound is positive, v = 0 where the upper one is negative
                broken = np.where(lower >= 0, on, np.where(upper <= 0, off, np.minimum(on, off)))
                worst = max(worst, _largest(broken))
                values = outputs
            case Maximum(windows):
                outputs = values[:, windows].max(axis=2)
                low, high = lower[:, windows], upper[:, windows]
                others = largest_other(high)
                # some zeta_i = 1 needs m <= x_i, all others m <= x_j + (max of the other U - L_j)
                slack = outputs[:, :, None] - values[:, windows]
                loose = np.maximum(slack - (others - low), 0)
                broken = np.maximum(slack, largest_other(loose)).min(axis=2)
                worst = max(worst, _largest(broken))
                values = outputs
        lower, upper = bound.lower, bound.upper
    return worst


def _largest(broken: np.ndarray) -> float:
    """The largest entry or 0; infinity where one is NaN."""
    return float(np.nan_to_num(broken, nan=np.inf).max(initial=0.0))
