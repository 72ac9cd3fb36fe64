"""Perturbed networks: what is pruned stays 0, what has no mask stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks as masks_lib
from prunejax.robustness import PERTURBATIONS, perturb

NAMES = sorted(PERTURBATIONS)


def network(seed=0):
    keys = jax.random.split(jax.random.key(seed), 5)
    params = {
        "conv": {"kernel": jax.random.normal(keys[0], (3, 3, 2, 4)), "bias": jnp.ones(4)},
        "dense": {"kernel": jax.random.normal(keys[1], (20, 10))},
        "links": jax.random.normal(keys[2], (60,)),
        "head": {"kernel": jax.random.normal(keys[3], (10, 3)), "bias": jnp.zeros(3)},
    }
    made = {
        "conv": {"kernel": jax.random.bernoulli(keys[4], 0.5, (3, 3, 2, 4)), "bias": None},
        "dense": {"kernel": jax.random.bernoulli(keys[4], 0.3, (20, 10))},
        "links": jnp.ones(60, bool),
        "head": {"kernel": None, "bias": None},
    }
    return params, made


def masked(params, made):
    return [
        (np.asarray(weight), np.asarray(mask))
        for weight, mask in zip(
            jax.tree.leaves(params), jax.tree.structure(params).flatten_up_to(made), strict=True
        )
        if mask is not None
    ]


@pytest.mark.parametrize("name", NAMES)
def test_pruned_weights_stay_zero_and_other_leaves_as_they_are(name):
    params, made = network()
    after = perturb(jax.random.key(1), params, made, name, 0.5)
    assert jax.tree.structure(after) == jax.tree.structure(params)
    for leaf in ("bias", "kernel"):
        np.testing.assert_array_equal(after["head"][leaf], params["head"][leaf])
    np.testing.assert_array_equal(after["conv"]["bias"], params["conv"]["bias"])
    changed = masked(after, made)
    for (before, mask), (weight, _) in zip(masked(params, made), changed, strict=True):
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != before[mask]).any()
        if "order" in name or name == "random":
            assert (weight[mask] == 0).sum() == round(0.5 * mask.sum())
    again = perturb(jax.random.key(1), params, made, name, 0.5)
    jax.tree.map(np.testing.assert_array_equal, after, again)


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_changes_nothing(name):
    params, made = network()
    params = masks_lib.apply(params, made)
    after = perturb(jax.random.key(1), params, made, name, 0.0)
    jax.tree.map(np.testing.assert_array_equal, after, params)


@pytest.mark.parametrize("name", ["random", "weight_order", "reverse_weight_order"])
def test_strength_one_removes_all(name):
    params, made = network()
    for weight, _ in masked(perturb(jax.random.key(1), params, made, name, 1), made):
        assert not weight.any()


@pytest.mark.parametrize("name", ["random", "shuffling", "noise"])
def test_each_leaf_and_each_key_draws_its_own(name):
    weights = jnp.linspace(-1, 2, 50)
    params, made = {"a": weights, "b": weights}, {"a": jnp.ones(50, bool), "b": jnp.ones(50, bool)}
    after = perturb(jax.random.key(0), params, made, name, 0.5)
    other = perturb(jax.random.key(1), params, made, name, 0.5)
    assert (after["a"] != after["b"]).any()
    assert (after["a"] != other["a"]).any()


def test_a_layer_that_lost_all_its_weights():
    params, made = network()
    made["dense"]["kernel"] = jnp.zeros((20, 10), bool)
    for name in NAMES:
        after = perturb(jax.random.key(0), params, made, name, 0.5)
        assert not np.asarray(after["dense"]["kernel"]).any()


def test_what_stands_under_a_mask_is_not_read():
    params, made = network()
    made["conv"]["kernel"] = made["conv"]["kernel"].at[0].set(False)
    stained = {**params, "conv": dict(params["conv"])}
    stained["conv"]["kernel"] = params["conv"]["kernel"].at[0].set(jnp.nan)
    for name in NAMES:
        jax.tree.map(
            np.testing.assert_array_equal,
            perturb(jax.random.key(0), params, made, name, 0.3),
            perturb(jax.random.key(0), stained, made, name, 0.3),
        )


def test_a_perturbation_of_ones_own_with_traced_parameters():
    params, made = network()

    def doubled(key, weights, strength):
        return weights * (1 + strength)

    @jax.jit
    def attacked(key, params, strength):
        return perturb(key, params, made, doubled, strength)

    after = attacked(jax.random.key(0), params, 2.0)
    np.testing.assert_allclose(after["links"], 3 * params["links"], rtol=1e-6)
    np.testing.assert_allclose(
        after["conv"]["kernel"], 3 * np.where(made["conv"]["kernel"], params["conv"]["kernel"], 0)
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda p, m: (p, m, "randon", 0.1),
            "unknown perturbation 'randon'.*mean 'random'",
        ),
        (lambda p, m: (p, m, "random", 1.1), r"strengths of random must be in \[0, 1\], got 1.1"),
        (lambda p, m: (p, m, "random", -0.1), r"must be in \[0, 1\], got -0.1"),
        (lambda p, m: (p, m, "noise", np.nan), "strengths of noise must be 0 or more, got nan"),
        (lambda p, m: (p, m, "noise", np.inf), "0 or more, got inf"),
        (
            lambda p, m: ({**p, "links": p["links"].at[3].set(jnp.nan)}, m, "noise", 0.1),
            "1 of 60 weights of 'links' are not finite",
        ),
        (
            lambda p, m: (p, {**m, "links": jnp.ones(61, bool)}, "noise", 0.1),
            r"mask of 'links' has shape \(61,\)",
        ),
        (
            lambda p, m: (p, m, lambda key, weights, strength: weights[1:], 0.1),
            "of the weights of 'conv/kernel'",
        ),
    ],
)
def test_what_is_refused(call, message):
    params, made = network()
    with pytest.raises(ValueError, match=message):
        perturb(jax.random.key(0), *call(params, made))


def test_traced_masks_are_refused():
    params, made = network()
    with pytest.raises(ValueError, match="the masks are traced"):
        jax.jit(lambda made: perturb(jax.random.key(0), params, made, "noise", 0.1))(made)
