"""Disconnected neurons: links that lead nowhere, and links that carry a constant."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from prunejax.rewiring import layouts
from prunejax.rewiring.layouts import Topology


class Link(NamedTuple):
    """One layer of a chain.

    Attributes:
      name: the path of its kernel.
      topology: its links.
      weights: of its entries, flat.
      bias: of its outputs, or None.
    """

    name: str
    topology: Topology
    weights: Float[Array, " weights"]
    bias: Float[Array, " outputs"] | None


class Swept(NamedTuple):
    """A chain after its sweeps, by the paths of the kernels.

    Attributes:
      kept: which entries are still links.
      biases: of the layers that have one.
    """

    kept: dict[str, Bool[Array, " weights"]]
    biases: dict[str, Float[Array, " outputs"]]


def sweep(
    chain: Sequence[Link],
    kept: Mapping[str, Bool[Array, " weights"]],
    activation: Callable[[Array], Array],
) -> Swept:
    """Removes links on no path from the chain's inputs to its outputs.

    Backwards: links into a neuron without outgoing links go. Forwards: links out of a neuron
    without incoming ones go; that neuron's value is ``activation(bias)`` whatever the input, so
    ``b_k += w_jk activation(b_j)``, and the outputs stay. The biases of all neurons without
    incoming links become 0. One sweep each is exact. Source: Section 4.3 of Sulyok et al. 2026.

    Args:
      chain: the layers, each reading the one before.
      kept: which entries of each layer are links.
      activation: between two layers.

    Returns:
      What is left.

    Raises:
      ValueError: a layer without a bias reads one whose neurons can be constant and not 0.
    """
    kept, biases = dict(kept), {each.name: each.bias for each in chain if each.bias is not None}
    for layer, after in reversed([*itertools.pairwise(chain)]):
        sources, _ = layouts.ends(after.topology)
        _, targets = layouts.ends(layer.topology)
        read = layouts.linked(sources, kept[after.name], layer.topology.shape[1])
        kept[layer.name] = kept[layer.name] & read[targets]
    for layer, after in itertools.pairwise(chain):
        _, incoming = layouts.ends(layer.topology)
        sources, targets = layouts.ends(after.topology)
        fed = layouts.linked(incoming, kept[layer.name], layer.topology.shape[1])
        constant = kept[after.name] & ~fed[sources]
        bias = biases.get(layer.name)
        values = activation(jnp.zeros(layer.topology.shape[1]) if bias is None else bias)
        if after.name in biases:
            values = values.astype(after.weights.dtype)
            carried = jnp.where(constant, after.weights * values[sources], 0)
            biases[after.name] = biases[after.name].at[targets].add(carried)
        elif bias is not None or _is_not_zero(activation):
            raise ValueError(
                f"{after.name!r} has no bias that the constants of {layer.name!r} can be merged "
                "into: give it one, or sweep no disconnected neurons (chain=())"
            )
        if bias is not None:
            biases[layer.name] = jnp.where(fed, bias, 0)
        kept[after.name] = kept[after.name] & ~constant
    return Swept(kept, biases)


def _is_not_zero(activation: Callable[[Array], Array]) -> bool:
    """Whether a neuron without bias and links in puts out anything but 0."""
    with jax.ensure_compile_time_eval():
        return bool(activation(jnp.zeros(())) != 0)
