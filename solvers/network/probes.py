"""Linear probes: they read a layer in the place of the rest of the network."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special

from solvers import tolerances
from solvers.network.chain import Chain, Linear

DECAY = 1e-4
"""Weight decay of a fitted probe's kernel, where samples have norm 1 on average."""


class Probe(NamedTuple):
    """A linear read-out of a layer.

    Attributes:
      kernel: [positions x neurons, classes]; the neurons of one position are neighbours.
      bias: [classes].
    """

    kernel: np.ndarray
    bias: np.ndarray


def fit_probe(activations: np.ndarray, labels: np.ndarray, classes: int) -> Probe:
    """Fits softmax regression to a layer's whole representation.

    Own lines instead of scikit-learn's ``LogisticRegression``: to reach the same objective, that
    takes about as long on few features, but 3 to 22 times as long where features outnumber samples.
    ``python -m benchmarks libraries`` measures it.

    Args:
      activations: [samples, positions, neurons].
      labels: [samples], integers.
      classes: how many classes there are.

    Returns:
      The probe.
    """
    features = np.asarray(activations, np.float64).reshape(len(activations), -1)
    scale = np.sqrt(np.square(features).sum(axis=1).mean()) or 1.0
    features = features / scale
    if len(features) < features.shape[1]:
        # the kernel of least norm lies in the span of the samples, so their coordinates are enough
        squares, axes = np.linalg.eigh(features @ features.T)
        spanned = squares > squares[-1] * tolerances.RANK
        roots, axes = np.sqrt(squares[spanned]), axes[:, spanned]
        coordinates, back = axes * roots, features.T @ (axes / roots)
    else:
        coordinates, back = features, np.eye(features.shape[1])
    right = np.eye(classes)[np.asarray(labels)]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(-1, classes)
        logits = coordinates @ parameters[:-1] + parameters[-1]
        chances = scipy.special.log_softmax(logits, axis=1)
        errors = (np.exp(chances) - right) / len(features)
        slope = np.concatenate([coordinates.T @ errors, errors.sum(axis=0, keepdims=True)])
        slope[:-1] += DECAY * parameters[:-1]
        value = -(chances * right).sum() / len(features)
        return value + DECAY / 2 * np.square(parameters[:-1]).sum(), slope.ravel()

    start = np.zeros((coordinates.shape[1] + 1) * classes)
    # products this small only wait for each other on several threads, for minutes on a busy machine
    with _one_thread():
        minimum = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B")
    best = minimum.x.reshape(-1, classes)
    return Probe(back @ best[:-1] / scale, best[-1])


def _one_thread() -> AbstractContextManager[Any]:
    """Limits the linear algebra inside to one thread.

    Raises:
      ImportError: threadpoolctl is not installed.
    """
    try:
        import threadpoolctl
    except ImportError as error:
        raise ImportError(
            "the decoupled mode needs threadpoolctl: pip install threadpoolctl (or "
            "'prunejax[solvers]')"
        ) from error
    return threadpoolctl.threadpool_limits(1, "blas")


def representations(chain: Chain, inputs: np.ndarray) -> list[np.ndarray]:
    """What the neurons of each gated layer put out, at the place where they would be masked.

    Args:
      chain: the network.
      inputs: [batch, ...].

    Returns:
      One array per gated layer, [batch, positions, neurons].
    """
    values = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
    outputs = list(chain.forward(values))
    return [
        outputs[index][:, _by_position(units)]
        for _, (index, units) in sorted(chain.masked_behind().items())
    ]


def linear_rest(chain: Chain) -> Probe | None:
    """The part of the network behind its last gated layer, if it is linear.

    Args:
      chain: the network.

    Returns:
      That part as a probe; None if it has a ReLU or a maximum.
    """
    index, units = chain.masked_behind()[len(chain.gates) - 1]
    rest = [step for step in chain.steps[index + 1 :] if isinstance(step, Linear)]
    if len(rest) < len(chain.steps) - index - 1:
        return None
    matrix, offset = rest[0].matrix, rest[0].offset
    for step in rest[1:]:
        matrix, offset = step.matrix @ matrix, step.matrix @ offset + step.offset
    kernel = matrix.T.toarray()[_by_position(units)]
    return Probe(kernel.reshape(-1, chain.classes), offset)


def _by_position(units: np.ndarray) -> np.ndarray:
    """The place of each position's and neuron's entry, [positions, neurons]."""
    return np.argsort(units, kind="stable").reshape(units.max() + 1, -1).T
