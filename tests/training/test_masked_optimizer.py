"""A pruned weight is exactly 0 after any optimiser; the others learn as if it were not there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import masks
from prunejax.training import masked

SCHEDULE = optax.cosine_decay_schedule(0.1, 20)

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(SCHEDULE, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.05),
    "adamw": optax.adamw(0.05, weight_decay=0.1),
    "lion": optax.lion(0.05, weight_decay=0.1),
    "lamb": optax.lamb(0.05, weight_decay=0.1),
    "rmsprop": optax.rmsprop(0.01, momentum=0.9),
    "adafactor": optax.adafactor(0.05, min_dim_size_to_factor=2),
    "multisteps": optax.MultiSteps(optax.adamw(0.05), every_k_schedule=3),
    "inject_hyperparams": optax.inject_hyperparams(optax.adamw)(learning_rate=0.05),
    "decay_before": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9)),
    "decay_after": optax.chain(optax.adam(0.05), optax.add_decayed_weights(-0.01)),
    "noise": optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.1)),
    "inner_masked": optax.chain(optax.clip(1.0), masked(optax.adam(0.05)), optax.scale(0.5)),
    "clip": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.05)),
}


pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


def problem():
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"kernel": jax.random.normal(keys[0], (6, 4)), "bias": jnp.ones(4)}
    made = {"kernel": jax.random.bernoulli(keys[1], 0.5, (6, 4)), "bias": None}
    inputs = jax.random.normal(keys[2], (10, 6))

    def loss(params):
        return jnp.mean((inputs @ params["kernel"] + params["bias"] - 1.5) ** 2)

    return params, made, loss


def train(tx, params, made, loss, steps=12, jit=True):
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, masks=made)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step) if jit else step
    state = tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
        yield params


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_pruned_weights_are_exactly_zero_after_every_step(name):
    params, made, loss = problem()
    pruned = ~np.asarray(made["kernel"])
    start = float(loss(params))
    # Unmasked at the start: the first step has to prune them.
    for step, after in enumerate(train(masked(OPTIMIZERS[name]), params, made, loss)):
        kernel = np.asarray(after["kernel"])
        np.testing.assert_array_equal(kernel[pruned], 0.0, err_msg=f"step {step}")
    assert (kernel[~pruned] != 0).all()
    assert (kernel[~pruned] != np.asarray(params["kernel"])[~pruned]).all()
    assert (np.asarray(after["bias"]) != 1).all()
    if name != "noise":
        assert float(loss(after)) < start


@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw", "lion", "rmsprop"])
def test_kept_weights_train_as_in_a_network_without_the_others(name):
    """Element-wise optimisers on the kept weights alone, as a vector, give the same numbers."""
    params, made, loss = problem()
    rows, columns = np.nonzero(np.asarray(made["kernel"]))

    def small_loss(small):
        kernel = jnp.zeros((6, 4)).at[rows, columns].set(small["kernel"])
        return loss({"kernel": kernel, "bias": small["bias"]})

    small = {"kernel": params["kernel"][rows, columns], "bias": params["bias"]}
    tx = OPTIMIZERS[name]
    state = tx.init(small)
    start = masks.apply(params, made)
    for after in train(masked(tx), start, made, loss):
        updates, state = tx.update(jax.grad(small_loss)(small), state, small)
        small = optax.apply_updates(small, updates)
        np.testing.assert_allclose(
            np.asarray(after["kernel"])[rows, columns], small["kernel"], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(after["bias"], small["bias"], rtol=1e-5, atol=1e-6)


def test_outer_multisteps_passes_the_masks_on():
    params, made, loss = problem()
    tx = optax.MultiSteps(masked(optax.adamw(0.05, weight_decay=0.1)), every_k_schedule=2)
    *_, after = train(tx, params, made, loss)
    np.testing.assert_array_equal(np.asarray(after["kernel"])[~np.asarray(made["kernel"])], 0.0)


def test_no_moment_gathers_under_a_mask():
    params, made, loss = problem()
    tx = masked(optax.adamw(0.05, weight_decay=0.1))
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(jax.grad(loss)(params), state, params, masks=made)
        params = optax.apply_updates(params, updates)
    pruned = ~np.asarray(made["kernel"])
    np.testing.assert_array_equal(np.asarray(state[0].mu["kernel"])[pruned], 0)
    np.testing.assert_array_equal(np.asarray(state[0].nu["kernel"])[pruned], 0)


def test_masks_change_without_recompiling():
    params, made, loss = problem()
    tx = masked(optax.adamw(0.05))
    traced = []

    @jax.jit
    def step(params, state, made):
        traced.append(1)
        updates, state = tx.update(jax.grad(loss)(params), state, params, masks=made)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for flip in range(4):
        made = {"kernel": jnp.roll(made["kernel"], flip, 0), "bias": None}
        params, state = step(params, state, made)
        np.testing.assert_array_equal(np.asarray(params["kernel"])[~np.asarray(made["kernel"])], 0)
    assert len(traced) == 1


def test_bfloat16_parameters():
    params, made, loss = problem()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    *_, after = train(masked(optax.adamw(0.05, weight_decay=0.1)), params, made, loss)
    assert after["kernel"].dtype == jnp.bfloat16
    kernel = np.asarray(after["kernel"].astype(jnp.float32))
    np.testing.assert_array_equal(kernel[~np.asarray(made["kernel"])], 0.0)


def test_missing_arguments_are_named():
    params, made, loss = problem()
    tx = masked(optax.sgd(0.1))
    gradients = jax.grad(loss)(params)
    with pytest.raises(ValueError, match="needs masks="):
        tx.update(gradients, tx.init(params), params)
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(gradients, tx.init(params), masks=made)
    wrong = {"kernel": made["kernel"][:2], "bias": None}
    with pytest.raises(ValueError, match="shape"):
        tx.update(gradients, tx.init(params), params, masks=wrong)


LEARNING = {
    name: getattr(package, name)
    for package, names in {
        optax: (
            "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage "
            "lamb lars lbfgs lion nadam nadamw noisy_sgd novograd optimistic_adam_v2 "
            "optimistic_gradient_descent polyak_sgd radam rmsprop rprop sgd sign_sgd signum sm3 "
            "yogi"
        ),
        optax.contrib: (
            "acprop ademamix adopt cocob dadapt_adamw dog dowg galore madgrad momo momo_adam muon "
            "prodigy schedule_free_adamw schedule_free_sgd simplified_ademamix sophia"
        ),
    }.items()
    for name in names.split()
    if hasattr(package, name)  # the oldest optax that is supported has some less
}
"""Every optimiser of optax that takes a learning rate (dpsgd wants a gradient per example)."""


@pytest.mark.parametrize("name", LEARNING)
def test_weights_pruned_in_the_middle_are_zero_under_every_optimizer(name):
    """Also in the parameters that one evaluates with."""
    params, made, loss = problem()
    params = {"kernel": params["kernel"]}
    made = {"kernel": made["kernel"]}

    def of(params):
        return loss({**params, "bias": jnp.zeros(4)})

    options = {
        "noisy_sgd": {"learning_rate": 0.01, "key": jax.random.key(0)},
        "polyak_sgd": {"max_learning_rate": 0.1},
    }
    tx = masked(LEARNING[name](**options.get(name, {"learning_rate": 0.01})))
    state = tx.init(params)

    @jax.jit
    def step(params, state, made):
        value, gradients = jax.value_and_grad(of)(params)
        extra = {
            "lbfgs": {"value": value, "grad": gradients, "value_fn": of},
            "polyak_sgd": {"value": value},
            "momo": {"value": value},
            "momo_adam": {"value": value},
            "sophia": {"obj_fn": of},
        }.get(name, {})
        updates, state = tx.update(gradients, state, params, masks=made, **extra)
        return optax.apply_updates(params, updates), state

    whole = jax.tree.map(jnp.ones_like, made)
    start = np.asarray(params["kernel"])
    for turn in range(5):
        params, state = step(params, state, whole if turn < 2 else made)
    found = params
    if name.startswith("schedule_free"):
        found = optax.contrib.schedule_free_eval_params(state, params)
    pruned = ~np.asarray(made["kernel"])
    for tree in (params, found):
        kernel = np.asarray(tree["kernel"])
        assert np.isfinite(kernel).all()
        np.testing.assert_array_equal(kernel[pruned], 0.0)
        assert (kernel[~pruned] != start[~pruned]).any()


def test_lookahead_goes_inside():
    params, made, loss = problem()
    tx = masked(optax.lookahead(optax.adam(0.05), sync_period=2, slow_step_size=0.5))
    pruned = ~np.asarray(made["kernel"])
    for masks_given in (made, optax.LookaheadParams(made, made)):
        both = optax.LookaheadParams.init_synced(params)
        state = tx.init(both)
        for _ in range(5):
            gradients = jax.grad(loss)(both.fast)
            updates, state = tx.update(gradients, state, both, masks=masks_given)
            both = optax.apply_updates(both, updates)
            for part in both:
                np.testing.assert_array_equal(np.asarray(part["kernel"])[pruned], 0.0)
        assert float(loss(both.slow)) < float(loss(params))
    outside = optax.lookahead(masked(optax.adam(0.05)), sync_period=2, slow_step_size=0.5)
    with pytest.raises(ValueError, match=r"goes inside: masked\(lookahead\(tx\)\)"):
        outside.update(gradients, outside.init(both), both)


@pytest.mark.parametrize("order", ["multi_transform", "optax_masked"])
def test_wrappers_that_take_leaves_out_may_stand_outside(order):
    params, made, loss = problem()
    params["other"] = {"kernel": jnp.ones((3, 2))}
    made["other"] = {"kernel": jnp.eye(3, 2).astype(bool)}
    inner = masked(optax.adamw(0.05, weight_decay=0.1))
    if order == "multi_transform":
        labels = {"kernel": "a", "bias": "a", "other": {"kernel": "b"}}
        tx = optax.multi_transform({"a": inner, "b": masked(optax.sgd(0.1))}, labels)
    else:
        tx = optax.chain(
            optax.masked(inner, {"kernel": True, "bias": True, "other": {"kernel": False}}),
            optax.masked(masked(optax.sgd(0.1)), {"kernel": False, "bias": False, "other": True}),
        )

    def of(params):
        return loss(params) + jnp.sum(params["other"]["kernel"] ** 2)

    *_, after = train(tx, params, made, of)
    for path in (("kernel",), ("other", "kernel")):
        kernel, mask = after, made
        for key in path:
            kernel, mask = kernel[key], mask[key]
        np.testing.assert_array_equal(np.asarray(kernel)[~np.asarray(mask)], 0.0)
        assert (np.asarray(kernel)[np.asarray(mask)] != 0).all()
