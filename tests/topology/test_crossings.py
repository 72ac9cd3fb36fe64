"""What other rooms make goes into graphs: plans of redundant channels, critical neurons."""

import jax
import numpy as np
import pytest

from prunejax import channels, topology
from prunejax import masks as masks_lib
from tests.support import narrow_networks


@pytest.fixture(autouse=True)
def _flax_mixes_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


def channels_left(graph, layer):
    """How many channels of a layer have an edge in."""
    nodes = next(each for each in graph.layers if each.name == layer)
    ended = np.bincount(graph.targets, minlength=graph.nodes) > 0
    own = ended[nodes.offset : nodes.offset + nodes.size].reshape(nodes.shape[0], -1)
    return own.any(axis=1)


def test_a_plan_of_redundant_channels():
    _, variables, x, network = narrow_networks.made("resnet8")
    plan = channels.measure(network, variables, x).plan_for(0.4)
    made = masks_lib.restrict(plan.masks(variables["params"]), masks_lib.make(variables["params"]))
    graph = topology.encode(network, made, variables["params"])
    for group, keep in plan.keep.items():
        if any(layer.name == group for layer in graph.layers):
            np.testing.assert_array_equal(channels_left(graph, group), keep)
    found = topology.measure(graph)
    assert all(np.isfinite(value) for value in found.values())
    assert found["disconnected"] > 0


def test_critical_neurons():
    model, variables, x, network = narrow_networks.made("mlp")
    labels = np.argmax(model.apply(variables, x), axis=1)
    scores = channels.critical_neurons(network, variables, x, labels, time_limit=20)
    made = scores.masks(variables["params"], threshold=0.1)
    made = masks_lib.restrict(made, masks_lib.make(variables["params"]))
    graph = topology.encode(network, made, variables["params"])
    for group, values in scores.scores.items():
        np.testing.assert_array_equal(channels_left(graph, group), np.asarray(values) >= 0.1)
    strength = topology.local(network, made, variables["params"]).strength
    for layer in graph.layers[1:-1]:
        own = np.asarray(strength)[layer.offset : layer.offset + layer.size]
        np.testing.assert_array_equal(own > 0, channels_left(graph, layer.name))
