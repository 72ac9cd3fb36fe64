"""Ramanujan metrics against eigenvalues of the whole adjacency matrix."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import network, topology


def layer(mask, weights=None):
    params = {"kernel": jnp.ones(mask.shape) if weights is None else jnp.asarray(weights)}
    with pytest.warns(UserWarning, match="no channel"):
        given = network.trace(lambda p, x: x @ p["kernel"], params, jnp.ones((1, len(mask))))
    return given, {"kernel": mask}, params


def eigenvalues(block):
    left, right = block.shape
    whole = np.zeros((left + right, left + right))
    whole[:left, left:] = block
    return np.sort(np.abs(np.linalg.eigvalsh(whole + whole.T)))[::-1]


def test_a_complete_graph_by_hand():
    """K(4, 5): eigenvalues are sqrt(20), its negative, and zeros."""
    found = topology.ramanujan(*layer(np.ones((4, 5), bool)))["kernel"]
    assert found.difference_of_bound == pytest.approx(2 * math.sqrt(40 / 9 - 1), abs=1e-6)
    assert found.imdb == pytest.approx(2 * math.sqrt(5 - 1), abs=1e-6)
    assert found.imsg == pytest.approx(math.sqrt(20), abs=1e-6)
    assert found.density == 1
    published = topology.ramanujan(*layer(np.ones((4, 5), bool)), compat=True)["kernel"]
    assert published.difference_of_bound == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_random_layers(seed):
    rng = np.random.default_rng(seed)
    mask, weights = rng.random((14, 9)) < 0.6, rng.normal(size=(14, 9)).astype(np.float32)
    found = topology.ramanujan(*layer(mask, weights))["kernel"]
    second = eigenvalues(mask.astype(float))[2]  # the largest comes with its negative
    mean = 2 * mask.sum() / (14 + 9)
    assert found.difference_of_bound == pytest.approx(2 * math.sqrt(mean - 1) - second, abs=1e-6)
    bounds, gaps = [], []
    for degree in range(3, 10):
        rows = mask.sum(axis=1) == degree
        if rows.any():
            bounds.append(2 * math.sqrt(degree - 1) - eigenvalues(mask[rows].astype(float))[2])
            values = eigenvalues(np.abs(weights * mask)[rows])
            gaps.append(values[0] - values[2])
    assert found.imdb == pytest.approx(np.mean(bounds), abs=1e-6)
    assert found.imsg == pytest.approx(np.mean(gaps), abs=1e-5)
    left, right = mask.sum() / 14, mask.sum() / 9
    bound = math.sqrt(left - 1) + math.sqrt(right - 1)
    published = topology.ramanujan(*layer(mask, weights), compat=True)["kernel"]
    assert published.difference_of_bound == pytest.approx((bound - second) / bound, abs=1e-6)


def test_a_layer_that_is_too_sparse_has_none():
    found = topology.ramanujan(*layer(np.eye(6, dtype=bool)))["kernel"]
    assert math.isnan(found.difference_of_bound)
    assert math.isnan(found.imdb)
    assert math.isnan(found.imsg)
    assert found.density == pytest.approx(1 / 6)
