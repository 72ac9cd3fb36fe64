"""The wrapper against a loop that does the same in NumPy, and what must hold for all of it."""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import data, models, training
from prunejax import masks as masks_lib
from prunejax.rewiring import during_training
from prunejax.rewiring.during_training import TRAINING_METHODS, sparsified
from prunejax.training import masked
from tests.support import rewiring_reference as reference
from tests.support.l3_reference import l3_scores

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")

METHODS = sorted(set(TRAINING_METHODS) - {"ch3_l3"})  # which needs layers with two axes
SPARSITY = 0.6
TIMES = {"every": 3, "begin": 0, "end": 12}
KERNELS = ("conv", "dense")


def forward(params, images):
    hidden = jax.lax.conv_general_dilated(
        images, params["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    hidden = jnp.tanh(hidden + params["conv"]["bias"]).reshape(len(images), -1)
    return hidden @ params["dense"]["kernel"] + params["dense"]["bias"]


@functools.cache
def case(seed=0, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "conv": {
            "kernel": jax.random.normal(keys[0], (3, 3, 4, 4), dtype) / 6,
            "bias": jnp.ones(4, dtype) / 4,
        },
        "dense": {
            "kernel": jax.random.normal(keys[1], (64, 8), dtype) / 8,
            "bias": jnp.zeros(8, dtype),
        },
    }
    images = jax.random.normal(keys[2], (5, 4, 4, 4), dtype)
    target = jax.random.normal(keys[3], (5, 8), dtype)
    return params, lambda params: jnp.mean((forward(params, images) - target) ** 2)


def stepper(tx, loss):
    """One step of a user's loop."""

    def step(params, state):
        def of(params):
            return loss(during_training.forward_params(params, state))

        gradients = jax.grad(of)(params)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return step


def train(tx, params, loss, steps):
    """Parameters and states, those at the start first."""
    step = jax.jit(stepper(tx, loss))
    state = tx.init(params)
    yield params, state
    for _ in range(steps):
        params, state = step(params, state)
        yield params, state
    assert step._cache_size() == 1


def kernels(tree):
    return {name: np.asarray(tree[name]["kernel"]) for name in KERNELS}


def counts(made):
    return [int(mask.sum()) for mask in kernels(made).values()]


SIZES = {"conv": 144, "dense": 512}
TOTAL = sum(SIZES.values())


@pytest.mark.parametrize("distribution", ["global", "erk"])
@pytest.mark.parametrize("name", METHODS)
def test_it_does_what_a_slow_loop_does(name, distribution):
    params, loss = case()
    tx = sparsified(
        optax.adam(0.02), name, sparsity=SPARSITY, distribution=distribution, **TIMES,
        key=jax.random.key(3),
    )  # fmt: skip
    method = TRAINING_METHODS[name]
    through = method.straight_through
    inner = optax.adam(0.02) if through else masked(optax.adam(0.02))
    made = during_training.masks_of(tx.init(params))
    slow, slow_state = params, inner.init(params)
    per_leaf = dict(zip(KERNELS, counts(made), strict=True))
    for done, (fast, state) in enumerate(train(tx, params, loss, 14)):
        if done:
            # straight through: at the kept weights, for all of them
            gradients = jax.grad(loss)(masks_lib.apply(slow, made) if through else slow)
            options = {} if through else {"masks": made}
            updates, slow_state = inner.update(gradients, slow_state, slow, **options)
            slow = optax.apply_updates(slow, updates)
            if done % 3 == 0 and done <= 12:
                old = kernels(made)
                new = changed(name, distribution, kernels(slow), kernels(gradients), old, done,
                              per_leaf, kernels(during_training.masks_of(state)))  # fmt: skip
                made = {leaf: {"kernel": jnp.asarray(new[leaf]), "bias": None} for leaf in KERNELS}
                if not through:
                    slow = masks_lib.apply(slow, made)
                    both = [reset(tree, old, new) for tree in (slow_state[0].mu, slow_state[0].nu)]
                    slots = slow_state[0]._replace(mu=both[0], nu=both[1])
                    slow_state = (slots, *slow_state[1:])
        for leaf in KERNELS:
            found = during_training.masks_of(state)[leaf]["kernel"]
            np.testing.assert_array_equal(found, made[leaf]["kernel"], err_msg=f"{leaf} {done}")
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), fast, slow
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5),
            state.inner[0].mu, slow_state[0].mu,
        )  # fmt: skip


