"""Bounds against sampled activations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.layers import (
    Dense,
    Relu,
)
from solvers.network import bounds, chain
from tests.support.layer_cases import activations, networks


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    which=st.integers(0, 4),
    epsilon=st.sampled_from([0.0, 1e-5, 0.05, 0.5]),
    gated=st.booleans(),
)
def test_bounds_contain_every_activation(seed, which, epsilon, gated):
    random = np.random.default_rng(seed)
    network, shape = networks(seed)[which]
    built = chain.build(network, shape)
    image = random.uniform(size=(1, *shape)).reshape(1, -1)
    found = bounds.interval(built, image, epsilon, gated=gated)
    for _ in range(12):
        # corners and inner points of the box
        moved = image[0] + epsilon * np.clip(random.uniform(-2, 2, image.shape[1]), -1, 1)
        share = random.uniform() if gated else 1.0
        kept = [(random.uniform(size=gate.neurons) <= share) * 1.0 for gate in built.gates]
        for bound, values in zip(found, activations(built, moved, kept), strict=True):
            assert np.all(values >= bound.lower[0] - 1e-9)
            assert np.all(values <= bound.upper[0] + 1e-9)


def test_bounds_of_a_dense_layer_are_reached():
    kernel, bias = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([0.25, -1.0])
    built = chain.build([Dense(kernel, bias), Relu(), Dense(np.eye(2))], (2,))
    found = bounds.interval(built, np.array([[0.5, 0.5]]), 0.1, gated=False)
    # the smallest and largest value by hand: 0.5 (sum) + bias -/+ 0.1 (sum of magnitudes)
    np.testing.assert_allclose(found[0].lower, [[2.25 - 0.4, -1.75 - 0.25]])
    np.testing.assert_allclose(found[0].upper, [[2.25 + 0.4, -1.75 + 0.25]])
