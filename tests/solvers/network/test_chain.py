"""A chain of steps against its layers, and what no chain can hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.critical_neurons import Problem
from solvers.layers import (
    Affine,
    AveragePool,
    Conv,
    Dense,
    MaxPool,
    Relu,
)
from solvers.network import chain
from tests.support.layer_cases import dense, forward, networks


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), which=st.integers(0, 4), keep=st.floats(0, 1))
def test_a_chain_is_its_layers_under_masks(seed, which, keep):
    random = np.random.default_rng(seed)
    network, shape = networks(seed)[which]
    built = chain.build(network, shape)
    image = random.uniform(size=shape)
    kept = [(random.uniform(size=gate.neurons) < keep).astype(float) for gate in built.gates]
    found = built.logits(image.reshape(1, -1), np.concatenate(kept))[0]
    np.testing.assert_allclose(found, forward(network, image, kept), atol=1e-10)


@pytest.mark.parametrize("pool", [AveragePool((2, 2)), MaxPool((2, 2))])
def test_a_channel_scaled_to_nothing_is_masked_as_itself(pool):
    random = np.random.default_rng(1)
    scale, shift = np.array([1.0, 0.0, 0.5]), np.array([0.1, 2.0, 0.3])
    network = [
        Conv(random.normal(size=(3, 3, 1, 3)), name="first"),
        pool,
        Affine(scale, shift),
        Relu(),
        Dense(random.normal(size=(12, 2))),
    ]
    problem = Problem(network, random.uniform(size=(4, 6, 6, 1)), np.arange(4) % 2)
    for channel in range(3):
        kept = np.ones(3)
        kept[channel] = 0
        # by hand: without the channel's rows of the last kernel
        kernel = network[-1].kernel.reshape(2, 2, 3, 2) * kept[:, None]
        cut = [*network[:-1], Dense(kernel.reshape(12, 2))]
        expected = chain.build(cut, (6, 6, 1)).logits(problem.flat)
        np.testing.assert_allclose(problem.chain.logits(problem.flat, kept), expected, atol=1e-12)


@pytest.mark.parametrize(
    "network, shape, message",
    [
        ([dense(4, 3), Relu()], (4,), "last layer must be a Dense"),
        ([dense(4, 3), dense(3, 2)], (4,), "of3 is followed by of2 without a ReLU"),
        ([dense(4, 3), Relu(), dense(4, 2)], (4,), "of2 has a kernel of shape"),
        ([dense(4, 3), AveragePool((1, 1)), Relu(), dense(3, 2)], (4,), "an average pool takes"),
        ([dense(4, 3), MaxPool((1, 1)), Relu(), dense(3, 2)], (4,), "a max pool takes"),
        ([MaxPool((3, 3)), dense(4, 2)], (2, 2, 1), "a window of 3 does not fit into 2"),
        ([Conv(np.ones((3, 3, 2, 2))), dense(4, 2)], (4, 4, 1), "has 1 channels"),
        ([Conv(np.ones((1, 1, 1, 3)), groups=2), dense(4, 2)], (2, 2, 2), "3 filters cannot"),
        ([Conv(np.ones((5, 5, 1, 2)), name="c"), dense(4, 2)], (4, 4, 1), "c does not fit"),
        ([Dense(np.ones((4, 3)), np.ones(2), "a"), Relu(), dense(3, 2)], (4,), "bias of shape"),
    ],
)
def test_what_a_program_cannot_hold_is_said(network, shape, message):
    with pytest.raises(ValueError, match=message):
        chain.build(network, shape)


@pytest.mark.parametrize(
    "layer, said",
    [("relu", "layer 1 .*got 'relu'"), (None, "layer 1 .*None"), (Relu, "the class Relu")],
)
def test_what_is_no_layer_is_named(layer, said):
    with pytest.raises(ValueError, match=said):
        Problem([dense(4, 3), layer, dense(3, 2)], np.ones((2, 4)), np.array([0, 1]))


def test_layers_may_come_one_by_one():
    network = [dense(4, 3), Relu(), dense(3, 2)]
    given = Problem((layer for layer in network), np.ones((2, 4)), np.array([0, 1]))
    assert given.layers == tuple(network)
    assert given.loss() == Problem(network, np.ones((2, 4)), np.array([0, 1])).loss()
    for nothing in (network[0], "relu", None):
        with pytest.raises(ValueError, match="layers must be a sequence, got"):
            Problem(nothing, np.ones((2, 4)), np.array([0, 1]))
