"""A network as a chain of linear steps, ReLUs and maxima, and the neurons that can be pruned."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import scipy.sparse

from solvers.network import matrices
from solvers.network.layers import Affine, Conv, Dense, Layer, MaxPool, Relu
from solvers.network.matrices import Matrix, Shape


class Gate(NamedTuple):
    """A layer whose neurons can be pruned.

    Attributes:
      name: of the layer.
      neurons: how many units or filters it has.
      size: N_l (ElAraby et al. 2023): the units of a dense layer, filters x height x width of a
        convolution's kernel.
      units: the neuron that each entry of the layer's output belongs to, [entries].
    """

    name: str
    neurons: int
    size: int
    units: np.ndarray


class Linear(NamedTuple):
    """``z = matrix h + offset``; has a gate only where no ReLU follows directly."""

    matrix: Matrix
    offset: np.ndarray
    gate: int | None = None


class Rectify(NamedTuple):
    """``h = max(z, 0)``; has a gate where a layer of neurons comes directly before."""

    gate: int | None = None


class Maximum(NamedTuple):
    """``h_i`` is the largest of the entries that ``windows[i]`` names, [outputs, entries]."""

    windows: np.ndarray


Step: TypeAlias = Linear | Rectify | Maximum


def passed(step: Step, values: np.ndarray) -> np.ndarray:
    """A step's outputs, [batch, outputs], for values [batch, entries]."""
    match step:
        case Linear(matrix, offset):
            return values @ matrix.T + offset
        case Rectify():
            return np.maximum(values, 0)
        case Maximum(windows):
            return values[:, windows].max(axis=2)


