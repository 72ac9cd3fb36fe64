"""From a forward function to a ``Network``."""

import copyreg
import warnings
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from prunejax.masks import name
from prunejax.network import traced
from prunejax.network.groups import find_groups
from prunejax.network.layers import KERNELS
from prunejax.network.network import Network

MOST_FROZEN = 0.1
"""If more of the channels stay whole, a warning says why."""


def trace(apply_fn: Callable[..., Any], variables: PyTree, x: PyTree) -> Network:
    """Traces a forward function and finds its layers and its coupled channel groups.

    A channel can be removed if nothing else needs it to be there: not the network's input or
    output, no position of an image, no order of channels (a running sum, a sort, an argmax). A sum
    over channels needs what a removed one adds in the masked network to be known: 0, a number, or
    what can be computed from the others. Where a reshape cuts channels into heads, heads and the
    places in them are groups of their own. Loops and branches are opened, and so are primitives of
    other packages whose implementation JAX can trace. Another primitive without a rule keeps all
    it touches, and a warning names it; another warning says why, if more than a tenth of the
    channels stay, and ``Network.frozen`` says it of each.

    Args:
      apply_fn: ``(variables, x) -> outputs``, any function that JAX can trace. Outputs whose path
        ends with that of a variable outside of linen's ``params`` (updated ``batch_stats``) are
        state and may shrink with it; without collections, one of several outputs all of which
        update variables that nothing else reads, or that normalise.
      variables: any pytree of arrays or of ``jax.ShapeDtypeStruct``s: Flax linen's
        ``{"params": ..., "batch_stats": ...}``, ``nnx.to_pure_dict(state)``, the arrays of an
        Equinox module, a bare dict.
      x: an input, any pytree of arrays or of ``jax.ShapeDtypeStruct``s. Batches of other sizes can
        be put through the result.

    Returns:
      The network.

    Raises:
      ValueError: the variables hold no array, or the function cannot be traced.

    >>> variables = {"first": jnp.ones((4, 8)), "last": jnp.ones((8, 2))}
    >>> def forward(variables, x):
    ...     return jax.nn.relu(x @ variables["first"]) @ variables["last"]
    >>> network = trace(forward, variables, jnp.ones((1, 4)))
    >>> {name: group.width for name, group in network.groups.items()}
    {'first': 8}
    >>> plan = network.plan({"first": jnp.arange(8) < 3})
    >>> {path: leaf.shape for path, leaf in plan.slice(variables).items()}
    {'first': (4, 3), 'last': (3, 2)}
    """
    if hasattr(apply_fn, "apply") or not callable(apply_fn):
        raise ValueError(
            "trace takes the function that applies the network, model.apply for a Flax module; got "
            f"{type(apply_fn).__name__}"
        )
    described = traced.describe(variables)
    named = [(name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(described)]
    leaves = dict(named)
    if not leaves:
        raise ValueError("there are no variables to trace the function with")
    if len(leaves) < len(named):
        twice = next(path for path in leaves if sum(path == other for other, _ in named) > 1)
        raise ValueError(f"two leaves of the variables have the path {twice!r}: rename one")
    seen = traced.make(apply_fn, described, traced.describe(x))
    coupling, flows = seen.coupling(), seen.flows()
    if coupling.unknown:
        warnings.warn(
            f"no rule for {', '.join(coupling.unknown)}: the channels that go in or come out stay "
            "whole",
            stacklevel=2,
        )
    axes = {path: coupling.axes(number) for number, path in seen.paths.items()}
    groups, channels = find_groups(axes, coupling, flows.producers)
    endless = [layer.name for layer in flows.layers.values() if layer.note == "one iteration"]
    if endless:
        warnings.warn(
            f"of {', '.join(endless)}, which loop until something happens, the multiply-adds of "
            "one iteration are counted",
            stacklevel=2,
        )
    network = Network(
        layers=flows.layers,
        groups=groups,
        channels=channels,
        unknown=tuple(coupling.unknown),
        apply_fn=apply_fn,
        variables=described,
        leaves=leaves,
        trainable=seen.trainable,
        collections=seen.collections,
        flows=flows,
        traced=seen,
        coupling=coupling,
    )
    if not groups:
        warnings.warn(f"no channel of this network can be removed: {_why(network)}", stacklevel=2)
    elif network.staying.share < 1 - MOST_FROZEN and not coupling.unknown:
        warnings.warn(_much(network), stacklevel=2)
    return network


def _much(network: Network) -> str:
    """Says that many channels stay, and the reason that keeps most of them."""
    reasons = network.staying.by_reason()
    reason = max(reasons, key=lambda each: sum(reasons[each].values()))
    return f"{network.staying}, most of them {reason}; network.frozen() has them all"


def _why(network: Network) -> str:
    kernels = [layer for layer in network.layers.values() if layer.kind in KERNELS]
    if not kernels:
        return "no layer multiplies what it is given by a kernel of its variables"
    if len(kernels) == 1:
        named = repr(kernels[0].name or kernels[0].kind)
        return (
            f"the units of its only layer with a kernel, {named}, are what it returns or is given"
        )
    reasons = [str(each) for each in network.frozen() if not each.returned]
    if not reasons:
        return (
            f"the outputs of its {len(kernels)} layers with kernels are returned, or are positions "
            "(print the network for its layers)"
        )
    return "; ".join(reasons[:2]) + ("; ..." if len(reasons) > 2 else "")


def _traced_again(network: Network) -> tuple[Any, ...]:
    """What pickle stores of a network: the function, which must pickle, and what it was given."""
    return trace, (network.apply_fn, network.variables, network.traced.example)


copyreg.pickle(Network, _traced_again)  # here: `Network` does not know who makes it
