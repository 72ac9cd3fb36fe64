"""Critical neurons layer by layer: one program per layer, read by a linear probe.

For networks that one program cannot hold, residual ones among them: a linear probe stands in the
place of whatever follows a layer.
"""

import dataclasses
import time
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network import Network
from solvers import checks
from solvers.modes.decoupled import Representation, solve_layers
from solvers.network.probes import Probe, fit_probe
from solvers.settings import Settings
from solvers.solution import Solution

POSITIONS = 4
"""A probe reads averages over a grid of so many cells along each axis of an image."""

CHUNK = 100
"""How many inputs are evaluated at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkOnBatch:
    """A traced network and a batch: what the solvers' protocol of this name asks for.

    Attributes:
      network: the network.
      variables: its variables.
      inputs: [batch, ...].
      labels: [batch], integers.
      loss_weight: lambda.
    """

    network: Network
    variables: PyTree
    inputs: Any
    labels: np.ndarray
    loss_weight: float

    def __post_init__(self) -> None:
        checks.positive(self.loss_weight, "loss_weight")

    def loss(self, kept: np.ndarray | None = None) -> float:
        """The mean cross-entropy of the batch, nats, with some neurons cut out.

        Args:
          kept: for each neuron of each group in turn 1 or 0; by default all 1. A group that would
            be empty keeps its first neuron.

        Returns:
          The loss.
        """
        if kept is None:
            logits = self.network.apply_fn(self.variables, jnp.asarray(self.inputs))
        else:
            groups = self.network.groups.values()
            ends = np.cumsum([group.width for group in groups])
            parts = np.split(np.asarray(kept) > 0, ends[:-1])
            keep = {group.name: part for group, part in zip(groups, parts, strict=True)}
            for part in keep.values():
                part[0] |= not part.any()
            plan = self.network.plan(keep)
            logits = plan.apply_fn(plan.slice(self.variables), jnp.asarray(self.inputs))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(self.labels))
        return float(losses.mean())


def solve(
    problem: NetworkOnBatch, examples: tuple[Any, Any] | None, settings: Settings
) -> Solution:
    """Scores the neurons of each group of channels by a program of its own.

    The last hidden layer is read by the network's own classifier, where only that follows; the
    others by linear probes fitted to the examples.

    Args:
      problem: the network, the batch, and lambda, which must grow with the batch.
      examples: inputs and labels to fit probes to, the more the better; None: the batch itself.
      settings: the limits, which all groups share, the solver, and the number of processes.

    Returns:
      The solution; its layers are the network's groups.

    Raises:
      ValueError: no neuron can be cut out, or the inputs, labels or outputs do not fit or are
        NaN.
    """
    started = time.perf_counter()
    network, variables = problem.network, problem.variables
    if not network.groups:
        raise ValueError("the network has no neurons that can be cut out")
    inputs, answers = (problem.inputs, problem.labels) if examples is None else examples
    checks.batch(problem.inputs, problem.labels, None, "the batch")
    checks.batch(inputs, answers, None, "the examples")
    logits = network.apply_fn(variables, jnp.asarray(problem.inputs[:1]))
    classes = int(logits.shape[-1])
    checks.batch(problem.inputs, problem.labels, classes, "the batch")
    checks.batch(inputs, answers, classes, "the examples")
    shown = representations(network, variables, inputs)
    seen = shown if examples is None else representations(network, variables, problem.inputs)
    layers = []
    for group, values in seen.items():
        probe = _rest(network, variables, group, values, problem.inputs)
        if probe is None:
            probe = fit_probe(shown[group], np.asarray(answers), classes)
        layers.append(Representation(group, values, _size(network, group), probe))
    return solve_layers(layers, problem, settings, time.perf_counter() - started)


def representations(
    network: Network, variables: PyTree, inputs: Any, *, positions: int = POSITIONS
) -> dict[str, np.ndarray]:
    """The outputs of each group's neurons after their activation, averaged over a grid.

    Args:
      network: the network.
      variables: its variables.
      inputs: [batch, ...].
      positions: how many cells the grid has along each axis of an image at most.

    Returns:
      For each group [batch, cells, neurons]; one cell where a layer's output has no positions.

    Raises:
      ValueError: what a layer puts out is NaN or infinite.
    """
    read = {group: _behind(network, group) for group in network.groups}
    read_so_far: dict[str, list[np.ndarray]] = {group: [] for group in read}
    layers = list(dict.fromkeys(read.values()))
    for first in range(0, len(inputs), CHUNK):
        chunk = jnp.asarray(inputs[first : first + CHUNK])
        outputs = network.record(variables, chunk, layers)
        for group, layer in read.items():
            place = network.place(group, layer)
            values = jnp.moveaxis(outputs[layer], place.axis, -1)[..., place.indices]
            if not jnp.all(jnp.isfinite(values)):
                raise ValueError(f"what {layer!r} puts out has values that are NaN or infinite")
            for axis in range(1, values.ndim - 1):
                values = _averaged(values, axis, positions)
            flat = values.reshape(values.shape[0], -1, values.shape[-1])
            read_so_far[group].append(np.asarray(flat, np.float64))
    return {group: np.concatenate(parts) for group, parts in read_so_far.items()}


def _behind(network: Network, group: str) -> str:
    """The layer whose output is read for a group: the activation that follows, or its own layer."""
    layer = network.groups[group].layers[0]
    try:
        return network.following(layer, "activation").name
    except ValueError:
        return layer


def _averaged(values: Any, axis: int, positions: int) -> Any:
    """The means over parts of an axis: as many parts as positions, of nearly equal size."""
    size = values.shape[axis]
    cells = min(size, positions)
    weights = np.zeros((cells, size))
    for cell in range(cells):
        start, end = cell * size // cells, -(-(cell + 1) * size // cells)
        weights[cell, start:end] = 1 / (end - start)
    averaged = jnp.tensordot(values, jnp.asarray(weights, values.dtype), axes=(axis, 1))
    return jnp.moveaxis(averaged, -1, axis)


def _size(network: Network, group: str) -> int:
    """N_l: the units of a dense layer, filters x height x width of a convolution's kernel."""
    layer = network.layers[network.groups[group].layers[0]]
    width = network.groups[group].width
    if not layer.kind.startswith("conv"):
        return width
    axis = network.place(group, layer.name).axis
    channels = layer.output_shape[axis] * layer.input_shape[axis] // layer.feature_groups
    return width * prod(layer.kernel_shape) // channels


def _rest(
    network: Network, variables: PyTree, group: str, values: np.ndarray, inputs: Any
) -> Probe | None:
    """The network's classifier as a probe, where it reads the group's neurons and nothing else."""
    last, behind = list(network.layers.values())[-1], _behind(network, group)
    whole = values.shape[1] == 1 and last.kind == "dense" and last.inputs == (behind,)
    if not whole or len(network.layers[behind].output_shape) != 2:
        return None
    leaves = {
        name(path): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
        if name(path) in last.parameters
    }
    kernels = [leaf for leaf in leaves.values() if leaf.ndim == 2]
    biases = [leaf for leaf in leaves.values() if leaf.ndim == 1]
    indices = network.place(group, behind).indices
    if len(kernels) != 1 or len(biases) > 1 or len(kernels[0]) != len(indices):
        return None
    bias = biases[0] if biases else np.zeros(kernels[0].shape[1])
    probe = Probe(kernels[0][indices], bias)
    # a kernel that is scaled or turned before it is multiplied shows here
    expected = np.asarray(network.apply_fn(variables, jnp.asarray(inputs)), np.float64)
    same = np.allclose(values[:, 0] @ probe.kernel + bias, expected, rtol=1e-3, atol=1e-3)
    return probe if same else None