def reset(slots, old, new):
    """An optimiser's slots, 0 where a mask has changed."""
    return {
        leaf: {**tree, "kernel": jnp.where(old[leaf] != new[leaf], 0, tree["kernel"])}
        for leaf, tree in slots.items()
    }


def changed(name, distribution, weights, gradients, old, done, per_leaf, found):
    """The masks after a step, by hand."""
    magnitudes = {leaf: np.abs(weights[leaf]) for leaf in KERNELS}
    if name == "set":  # which ones are drawn is the key's; how many, and that the weak go, is not
        for leaf in KERNELS:
            dropped = math.floor(0.3 * per_leaf[leaf])
            stay = reference.largest(magnitudes[leaf], per_leaf[leaf] - dropped, old[leaf])
            assert found[leaf][stay].all()
        return found
    if name == "rigl":
        fraction = 0.3 * (1 + math.cos(math.pi * done / 12)) / 2
        return {
            leaf: reference.drop_and_grow(
                weights[leaf], old[leaf], np.abs(gradients[leaf]), fraction
            )
            for leaf in KERNELS
        }
    part = reference.cubic(done // 3, 4) if name.startswith("gradual") else 1.0
    if name == "gradual_saliency":
        magnitudes = {leaf: np.abs(weights[leaf] * gradients[leaf]) for leaf in KERNELS}
    if name == "gradual_random":
        count = TOTAL - round(part * SPARSITY * TOTAL)
        assert distribution != "global" or sum(int(found[leaf].sum()) for leaf in KERNELS) == count
        assert not any((found[leaf] & ~old[leaf]).any() for leaf in KERNELS)
        return found
    alive = {leaf: np.ones_like(old[leaf]) if name == "straight_through" else old[leaf]
             for leaf in KERNELS}  # fmt: skip
    if distribution == "global":
        count = TOTAL - round(part * SPARSITY * TOTAL)
        return reference.largest_together(magnitudes, count, alive)
    density = {"conv": 14 / 144, "dense": 72 / 512}
    share = (TOTAL - round(SPARSITY * TOTAL)) / sum(density[leaf] * SIZES[leaf] for leaf in KERNELS)
    exact = {leaf: share * density[leaf] * SIZES[leaf] for leaf in KERNELS}
    last = {leaf: math.floor(exact[leaf]) for leaf in KERNELS}
    missing = TOTAL - round(SPARSITY * TOTAL) - sum(last.values())
    for leaf in sorted(KERNELS, key=lambda leaf: last[leaf] - exact[leaf])[:missing]:
        last[leaf] += 1
    return {
        leaf: reference.largest(
            magnitudes[leaf],
            SIZES[leaf] - round(part * (SIZES[leaf] - last[leaf])),
            alive[leaf],
        )
        for leaf in KERNELS
    }


OPTIMIZERS = {
    "momentum": optax.sgd(0.05, momentum=0.9),
    "adamw": optax.adamw(0.02, weight_decay=0.1),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02)),
    "adafactor": optax.adafactor(0.02, min_dim_size_to_factor=4),
    "adagrad": optax.adagrad(0.05),
    "lion": optax.lion(0.01),
    "multisteps": optax.MultiSteps(optax.adam(0.02), every_k_schedule=2),
    "inject": optax.inject_hyperparams(optax.adam)(learning_rate=0.02),
    "schedule_free": optax.contrib.schedule_free_adamw(0.02),
    "partly": optax.multi_transform(
        {"a": optax.adam(0.02), "b": optax.sgd(0.02, momentum=0.9)}, {"conv": "a", "dense": "b"}
    ),
}


