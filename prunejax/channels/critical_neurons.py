"""Critical neurons: a mixed-integer program scores every neuron of a traced network."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from prunejax.channels import chain_layers, chain_reading, decoupling
from prunejax.channels.scores import ABOVE, ChannelScores
from prunejax.network import Network
from solvers import critical_neurons as solver

TOLERANCE = 1e-4
"""How far the program's logits may be from the network's, relative to the largest."""


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
) -> ChannelScores[solver.Solution]:
    """Scores neurons by what pruning them together does to the loss on a small batch.

    ElAraby, Wolf and Carvalho (2023), "Identifying Critical Neurons in ANN Architectures using
    Mixed Integer Programming", arXiv 2002.07259.

    In mode "paper" a neuron that nothing reads (all its outgoing weights are 0) can have a high
    score, such as 0.83. The published rows keep every neuron within the bounds that it has in the
    whole network, whether something reads it or not: one that is always active must keep
    ``z - (1 - s) U >= 0``, and where pruning before it lowers z, its own score s must be at least
    ``1 - z / U``. Mode "exact" has no such rows, and gives it 0.

    Args:
      network: a chain of dense layers, convolutions, batch normalisation, ReLUs and pools, traced
        in evaluation mode, in float32; in mode "decoupled" any network. What each equation
        between two kernels does is proved: a ReLU may be written in any of the usual ways, and
        a capped or leaky one is refused.
      variables: its variables.
      inputs: a batch, [batch, ...], one image per class in the paper. The paper's are in [0, 1];
        others are taken as they are: nothing is clipped, here or in the bounds.
      labels: [batch], integers.
      loss_weight: lambda; it must grow with the batch.
      epsilon: by how much an input may move when bounds are computed; "decoupled" has no bounds.
      aggregate: see ``solvers.critical_neurons.Problem``; "decoupled" has no sum over layers.
      mode: see ``solvers.critical_neurons.solve``.
      examples: for "decoupled": inputs and labels that probes are fitted to, the more the better;
        by default the batch.
      **settings: of ``solvers.critical_neurons.solve``: time_limit, gap, memory_mb, seed,
        max_prune, workers, backend, on_incumbent.

    Returns:
      The scores; channels below a threshold go (``keep_above``), and ``evidence`` is the solver's
      ``Solution``: certificate, trajectory, ``explain()``.

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
        whole = decoupling.NetworkOnBatch(
            network, variables, inputs, np.asarray(labels), loss_weight
        )
        solution = decoupling.solve(whole, examples, given)
        scores = dict(zip(solution.layers, solution.scores, strict=True))
        return ChannelScores(network, scores, ABOVE, solution)
    if examples is not None:
        raise ValueError(f"examples are for mode 'decoupled', not {mode!r}")
    chain = chain_reading.describe(network, variables)
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
    return ChannelScores(network, _by_group(network, solution), ABOVE, solution)


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
        raise ValueError(chain_layers.LAYOUT)


def _by_group(network: Network, solution: solver.Solution) -> dict[str, np.ndarray]:
    """Scores by group, in the order of its channels; only of neurons that can be cut out."""
    by_layer = dict(zip(solution.layers, solution.scores, strict=True))
    by_group = {}
    for group in network.groups.values():
        for layer in group.layers:
            if layer in by_layer:
                place = network.place(group.name, layer)
                by_group[group.name] = by_layer.pop(layer)[place.indices]
                break
    if by_layer:
        warnings.warn(
            f"neurons of {', '.join(by_layer)} cannot be cut out: their scores are left out (they "
            "are in evidence.scores)",
            stacklevel=3,
        )
    return by_group
