"""The program of one layer, with a linear probe in the place of the layers that follow.

A neuron's score s multiplies its output ``a``. So the probe's logits, ``probe(s a)``, are linear in
the scores.
"""

import numpy as np

from solvers.network.probes import Probe
from solvers.programs.affine import AffineProgram, Columns, Vector
from solvers.programs.importance import Importance
from solvers.programs.objective import Objective
from solvers.programs.rows import joined


def build(
    activations: np.ndarray,
    labels: np.ndarray,
    probe: Probe,
    size: int,
    loss_weight: float,
    name: str,
) -> tuple[AffineProgram, Objective]:
    """Makes the program of a layer.

    Args:
      activations: behind the layer's ReLU, [batch, positions, neurons].
      labels: [batch].
      probe: reads the layer.
      size: N_l, units of a dense layer, filters x height x width of a convolution's kernel.
      loss_weight: lambda.
      name: of the layer, for messages.

    Returns:
      The program, whose only columns are the scores, and its objective.

    Raises:
      ValueError: shapes do not fit each other, labels are out of range, or there is NaN.
    """
    _check(activations, labels, probe, name)
    _, positions, neurons = activations.shape
    bias = np.asarray(probe.bias, np.float64)
    kernel = np.asarray(probe.kernel, np.float64).reshape(positions, neurons, len(bias))
    matrices = np.einsum("bpn,pnk->bkn", activations, kernel, optimize=True)
    program = AffineProgram(
        [Vector(bias, matrix) for matrix in matrices],
        Columns.of_scores(neurons),
        lazy=joined([]),
        open=0,
    )
    weights, offsets = np.full((1, neurons), 1 / size), np.array([-2 * neurons / size])
    importance = Importance(weights, offsets, largest=1)
    return program, Objective(program, np.asarray(labels), loss_weight, importance)


def _check(activations: np.ndarray, labels: np.ndarray, probe: Probe, name: str) -> None:
    if activations.ndim != 3 or not activations.size:
        raise ValueError(
            f"activations of {name} must be [batch, positions, neurons], got shape "
            f"{list(activations.shape)}"
        )
    batch, positions, neurons = activations.shape
    classes = len(probe.bias)
    if np.shape(probe.kernel) != (positions * neurons, classes):
        raise ValueError(
            f"the probe of {name} must have a kernel of shape [{positions * neurons}, {classes}] "
            f"for {positions} positions, {neurons} neurons and {classes} classes, got "
            f"{list(np.shape(probe.kernel))}"
        )
    labels = np.asarray(labels)
    if labels.shape != (batch,) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{name} needs {batch} labels from 0 to {classes - 1}")
    for what, values in (("activations", activations), ("probe's kernel", probe.kernel)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {what} of {name} has values that are NaN or infinite")
