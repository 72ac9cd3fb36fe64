"""Linear probes: what they read, and how well."""

import numpy as np
import scipy.optimize
import scipy.special

from solvers.layers import AveragePool, Conv, Dense, Relu
from solvers.network import probes
from solvers.problem import Problem
from tests.support.probed_layers import layer, network


def test_representations_are_what_is_masked():
    problem = network()
    values = probes.representations(problem.chain, problem.inputs)
    assert [each.shape for each in values] == [(9, 16, 5), (9, 9, 6), (9, 1, 7)]
    # by hand: the first layer's filter 2 at the upper left
    patches = problem.inputs[:, :4, :4, 0]
    kernel, bias = problem.layers[0].kernel[:, :, 0, 2], problem.layers[0].bias[2]
    responses = [
        (patches[:, i : i + 3, j : j + 3] * kernel).sum(axis=(1, 2)) + bias
        for i in range(2)
        for j in range(2)
    ]
    np.testing.assert_allclose(values[0][:, 0, 2], np.maximum(np.max(responses, axis=0), 0))


def test_the_last_layers_probe_is_the_network():
    problem = network()
    probe = probes.linear_rest(problem.chain)
    assert probe is not None
    last = probes.representations(problem.chain, problem.inputs)[-1]
    random = np.random.default_rng(0)
    kept = np.ones(problem.chain.neurons)
    kept[-7:] = random.integers(0, 2, 7)
    logits = (last * kept[-7:]).reshape(9, -1) @ probe.kernel + probe.bias
    np.testing.assert_allclose(logits, problem.chain.logits(problem.flat, kept), atol=1e-12)


def test_a_last_layer_with_positions_is_read_by_the_network_too():
    random = np.random.default_rng(1)
    layers = [
        Conv(random.normal(size=(3, 3, 1, 4)), random.normal(size=4)),
        Relu(),
        AveragePool((2, 2)),
        Dense(random.normal(size=(16, 3)), random.normal(size=3)),
    ]
    problem = Problem(layers, random.uniform(size=(5, 6, 6, 1)), np.arange(5) % 3)
    probe = probes.linear_rest(problem.chain)
    assert probe is not None
    kept = np.array([1.0, 0.0, 1.0, 0.0])
    values = probes.representations(problem.chain, problem.inputs)[0] * kept
    logits = values.reshape(5, -1) @ probe.kernel + probe.bias
    np.testing.assert_allclose(logits, problem.chain.logits(problem.flat, kept), atol=1e-12)


def test_a_fitted_probe_reads_its_layer():
    activations, labels, _ = layer(200, 3, 10, seed=4)
    probe = probes.fit_probe(activations, labels, 4)
    assert probe.kernel.shape == (30, 4)
    logits = activations.reshape(200, -1) @ probe.kernel + probe.bias
    assert (logits.argmax(axis=1) == labels).mean() > 0.8
    # no other kernel or bias is better, up to the decay
    chances = scipy.special.softmax(logits, axis=1) - np.eye(4)[labels]
    np.testing.assert_allclose(chances.mean(axis=0), 0, atol=1e-4)
    scale = np.sqrt(np.square(activations).sum(axis=(1, 2)).mean())
    slope = (activations.reshape(200, -1) / scale).T @ chances / 200
    np.testing.assert_allclose(slope + probes.DECAY * probe.kernel * scale, 0, atol=1e-4)


def test_a_layer_that_puts_out_nothing_has_a_probe():
    probe = probes.fit_probe(np.zeros((6, 2, 3)), np.arange(6) % 2, 2)
    np.testing.assert_array_equal(probe.kernel, np.zeros((6, 2)))
    np.testing.assert_allclose(probe.bias[0], probe.bias[1], atol=1e-6)