OFTEN = {("rigl", name) for name in OPTIMIZERS} | {("gradual", "multisteps")}


@pytest.mark.parametrize(
    "name, optimizer",
    [
        pytest.param(name, optimizer, marks=() if (name, optimizer) in OFTEN else pytest.mark.slow)
        for name in ("gradual", "rigl")
        for optimizer in sorted(OPTIMIZERS)
    ],
)
def test_any_optimiser(name, optimizer):
    params, loss = case()
    tx = sparsified(OPTIMIZERS[optimizer], name, sparsity=SPARSITY, every=4, end=12)
    start, before = float(loss(params)), None
    for done, (after, state) in enumerate(train(tx, params, loss, 13)):
        made = kernels(during_training.masks_of(state))
        if done:
            for leaf in KERNELS:
                assert not kernels(after)[leaf][~made[leaf]].any()
                grown = made[leaf] & ~before[leaf]
                assert not kernels(after)[leaf][grown].any()
                for slot in slots_of(state.inner, leaf):
                    assert (slot[grown] == begun(optimizer)).all()
                    assert (slot[~made[leaf]] == begun(optimizer)).all()
        before = made
    assert sum(counts(during_training.masks_of(state))) == TOTAL - round(SPARSITY * TOTAL)
    assert float(loss(after)) < start


def begun(optimizer):
    return np.float32(0.1) if optimizer == "adagrad" else 0


def slots_of(state, leaf):
    shape = {"conv": (3, 3, 4, 4), "dense": (64, 8)}[leaf]
    return [np.asarray(slot) for slot in jax.tree.leaves(state) if np.shape(slot) == shape]


def test_slots_are_found_in_every_optimiser():
    params, _ = case()
    for name, tx in OPTIMIZERS.items():
        if name == "adafactor":  # it has rows and columns alone
            continue
        state = sparsified(tx, "set", sparsity=0.5, every=1).init(params)
        assert slots_of(state.inner, "conv"), name


@pytest.mark.parametrize("name", METHODS)
def test_many_seeds_at_once_and_a_scan_over_steps(name):
    """Each member is what it is alone; the change of masks stays a branch."""
    loss = case()[1]
    starts = [case(seed)[0] for seed in (0, 1)]
    keys = jax.random.split(jax.random.key(0), 2)

    def run(params, key):
        tx = sparsified(optax.adam(0.02), name, sparsity=SPARSITY, **TIMES, key=key)
        step = stepper(tx, loss)
        (params, state), _ = jax.lax.scan(
            lambda carry, _: (step(*carry), None), (params, tx.init(params)), length=10
        )
        return params, during_training.masks_of(state)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    together = jax.jit(jax.vmap(run))(stacked, keys)
    alone = jax.jit(run)
    for member, (start, key) in enumerate(zip(starts, keys, strict=True)):
        after, made = alone(start, key)
        jax.tree.map(
            lambda one, all, member=member: np.testing.assert_array_equal(one, all[member]),
            made, together[1],
        )  # fmt: skip
        jax.tree.map(
            lambda one, all, member=member: np.testing.assert_allclose(
                one, all[member], rtol=1e-3, atol=1e-5
            ),
            after, together[0],
        )  # fmt: skip


def test_masks_are_computed_in_the_steps_that_change_them_alone():
    calls = []

    def growth(key, left):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.abs(left.gradient)

    params, loss = case()
    tx = sparsified(
        optax.sgd(0.1), during_training.DropAndGrow(growth), sparsity=0.5, every=4, begin=2
    )
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), stacked)
    step = jax.jit(jax.vmap(jax.vmap(stepper(tx, loss))))
    state = jax.vmap(jax.vmap(tx.init))(twice)
    called = []
    for _ in range(7):
        calls.clear()
        twice, state = step(twice, state)
        jax.effects_barrier()
        called.append(len(calls) > 0)
    assert called == [False, True, False, False, False, True, False]


