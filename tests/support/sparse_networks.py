"""Small chains of sparse layers, as links and as masks, and their outputs in NumPy."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np

from prunejax.rewiring import State
from prunejax.sparse import Links


def random_mask(rng, shape, links):
    """A mask of exactly so many links."""
    mask = np.zeros(shape[0] * shape[1], bool)
    mask[rng.permutation(mask.size)[:links]] = True
    return mask.reshape(shape)


def network(seed, widths, share, *, as_links, slots=0):
    """A chain ``layer1``, ``layer2``, ... of layers with biases and a dense ``classifier``.

    Each of the optimiser's ``slots`` holds a copy of the parameters times 1, 2, ...
    """
    rng = np.random.default_rng(seed)
    params, topology = {}, {}
    for position, shape in enumerate(pairwise(widths), start=1):
        links = max(1, round(share * shape[0] * shape[1]))
        mask = random_mask(rng, shape, links)
        dense = np.where(mask, rng.normal(size=shape), 0).astype(np.float32)
        held = Links.from_mask(jnp.asarray(mask)) if as_links else jnp.asarray(mask)
        kernel = held.gather(jnp.asarray(dense)) if as_links else jnp.asarray(dense)
        bias = rng.normal(size=shape[1]).astype(np.float32)
        params[f"layer{position}"] = {"bias": jnp.asarray(bias), "kernel": kernel}
        topology[f"layer{position}"] = {"bias": None, "kernel": held}
    readout = rng.normal(size=(widths[-1], 3)).astype(np.float32)
    params["classifier"] = {"kernel": jnp.asarray(readout)}
    topology["classifier"] = {"kernel": None}
    states = tuple(scaled(params, number) for number in range(1, slots + 1))
    return State(params, topology, states)


def scaled(tree, factor):
    if isinstance(tree, dict):
        return {name: scaled(leaf, factor) for name, leaf in tree.items()}
    return tree * factor


def chain_of(state):
    return tuple(f"{name}/kernel" for name in sorted(state.params) if name.startswith("layer"))


def dense(state, params=None):
    """A layer's name -> its dense kernel, in NumPy."""
    params = state.params if params is None else params
    return {
        name.split("/")[0]: _dense(params[name.split("/")[0]]["kernel"], topology)
        for name, topology in layers(state).items()
    }


def _dense(kernel, topology):
    if not isinstance(topology, Links):
        return np.asarray(kernel)
    matrix = np.zeros(topology.shape, kernel.dtype)
    matrix[np.asarray(topology.sources), np.asarray(topology.targets)] = np.asarray(kernel)
    return matrix


def layers(state):
    return {name: state.topology[name.split("/")[0]]["kernel"] for name in chain_of(state)}


def masks(state):
    """A layer's name -> its mask, in NumPy; checks that no link is held twice."""
    found = {}
    for name, topology in layers(state).items():
        if isinstance(topology, Links):
            pairs = list(zip(topology.targets.tolist(), topology.sources.tolist(), strict=True))
            assert pairs == sorted(set(pairs))
            mask = np.zeros(topology.shape, bool)
            mask[np.asarray(topology.sources), np.asarray(topology.targets)] = True
        else:
            mask = np.asarray(topology)
        found[name.split("/")[0]] = mask
    return found


def outputs(state, inputs):
    kernels = dense(state)
    for name in sorted(kernels):
        bias = np.asarray(state.params[name]["bias"])
        inputs = np.maximum(inputs @ kernels[name] + bias, 0)
    return inputs @ np.asarray(state.params["classifier"]["kernel"])
