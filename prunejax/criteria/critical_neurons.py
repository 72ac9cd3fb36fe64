"""Critical neurons: a mixed-integer program scores every neuron of a traced network."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.criteria import chain_reading, decoupling
from prunejax.network import Network, Plan
from solvers import critical_neurons as solver
from solvers import layers as solvers_layers
from solvers.solution import above

TOLERANCE = 1e-4
"""How far the program's logits may be from the network's, relative to the largest."""


@dataclasses.dataclass(frozen=True, eq=False)
class CriticalNeurons:
    """Scores of the neurons of a network.

    Attributes:
        network: the network.
        scores: for each group of channels one score a neuron, higher meaning more critical.
        solution: what the solver gave: certificate, trajectory, `explain()`.
    """

    network: Network
    scores: dict[str, np.ndarray] = dataclasses.field(repr=False)
    solution: solver.Solution

    def keep(self, threshold: float | str, *, min_neurons: int = 1) -> dict[str, np.ndarray]:
        """Which neurons stay: those whose score is not below the threshold.

        Args:
            threshold: the paper takes 0.1 for dense networks, 0.2 for LeNet-5, 0.3 on CIFAR;
                "mean" is each layer's own mean.
            min_neurons: how many of a layer stay at least, the best ones.

        Returns:
            For each group a bool array, [width].

        Raises:
            ValueError: another word, or `min_neurons` is negative.
        """
        return keep_above(self.scores, threshold, min_neurons=min_neurons)

    def plan(self, threshold: float | str, *, min_neurons: int = 1) -> Plan:
        """The plan that cuts the other neurons out, bias and all; see `keep`."""
        return self.network.plan(self.keep(threshold, min_neurons=min_neurons))

    def masks(self, params: PyTree, threshold: float | str, *, min_neurons: int = 1) -> PyTree:
        """Masks of parameters, a neuron's bias among them; see `keep`."""
        return self.plan(threshold, min_neurons=min_neurons).masks(params)


def keep_above(
    scores: Mapping[str, np.ndarray], threshold: float | str, *, min_neurons: int = 1
) -> dict[str, np.ndarray]:
    """Which neurons stay, by their scores alone; the arguments are those of `CriticalNeurons.keep`.

    Args:
        scores: for each group one score a neuron.
        threshold: a number, or "mean".
        min_neurons: how many of a group stay at least.

    Returns:
        For each group a bool array, [width].

    Raises:
        ValueError: no threshold, or `min_neurons` is negative.
    """
    if not isinstance(min_neurons, int | np.integer) or min_neurons < 0:
        raise ValueError(f"min_neurons must be a whole number from 0 on, got {min_neurons!r}")
    kept = {}
    for group, worth in scores.items():
        kept[group] = above(worth, threshold)
        best = np.argsort(-worth, kind="stable")[:min_neurons]
        kept[group][best] = True
    return kept