def test_links_grow_where_paths_predict_them():
    params, loss = case()
    weights = jax.random.normal(jax.random.key(0), (64, 8))
    params = {**params, "dense": {**params["dense"], "kernel": weights}}
    still = optax.sgd(0.0)
    tx = sparsified(
        still, "ch3_l3", sparsity=0.8, every=1, distribution="er", select="dense/kernel"
    )
    state = tx.init(params)
    before = np.asarray(during_training.masks_of(state)["dense"]["kernel"])
    links, gone = 102, 30  # 20 % of 512, and 30 % of these
    assert before.sum() == links
    params = masks_lib.apply(params, during_training.masks_of(state))
    _, state = jax.jit(stepper(tx, loss))(params, state)
    after = np.asarray(during_training.masks_of(state)["dense"]["kernel"])
    assert after.sum() == links
    magnitudes = np.abs(np.asarray(weights))
    kept = before & (magnitudes > np.sort(magnitudes[before])[gone - 1])
    assert kept.sum() == links - gone
    assert after[kept].all()
    scores = l3_scores(kept, "ch3_l3")
    best = np.sort(scores[~kept])[::-1][:gone]
    np.testing.assert_allclose(np.sort(scores[after & ~kept])[::-1], best, rtol=1e-5)


def test_ch3_l3_refuses_what_it_cannot_do():
    params, _ = case()
    for options, message in (
        ({"distribution": "er"}, r"two axes, but 'conv/kernel' has shape \(3, 3, 4, 4\)"),
        ({"select": "dense/kernel"}, "needs a distribution with a number of links per leaf"),
    ):
        tx = sparsified(optax.sgd(0.1), "ch3_l3", sparsity=0.8, every=1, **options)
        with pytest.raises(ValueError, match=message):
            tx.init(params)


def test_weights_that_are_not_finite_are_refused_by_name():
    params, _ = case()
    broken = {**params, "dense": {**params["dense"], "kernel": jnp.full((64, 8), jnp.nan)}}
    tx = sparsified(optax.sgd(0.1), "gradual", sparsity=0.8, every=1, end=4)
    with pytest.raises(ValueError, match="512 weights of 'dense/kernel' are NaN or infinite"):
        tx.init(broken)


def test_members_of_a_batch_that_are_at_different_steps():
    params, loss = case()
    tx = sparsified(optax.sgd(0.1), "rigl", sparsity=0.5, every=4, end=20)
    step = stepper(tx, loss)
    states = [(params, tx.init(params))]
    for _ in range(6):
        states.append(jax.jit(step)(*states[-1]))
    at = (1, 3, 4)  # the second of them changes its masks next
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(states[i] for i in at))
    after, state = jax.jit(jax.vmap(step))(*stacked)
    for member, number in enumerate(at):
        jax.tree.map(
            lambda one, all, member=member: np.testing.assert_allclose(
                one, all[member], rtol=1e-4, atol=1e-6
            ),
            states[number + 1][0], after,
        )  # fmt: skip
        jax.tree.map(
            lambda one, all, member=member: np.testing.assert_array_equal(one, all[member]),
            during_training.masks_of(states[number + 1][1]), during_training.masks_of(state),
        )  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16(name):
    params, loss = case(dtype=jnp.bfloat16)
    tx = sparsified(optax.sgd(0.05, momentum=0.9), name, sparsity=SPARSITY, **TIMES)
    run = list(train(tx, params, loss, 13))
    kinds = {leaf.dtype for leaf in jax.tree.leaves([after for after, _ in run])}
    assert kinds == {jnp.dtype(jnp.bfloat16)}
    after, state = run[-1]
    made = during_training.masks_of(state)
    assert sum(counts(made)) == TOTAL - round(SPARSITY * TOTAL)
    if name != "straight_through":
        for leaf, mask in kernels(made).items():
            assert not kernels(after)[leaf][~mask].any()


