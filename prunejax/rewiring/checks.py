"""What an update of the topology refuses, layer by layer."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from prunejax import ranks
from prunejax.rewiring import layouts
from prunejax.rewiring.layouts import Topology
from prunejax.rewiring.regrowth import Regrowth
from prunejax.sparse import Links


def check_layer(
    name: str, topology: Topology, weights: Any, zeta: Any, regrowth: Regrowth, gradient: Any
) -> None:
    """Refuses a layer that cannot be rewired; values are looked at outside jit only.

    Raises:
      ValueError: which layer, what is wrong and what is allowed.
    """
    shape = tuple(topology.shape)
    expected = (len(topology),) if isinstance(topology, Links) else shape
    if not isinstance(topology, Links) and topology.dtype != np.bool_:
        raise ValueError(f"the mask of {name!r} must be a bool array, got {topology.dtype}")
    if jnp.shape(weights) != expected:
        raise ValueError(
            f"{name!r} has links of shape {expected}, but weights of shape {jnp.shape(weights)}"
        )
    if not jnp.issubdtype(weights.dtype, jnp.floating):
        raise ValueError(f"the weights of {name!r} must be floating point, got {weights.dtype}")
    if regrowth.from_links is not None and len(shape) != 2:
        raise ValueError(
            f"this rule of regrowth predicts links between inputs and outputs: it needs layers "
            f"with two axes, but {name!r} has shape {shape}"
        )
    of_gradient = None if gradient is None else jnp.shape(gradient)
    if regrowth.from_gradient is not None and of_gradient != shape:
        given = "no gradient" if gradient is None else f"one of shape {of_gradient}"
        raise ValueError(
            f"this rule of regrowth needs the gradient of all weights of {name!r}, shape {shape}; "
            f"got {given}"
        )
    if any(isinstance(each, Tracer) for each in jax.tree.leaves((topology, weights, zeta))):
        return
    links = len(topology) if isinstance(topology, Links) else int(np.count_nonzero(topology))
    if links == 0:
        raise ValueError(f"{name!r} has no link")
    refuse_not_finite(f"weights of {name!r}", weights)
    if regrowth.from_gradient is not None:
        refuse_not_finite(f"gradients of {name!r}", gradient)
    free, must_grow = (
        layouts.pairs(topology) - links,
        int(ranks.share_of(jnp.float32(zeta), jnp.int32(links))),
    )
    if free < must_grow:
        raise ValueError(
            f"{name!r} has {links} links and {free} free pairs: {must_grow} links cannot move. "
            "Lower zeta, or raise the layer's sparsity"
        )


def refuse_not_finite(what: str, numbers: Any) -> None:
    """Refuses numbers that are NaN or infinite, where they are known now.

    Raises:
      ValueError: how many are.
    """
    if not isinstance(numbers, Tracer) and (broken := int(jnp.sum(~jnp.isfinite(numbers)))):
        raise ValueError(f"{broken} {what} are NaN or infinite")


def check_chain(chain: tuple[str, ...], layers: dict[str, Topology]) -> None:
    """Refuses a chain of layers that do not read each other.

    Raises:
      ValueError: which layers do not fit.
    """
    for name in chain:
        if name not in layers:
            raise ValueError(f"chain names {name!r}, but only {[*layers]} have links")
        if len(layers[name].shape) != 2:
            raise ValueError(f"chain takes layers with two axes, {name!r} has {layers[name].shape}")
    for before, after in itertools.pairwise(chain):
        if layers[before].shape[1] != layers[after].shape[0]:
            raise ValueError(
                f"{after!r} has {layers[after].shape[0]} inputs and cannot read {before!r}, which "
                f"has {layers[before].shape[1]} outputs"
            )
