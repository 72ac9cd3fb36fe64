"""What degrees say without edges, against the edges, on every model of the zoo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks as masks_lib
from prunejax import network, topology
from tests.support.small_zoo import SMALL, each, made
from tests.topology.test_encoding import Overlapping, Parallel, Strided, traced


def check(found, graph):
    into = np.bincount(graph.targets, minlength=graph.nodes)
    out = np.bincount(graph.sources, minlength=graph.nodes)
    np.testing.assert_array_equal(found.in_degree, into)
    np.testing.assert_array_equal(found.out_degree, out)
    strength = np.bincount(graph.targets, graph.weights, graph.nodes)
    strength += np.bincount(graph.sources, graph.weights, graph.nodes)
    np.testing.assert_allclose(found.strength, strength, rtol=1e-4, atol=1e-5)
    begun, ended = graph.of_role("input"), graph.of_role("output")
    sources = (into == 0) & (out > 0) & ~begun
    sinks = (out == 0) & (into > 0) & ~ended
    np.testing.assert_array_equal(found.sources, sources)
    np.testing.assert_array_equal(found.sinks, sinks)
    np.testing.assert_array_equal(found.disconnected, (into == 0) & (out == 0))
    assert int(found.edges) == graph.edges
    np.testing.assert_allclose(found.r_out, out[sources].sum() / graph.edges, rtol=1e-5)
    np.testing.assert_allclose(found.r_in, into[sinks].sum() / graph.edges, rtol=1e-5)
    np.testing.assert_allclose(found.n1, graph.edges / graph.nodes, rtol=1e-6)


@pytest.mark.parametrize("name", each(SMALL))
def test_it_is_what_the_edges_say(name):
    model, variables, x, *_ = made(name)
    if name.startswith("spiking"):
        model = model.clone(timesteps=1)
    params = variables["params"]
    with jax.numpy_dtype_promotion("standard"):
        given = network.trace(model.apply, variables, x)
        rng = np.random.default_rng(0)
        masks = jax.tree.map(
            lambda leaf: jnp.asarray(rng.random(leaf.shape) < 0.15), masks_lib.make(params)
        )
        graph = topology.encode(given, masks, params)
        prepared = topology.tables(given)
    assert prepared.layers == graph.layers
    found = topology.local(prepared, masks, params, two_hops=True)
    check(found, graph)
    (n2,) = topology.measure(graph, ["n2"], normalize=False).values()
    assert float(found.n2) == pytest.approx(n2, rel=1e-6)
    without = topology.local(prepared, masks)
    ends = np.concatenate((graph.sources, graph.targets))
    np.testing.assert_array_equal(without.strength, np.bincount(ends, minlength=graph.nodes))


def test_it_compiles_once_for_all_masks():
    given, masks, params = traced(Strided(), (5, 6, 2))
    prepared, calls = topology.tables(given), []

    @jax.jit
    def measured(masks, params):
        calls.append(1)
        return topology.local(prepared, masks, params)

    for density in (0.5, 0.2, 0.0):
        rng = np.random.default_rng(1)
        masks = jax.tree.map(lambda leaf: rng.random(leaf.shape) < density, masks)  # noqa: B023
        if density:
            check(measured(masks, params), topology.encode(given, masks, params))
    empty = measured(masks, params)
    assert (int(empty.edges), float(empty.r_out)) == (0, 0)
    assert empty.disconnected.all()
    assert len(calls) == 1


def test_masks_can_be_optimised_over():
    """The strength of one node has a gradient: each weight that touches it, as often as it does."""
    given, masks, params = traced(Strided(), (5, 6, 2), batch=1)
    prepared = topology.tables(given)
    graph = topology.encode(given, masks, params)
    head = next(layer for layer in graph.layers if layer.name == "head")
    slope = jax.grad(lambda params: topology.local(prepared, masks, params).strength[head.offset])(
        jax.tree.map(jnp.asarray, params)
    )
    expected = np.zeros_like(params["head"]["kernel"])
    expected[:, 0] = masks["head"]["kernel"][:, 0]
    np.testing.assert_allclose(slope["head"]["kernel"], expected)


@pytest.mark.parametrize("module", [Overlapping(), Parallel()])
def test_edges_that_only_a_graph_can_tell_apart_are_refused(module):
    with jax.numpy_dtype_promotion("standard"):
        given, masks, _ = traced(module, (7, 7, 2))
        with pytest.raises(ValueError, match="join the same nodes"):
            topology.local(given, masks)


def test_masks_of_another_network_are_refused():
    given, masks, _ = traced(Strided(), (5, 6, 2))
    with pytest.raises(ValueError, match="another network: 'other/"):
        topology.local(given, {"other": masks})