def critical_neurons(
    network: Network,
    variables: PyTree,
    inputs: Any,
    labels: Any,
    *,
    loss_weight: float = 5.0,
    epsilon: float = 1e-5,
    aggregate: solver.Aggregate = "sum_largest",
    mode: solver.Mode = "paper",
    examples: tuple[Any, Any] | None = None,
    **settings: Any,
) -> CriticalNeurons:
    """Scores neurons by what pruning them together does to the loss on a small batch.

    ElAraby, Wolf and Carvalho (2023), "Identifying Critical Neurons in ANN Architectures using
    Mixed Integer Programming", arXiv 2002.07259.

    In mode "paper" a neuron that nothing reads, all of whose weights out are 0, can have a high
    score (0.83, say). The published rows keep every neuron within the bounds that it has in the
    whole network, whether something reads it or not: one that is always active must keep
    ``z - (1 - s) U >= 0``, and where pruning before it lowers z, its own score s must be at least
    ``1 - z / U``. Mode "exact" has no such rows, and gives it 0.

    Args:
        network: a chain of dense layers, convolutions, batch normalisation, ReLUs and pools, traced
            in evaluation mode, in float32; in mode "decoupled" any network. What each equation
            between two kernels does is proved: a ReLU may be written in any of the usual ways, and
            what is none (a capped or leaky one) is refused.
        variables: its variables.
        inputs: a batch, [batch, ...], one image per class in the paper. The paper's are in [0, 1];
            others are taken as they are: nothing is clipped, here or in the bounds.
        labels: [batch], integers.
        loss_weight: lambda; it must grow with the batch.
        epsilon: by how much an input may move when bounds are computed; "decoupled" has no bounds.
        aggregate: see `solvers.critical_neurons.Problem`; "decoupled" has no sum over layers.
        mode: see `solvers.critical_neurons.solve`.
        examples: for "decoupled": inputs and labels that probes are fitted to, better many; by
            default the batch.
        **settings: of `solvers.critical_neurons.solve`: time_limit, gap, memory_mb, seed,
            max_prune, workers, backend, on_incumbent.

    Returns:
        The scores.

    Raises:
        ValueError: the network is no such chain (the layer or the operation is named), its arrays
            are laid out otherwise than Flax's, it returns more than its logits, or they are NaN or
            infinite on the batch.

    Warns:
        UserWarning: layers whose neurons cannot be cut out are scored, but left out of the answer.
    """
    given = solver.check(mode, **settings)
    if len(network.traced.program.outputs) != 1:
        raise ValueError(
            f"the network must return its logits and nothing else, it returns "
            f"{len(network.traced.program.outputs)} arrays"
        )
    if mode == "decoupled":
        subject = decoupling.Subject(network, variables, inputs, np.asarray(labels), loss_weight)
        solution = decoupling.solve(subject, examples, given)
        scores = dict(zip(solution.layers, solution.scores, strict=True))
        return CriticalNeurons(network, scores, solution)
    if examples is not None:
        raise ValueError(f"examples are for mode 'decoupled', not {mode!r}")
    chain = describe(network, variables)
    problem = solver.Problem(
        [layer for _, layer in chain],
        np.asarray(inputs, np.float64),
        np.asarray(labels),
        loss_weight=loss_weight,
        epsilon=epsilon,
        aggregate=aggregate,
    )
    _check_same(network, variables, inputs, problem)
    solution = solver.solve(problem, mode, **settings)
    return CriticalNeurons(network, _by_group(network, solution), solution)


def describe(network: Network, variables: PyTree) -> list[tuple[str, solvers_layers.Layer]]:
    """The layers of a network as the solvers hold them, proved from its equations.

    Args:
        network: a chain of layers.
        variables: its variables.

    Returns:
        Pairs of the layer's name and its arrays, in order.

    Raises:
        ValueError: a layer of a kind that the program cannot hold, or not in a chain.
    """
    before = "input"
    for layer in network.layers.values():
        if layer.kind == "parameters":  # the input takes no part in it
            continue
        if layer.inputs != (before,):
            raise ValueError(
                f"the program holds chains of layers only: {layer.name!r} reads "
                f"{', '.join(layer.inputs)}, not {before} alone"
            )
        before = layer.name
    return chain_reading.read(network, variables)


def _check_same(network: Network, variables: PyTree, inputs: Any, problem: solver.Problem) -> None:
    """The chain's logits must be the network's, whatever its equations say."""
    expected = np.asarray(network.apply_fn(variables, jnp.asarray(inputs)), np.float64)
    if not np.isfinite(expected).all():
        raise ValueError(
            "what the network puts out on the batch has values that are NaN or infinite"
        )
    got = problem.chain.logits(problem.flat)
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if expected.shape != got.shape or not np.abs(expected - got).max() <= limit:
        raise ValueError(chain_reading.LAYOUT)


def _by_group(network: Network, solution: solver.Solution) -> dict[str, np.ndarray]:
    """Scores in the order of the groups' channels; of neurons that can be cut out, that is."""
    by_layer = dict(zip(solution.layers, solution.scores, strict=True))
    found = {}
    for group in network.groups.values():
        for layer in group.layers:
            if layer in by_layer:
                place = network.place(group.name, layer)
                found[group.name] = by_layer.pop(layer)[place.indices]
                break
    if by_layer:
        warnings.warn(
            f"neurons of {', '.join(by_layer)} cannot be cut out: their scores are left out (they "
            "are in solution.scores)",
            stacklevel=3,
        )
    return found