def test_masks_in_a_larger_state_and_restarts_from_one():
    params, loss = case()
    tx = optax.chain(
        sparsified(optax.adam(0.02), "gradual", sparsity=SPARSITY, **TIMES), optax.identity()
    )
    run = list(train(tx, params, loss, 6))
    masks_lib.validate(params, during_training.masks_of(run[-1][1]))
    again = jax.jit(stepper(tx, loss))(*run[-2])
    jax.tree.map(np.testing.assert_array_equal, again[0], run[-1][0])
    with pytest.raises(ValueError, match="not one of during_training"):
        during_training.masks_of(optax.adam(1e-3).init(params))


def test_straight_through_uses_the_kept_weights_and_trains_all():
    params, loss = case()
    tx = sparsified(optax.sgd(0.1), "straight_through", sparsity=0.9, every=1)
    state = tx.init(params)
    made = during_training.masks_of(state)
    used = during_training.forward_params(params, state)
    jax.tree.map(np.testing.assert_array_equal, used, masks_lib.apply(params, made))
    (first, _), (after, state), *_ = train(tx, params, loss, 3)
    moved = kernels(after)["dense"] != kernels(first)["dense"]
    assert moved[~kernels(made)["dense"]].mean() > 0.9
    other = kernels(during_training.masks_of(list(train(tx, params, loss, 30))[-1][1]))
    assert (other["dense"] != kernels(made)["dense"]).any()


def test_key_says_which_links():
    params, _ = case()
    firsts = []
    for seed, _ in itertools.product((0, 1), range(2)):
        tx = sparsified(optax.sgd(0.1), "set", sparsity=0.5, every=1, key=jax.random.key(seed))
        firsts.append(kernels(during_training.masks_of(tx.init(params)))["dense"].tobytes())
    assert firsts[0] == firsts[1] != firsts[2] == firsts[3]


def test_the_librarys_own_loop_and_its_checkpoints(tmp_path):
    model = models.build("mlp", num_classes=3, hidden_widths=(12,))
    images = np.random.default_rng(0).normal(size=(64, 4, 4, 1)).astype(np.float32)
    split = data.Split(images, np.arange(64) % 3)
    params, _ = training.init_variables(model, jax.random.key(0), images[:1])
    tx = sparsified(optax.adam(0.01), "rigl", sparsity=0.5, every=3, end=20)
    step = training.make_train_step(model, tx)
    ends = []
    for folder, epochs in (("once", (4,)), ("twice", (2, 4))):
        for until in epochs:
            state = training.init_state(params, {}, tx, key=jax.random.key(1))
            state, _ = training.fit(
                state, step, split, epochs=until, batch_size=16, checkpoints=tmp_path / folder
            )
        ends.append((state.params, during_training.masks_of(state.opt_state)))
    jax.tree.map(np.testing.assert_array_equal, *ends)
    after, made = ends[0]
    assert masks_lib.count(made) == 228 - round(0.5 * 228)
    jax.tree.map(np.testing.assert_array_equal, after, masks_lib.apply(after, made))


def test_an_equinox_network():
    model = eqx.nn.MLP(4, 2, 16, 1, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    inputs = jax.random.normal(jax.random.key(1), (10, 4))

    def loss(params):
        return jnp.mean(jax.vmap(eqx.combine(params, static))(inputs) ** 2)

    tx = sparsified(optax.adam(0.01), "set", sparsity=0.5, every=2)
    *_, (after, state) = train(tx, params, loss, 5)
    made = during_training.masks_of(state)
    assert masks_lib.count(made) == 48
    jax.tree.map(np.testing.assert_array_equal, after, masks_lib.apply(after, made))
