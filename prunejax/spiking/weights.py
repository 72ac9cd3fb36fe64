"""Scores of neurons as scores of the weights that drive them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from prunejax.channels.collecting import leaf_axis, neurons_after
from prunejax.masks import name
from prunejax.network import KERNELS, Network


def of_weights(network: Network, scores: Mapping[str, Array], params: PyTree) -> PyTree:
    """Scores of neurons as scores of the weights that drive them.

    Args:
      network: the network.
      scores: one per channel, by layer of neurons: from ``criticality``.
      params: the parameters, or masks.

    Returns:
      A tree parallel to ``params``: for each kernel that drives neurons an array that broadcasts
      to it, of length 1 along all axes but that of its outputs; None elsewhere.
    """
    found = {}
    for producer in network.flows.producers:
        driven = neurons_after(network, producer.layer)
        leaf = leaf_axis(network, producer.value, producer.axis)
        if driven is None or leaf is None or driven.name not in scores:
            continue
        path, axis = leaf
        shape = [1] * len(network.leaves[path].shape)
        shape[axis] = -1
        of_neurons = jnp.asarray(scores[driven.name])
        if of_neurons.shape == (network.leaves[path].shape[axis],):
            found[path] = of_neurons.reshape(shape)
    ends = {end: path for end, path in network.endings.items() if path in found}

    def scored(path: jax.tree_util.KeyPath, leaf: Any) -> Any:
        del leaf
        return found[ends[name(path)]] if name(path) in ends else None

    return jax.tree_util.tree_map_with_path(scored, params)


def undriven(network: Network, params: PyTree) -> tuple[str, ...]:
    """The paths of kernels behind which no neurons are: the classifier's.

    Args:
      network: the network.
      params: the parameters, or masks.

    Returns:
      Their paths in ``params``, in its order.
    """
    paths = set()
    for layer in network.layers.values():
        if layer.kind in KERNELS and neurons_after(network, layer.name) is None:
            paths.update(layer.parameters)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return tuple(
        name(path)
        for path, leaf in leaves
        if network.endings.get(name(path)) in paths and np.ndim(leaf) > 1
    )