def masked(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Values, [masks x batch, entries], times masks of their entries, [masks, entries]."""
    by_mask = values.reshape(len(masks), -1, values.shape[1])
    return (by_mask * masks[:, None]).reshape(values.shape)


@dataclass(frozen=True, eq=False)
class Chain:
    """A network as steps on flat vectors.

    Attributes:
      steps: in order; the last one is linear and gives the logits.
      gates: the layers whose neurons can be pruned, in order.
      inputs: how many entries one input has.
      classes: how many logits there are.
    """

    steps: tuple[Step, ...]
    gates: tuple[Gate, ...]
    inputs: int
    classes: int

    @property
    def neurons(self) -> int:
        """How many neurons can be pruned."""
        return sum(gate.neurons for gate in self.gates)

    def slices(self) -> list[slice]:
        """The place of each gate's neurons among all neurons."""
        ends = np.cumsum([0, *(gate.neurons for gate in self.gates)]).tolist()
        return [slice(start, end) for start, end in itertools.pairwise(ends)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the gated layers."""
        return tuple(gate.name for gate in self.gates)

    def split(self, neurons: np.ndarray) -> tuple[np.ndarray, ...]:
        """Values of all neurons, [neurons], gate by gate."""
        return tuple(neurons[part] for part in self.slices())

    def logits(self, inputs: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        """Evaluates the network with the outputs of some neurons at 0.

        A neuron is masked behind its activation, so that its bias goes too.

        Args:
          inputs: [batch, inputs].
          kept: 1 for neurons that stay, 0 for others, [neurons]; by default all 1.

        Returns:
          The logits, [batch, classes].
        """
        masks = None if kept is None else kept[None]
        *_, logits = self.forward(np.asarray(inputs, np.float64), masks)
        return logits

    def forward(
        self, values: np.ndarray, masks: np.ndarray | None = None, first: int = 0
    ) -> Iterator[np.ndarray]:
        """Evaluates the network step by step, under one mask or several.

        Args:
          values: the input of the first step, [masks x batch, entries]: the batch for the first
            mask, then the batch for the second one, and so on.
          masks: 1 for neurons that stay, 0 for others, [masks, neurons]; by default one mask that
            is all 1.
          first: the number of the step to begin with.

        Yields:
          The outputs of each step before they are masked, [masks x batch, entries].
        """
        owners = self.owners
        for index in range(first, len(self.steps)):
            values = passed(self.steps[index], values)
            yield values
            if masks is not None and index in owners:
                values = masked(values, masks[:, owners[index]])

    @functools.cached_property
    def owners(self) -> dict[int, np.ndarray]:
        """For each step behind which neurons are masked: the neuron of each entry, among all."""
        parts = self.slices()
        return {
            index: parts[gate].start + units
            for gate, (index, units) in self.masked_behind().items()
        }

    def masked_behind(self) -> dict[int, tuple[int, np.ndarray]]:
        """For each gate: the step behind which its neurons are masked, and each entry's neuron.

        The step is the first ReLU after the layer. Pools between them keep channels apart.
        """
        places: dict[int, tuple[int, np.ndarray]] = {}
        waiting: int | None = None  # a gate whose ReLU has not come yet
        size = self.inputs
        for index, step in enumerate(self.steps):
            match step:
                case Linear(_, offset, gate):
                    size = len(offset)
                    waiting = waiting if gate is None else gate
                case Maximum(windows):
                    size = len(windows)
                case Rectify(gate):
                    gate = waiting if gate is None else gate
                    if gate is not None:
                        # channels come last in what a layer puts out, and pools leave them there
                        places[gate] = (index, np.arange(size) % self.gates[gate].neurons)
                    waiting = None
        return places


def build(layers: Sequence[Layer], shape: Shape) -> Chain:
    """Makes the chain of a network.

    Batch normalisation directly behind a layer is folded into that layer.

    Args:
      layers: of the network. A ReLU must follow each dense or convolutional layer before the next
        one; the last layer is a ``Dense`` that gives the logits.
      shape: of one input.

    Returns:
      The chain.

    Raises:
      ValueError: layers do not fit each other, or are in an order that the programs cannot hold.
    """
    steps: list[Step] = []
    gates: list[Gate] = []
    open_gate: int | None = None  # a layer whose ReLU has not come yet
    inputs = prod(shape)
    _check_kinds(layers)
    kinds = [isinstance(layer, Dense | Conv) for layer in layers]
    if not any(kinds) or not isinstance(layers[-1], Dense):
        raise ValueError("the last layer must be a Dense that gives the logits")
    for index, layer in enumerate(layers):
        name = getattr(layer, "name", "") or f"layer {index}"
        if isinstance(layer, Relu):
            before = steps[-1] if steps else None
            gate = before.gate if isinstance(before, Linear) else None
            if isinstance(before, Linear):
                steps[-1] = before._replace(gate=None)
            steps.append(Rectify(gate))
            open_gate = None
            continue
        if isinstance(layer, MaxPool):
            windows, shape = matrices.windows(layer, shape)
            steps.append(Maximum(windows))
            continue
        matrix, offset, shape = matrices.linear(layer, shape)
        neuronal = isinstance(layer, Dense | Conv)
        if neuronal and open_gate is not None:
            raise ValueError(
                f"{gates[open_gate].name} is followed by {name} without a ReLU between them"
            )
        if isinstance(layer, Affine) and steps and isinstance(steps[-1], Linear):
            before = steps[-1]
            steps[-1] = before._replace(
                matrix=scipy.sparse.csr_array(matrix @ before.matrix),
                offset=matrix @ before.offset + offset,
            )
            continue
        gate = None
        if neuronal and index < len(layers) - 1:
            gate = len(gates)
            kernel = layer.kernel
            neurons = kernel.shape[-1]
            size = neurons * (prod(kernel.shape[:2]) if isinstance(layer, Conv) else 1)
            gates.append(Gate(name, neurons, size, np.arange(len(offset)) % neurons))
            open_gate = gate
        steps.append(Linear(matrix, offset, gate))
    return Chain(tuple(steps), tuple(gates), inputs, prod(shape))


def _check_kinds(layers: Sequence[Any]) -> None:
    for index, layer in enumerate(layers):
        if not isinstance(layer, get_args(Layer)):
            given = f"the class {layer.__name__}" if isinstance(layer, type) else repr(layer)
            raise ValueError(f"layer {index} must be an instance of solvers.layers, got {given}")
