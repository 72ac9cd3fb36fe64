import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from prunejax import allocation, checkpoint, criteria, data, masks, training
from prunejax.training import losses

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


class Net(nn.Module):
    """Batch normalisation included, so that resuming has running statistics to restore."""

    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(x.shape[0], -1)
        x = nn.Dense(16, dtype=self.dtype)(x)
        x = nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x)
        return nn.Dense(10, dtype=self.dtype)(nn.relu(x)).astype(jnp.float32)


MODEL = Net()
TX = training.masked(training.optimizer("sgd", 0.05, weight_decay=1e-4))


def noise(key, images):
    return images + 0.1 * jax.random.normal(key, images.shape)


STEP = training.make_train_step(MODEL, TX, augment=noise)


@pytest.fixture(scope="module")
def split():
    whole = data.load("digits")
    return data.Split(whole.images[:200], whole.labels[:200])


def start(seed=0, sparsity=0.5):
    key = jax.random.key(seed)
    params, stats = training.init_variables(MODEL, key, jnp.zeros((1, 8, 8, 1)))
    made = masks.make(params)
    scores = criteria.random(params, made, None, loss_fn=None, key=key)
    made = allocation.allocate(scores, sparsity)
    return training.init_state(params, stats, TX, key=key, masks=made)


def assert_same(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_training_learns_and_keeps_pruned_weights_at_zero(split):
    state, history = training.fit(start(), STEP, split, epochs=12, batch_size=20)
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["accuracy"] > 0.9
    assert int(state.step) == 12 * 10
    pruned = ~np.asarray(state.masks["Dense_0"]["kernel"])
    np.testing.assert_array_equal(np.asarray(state.params["Dense_0"]["kernel"])[pruned], 0)
    tested = training.evaluate(
        training.make_eval_step(MODEL), state.params, state.batch_stats, split, batch_size=64
    )
    logits = MODEL.apply(
        {"params": state.params, "batch_stats": state.batch_stats}, split.images, train=False
    )
    right = np.argmax(np.asarray(logits), 1) == split.labels
    assert tested["accuracy"] == pytest.approx(right.mean())
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, split.labels).mean()
    assert tested["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_same_seed_gives_the_same_network_and_another_another(split):
    first, history = training.fit(start(), STEP, split, epochs=2, batch_size=20)
    second, again = training.fit(start(), STEP, split, epochs=2, batch_size=20)
    assert_same(first, second)
    assert history == again
    other, _ = training.fit(start(seed=1), STEP, split, epochs=2, batch_size=20)
    assert largest_difference(first, other, "Dense_1") > 0.01


def largest_difference(first, second, layer):
    kernels = [np.asarray(state.params[layer]["kernel"]) for state in (first, second)]
    return np.abs(kernels[0] - kernels[1]).max()


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop_at, every", [(13, 3), (10, 5), (25, 10), (29, 1)])
def test_a_stopped_run_goes_on_exactly(split, tmp_path, stop_at, every):
    whole, history = training.fit(start(), STEP, split, epochs=3, batch_size=20)
    steps = []

    def failing(state, batch):
        if len(steps) == stop_at:
            raise StoppedError
        steps.append(1)
        return STEP(state, batch)

    settings = {
        "epochs": 3, "batch_size": 20, "checkpoints": tmp_path / "run", "checkpoint_every": every,
    }  # fmt: skip
    with pytest.raises(StoppedError):
        training.fit(start(), failing, split, **settings)
    done = []

    def counting(state, batch):
        done.append(1)
        return STEP(state, batch)

    resumed, resumed_history = training.fit(start(), counting, split, **settings)
    assert len(done) == 30 - stop_at // every * every
    assert_same(whole, resumed)
    assert resumed_history == history
    # And once more: nothing is left to do.
    finished, _ = training.fit(start(), failing, split, **settings)
    assert_same(whole, finished)


@pytest.mark.parametrize(
    "state, changes, message",
    [
        ({"seed": 5}, {}, "another key"),
        ({"sparsity": 0.9}, {}, "other masks: they keep 592 weights, the ones given 118"),
        ({}, {"batch_size": 25}, "10 batches of 20 an epoch, this one has 8 of 25"),
        ({}, {"epochs": 1}, "20 steps old, more than the 10 of 1 epochs"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(split, tmp_path, state, changes, message):
    settings = {"epochs": 2, "batch_size": 20, "checkpoints": tmp_path}
    training.fit(start(), STEP, split, **settings)
    with pytest.raises(ValueError, match=message):
        training.fit(start(**state), STEP, split, **(settings | changes))


def drawn(masks_seed, params_seed=0):
    """As many kept weights, other ones, or another network."""
    state = start(params_seed)._replace(key=jax.random.key(3))
    scores = criteria.random(
        state.params, masks.make(state.params), None, loss_fn=None, key=jax.random.key(masks_seed)
    )
    return state._replace(masks=allocation.allocate(scores, 0.5))


@pytest.mark.parametrize(
    "other, message",
    [
        (lambda: drawn(2), "other masks, of as many weights"),
        (lambda: drawn(1, params_seed=1), "other initial parameters"),
    ],
)
def test_one_folder_serves_one_run(split, tmp_path, other, message):
    """A loop over methods with one folder must not report the first one's numbers for all."""
    settings = {"epochs": 1, "batch_size": 20, "checkpoints": tmp_path}
    training.fit(drawn(1), STEP, split, **settings)
    with pytest.raises(ValueError, match=message):
        training.fit(other(), STEP, split, **settings)


def test_a_finished_state_goes_on_in_its_folder(split, tmp_path):
    settings = {"batch_size": 20, "checkpoints": tmp_path}
    state, _ = training.fit(start(), STEP, split, epochs=1, **settings)
    state, _ = training.fit(state, STEP, split, epochs=2, **settings)
    again, _ = training.fit(start(), STEP, split, epochs=3, **settings)
    whole, _ = training.fit(start(), STEP, split, epochs=3, batch_size=20)
    assert_same(whole, again)


def test_an_optimizer_without_masks_is_given_them(split):
    plain = training.make_train_step(MODEL, training.optimizer("adamw", 0.01, weight_decay=0.1))
    params, stats = training.init_variables(MODEL, jax.random.key(0), split.images)
    made = start().masks
    tx = training.optimizer("adamw", 0.01, weight_decay=0.1)
    state = training.init_state(params, stats, tx, key=jax.random.key(0), masks=made)
    state, _ = training.fit(state, plain, split, epochs=1, batch_size=20)
    pruned = ~np.asarray(state.masks["Dense_0"]["kernel"])
    np.testing.assert_array_equal(np.asarray(state.params["Dense_0"]["kernel"])[pruned], 0)


def test_optimizers_that_keep_the_initial_parameters_can_be_donated(split):
    tx = training.masked(optax.contrib.prodigy(1.0))
    params, stats = training.init_variables(MODEL, jax.random.key(0), split.images)
    state = training.init_state(params, stats, tx, key=jax.random.key(0))
    state, history = training.fit(
        state, training.make_train_step(MODEL, tx), split, epochs=2, batch_size=20
    )
    assert int(state.step) == 20
    assert np.isfinite(history[1]["loss"])


def test_dropout_has_its_own_randomness(split):
    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1))
            return nn.Dense(10)(x)

    model = Dropping()
    params, stats = training.init_variables(model, jax.random.key(0), split.images)
    losses = []
    for seed in (0, 1):
        state = training.init_state(params, stats, TX, key=jax.random.key(seed))
        batch = (split.images[:50], split.labels[:50])
        losses.append(float(training.make_train_step(model, TX)(state, batch).metrics.loss))
    assert losses[0] != losses[1]


def test_classification_loss_against_numpy(split):
    """Temperature, and whose statistics normalise."""
    params, stats = training.init_variables(MODEL, jax.random.key(0), split.images)
    stats = jax.tree.map(lambda leaf: leaf + 0.5, stats)
    batch = (jnp.asarray(split.images[:30]), jnp.asarray(split.labels[:30]))
    dense, norm, last = params["Dense_0"], params["BatchNorm_0"], params["Dense_1"]
    hidden = split.images[:30].reshape(30, -1) @ np.asarray(dense["kernel"]) + dense["bias"]
    for train in (True, False):
        mean = hidden.mean(0) if train else stats["BatchNorm_0"]["mean"]
        variance = hidden.var(0) if train else stats["BatchNorm_0"]["var"]
        scaled = (hidden - mean) / np.sqrt(variance + 1e-5) * norm["scale"] + norm["bias"]
        logits = np.maximum(scaled, 0) @ np.asarray(last["kernel"]) + last["bias"]
        for temperature in (1.0, 200.0):
            loss_fn = training.classification_loss(
                MODEL, stats, train=train, temperature=temperature
            )
            loss, found = loss_fn(params, batch)
            np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-3)
            softened = np.asarray(logits, np.float64) / temperature
            picked = softened[np.arange(30), split.labels[:30]]
            expected = np.mean(np.log(np.exp(softened).sum(1)) - picked)
            np.testing.assert_allclose(loss, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="temperature must be positive"):
        training.classification_loss(MODEL, temperature=0.0)


def test_a_checkpoint_of_another_model_is_refused(split, tmp_path):
    training.fit(start(), STEP, split, epochs=1, batch_size=20, checkpoints=tmp_path)
    other = start()._replace(params={"other": jnp.zeros(3)})
    with pytest.raises(ValueError, match=r"another model or optimiser.*params/Dense_0/bias"):
        training.fit(other, STEP, split, epochs=2, batch_size=20, checkpoints=tmp_path)


def test_evaluation_and_progress_enter_the_history(split):
    told = []
    _, history = training.fit(
        start(), STEP, split, epochs=2, batch_size=20, on_epoch=told.append,
        evaluate_with=lambda state: {"accuracy": float(state.step)},
    )  # fmt: skip
    assert [row["test_accuracy"] for row in history] == [10.0, 20.0]
    assert [(one.epoch, one.epochs) for one in told] == [(1, 2), (2, 2)]
    assert told[1].metrics == history[1]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": -1, "batch_size": 20}, "epochs must not be negative"),
        ({"epochs": 1, "batch_size": 201}, "201"),
        ({"epochs": 1, "batch_size": 0}, "batch"),
        ({"epochs": 1, "batch_size": 20, "checkpoint_every": 0}, "checkpoint_every"),
        ({"epochs": float("nan"), "batch_size": 20}, "epochs must be a whole number, got nan"),
        ({"epochs": 2.5, "batch_size": 20}, "epochs must be a whole number, got 2.5"),
    ],
)
def test_bad_settings_are_refused(split, settings, message):
    with pytest.raises(ValueError, match=message):
        # as users call it, types unchecked
        inspect.unwrap(training.fit)(start(), STEP, split, **settings)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(split):
    model = Net(dtype=jnp.bfloat16)
    step = training.make_train_step(model, TX)
    state, history = training.fit(start(), step, split, epochs=8, batch_size=20)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert history[-1]["accuracy"] > 0.8
    exact, _ = training.fit(
        start(), training.make_train_step(MODEL, TX), split, epochs=8, batch_size=20
    )
    assert 0 < largest_difference(exact, state, "Dense_0") < 0.1


def test_label_smoothing_against_numpy():
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 3, 2, 1, 0], np.int32)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.full((5, 4), 0.1 / 4)
    targets[np.arange(5), labels] += 0.9
    found = training.cross_entropy(jnp.asarray(logits), jnp.asarray(labels), label_smoothing=0.1)
    np.testing.assert_allclose(found, -(targets * log_probabilities).sum(1), rtol=1e-5)
    with pytest.raises(ValueError, match="label_smoothing"):
        training.cross_entropy(jnp.asarray(logits), jnp.asarray(labels), label_smoothing=1.0)


def test_step_schedule_and_warmup():
    schedule = training.learning_rate("step", 0.1, 160)
    rates = [schedule(step) for step in (0, 79, 80, 119, 120)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001], rtol=1e-5)
    warm = training.learning_rate("cosine", 0.1, 20, warmup_steps=10)
    rates = [warm(step) for step in (0, 5, 10, 15, 20)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.05, 0], atol=1e-6)


@pytest.mark.parametrize("wrong", [10, -1])
def test_labels_that_are_no_classes(split, wrong):
    """An error where they can be looked at, NaN inside jit: never a loss that leaves them out."""
    labels = split.labels.copy()
    labels[7] = wrong
    bad = data.Split(split.images, labels)
    said = "labels must be 0 to 9, got labels from"
    with pytest.raises(ValueError, match=said):
        training.fit(start(), STEP, bad, epochs=1, batch_size=20)
    state = start()
    loss_fn = training.classification_loss(MODEL, state.batch_stats)
    with pytest.raises(ValueError, match=said):
        loss_fn(state.params, (bad.images, labels))
    for name in ("snip", "grasp", "prospr"):  # SynFlow reads no labels
        with pytest.raises(ValueError, match=said):
            criteria.CRITERIA[name](
                state.params, state.masks, (bad.images, labels), loss_fn=loss_fn, key=None
            )
    gradient = jax.jit(jax.grad(lambda params, batch: loss_fn(params, batch)[0]))
    for leaf in jax.tree.leaves(gradient(state.params, (bad.images, labels))):
        assert np.isnan(leaf).any()
    eval_step = training.make_eval_step(MODEL)
    with pytest.raises(ValueError, match=said):
        training.evaluate(eval_step, state.params, state.batch_stats, bad)
    sums = eval_step(
        state.params, state.batch_stats, training.Metrics.zero(),
        (bad.images, labels, np.ones(200, np.float32)),
    )  # fmt: skip
    assert np.isnan(sums.read()["loss"])
    stepped = STEP(state, (bad.images[:20], labels[:20]))
    assert np.isnan(stepped.metrics.read()["loss"])
    assert not training.is_finite(stepped)


def test_labels_that_are_no_integers(split):
    with pytest.raises(ValueError, match="labels must be integers, got float32"):
        training.fit(
            start(), STEP, data.Split(split.images, split.labels.astype(np.float32)),
            epochs=1, batch_size=20,
        )  # fmt: skip
    with pytest.raises(ValueError, match="labels must be integers, got float32"):
        jax.jit(lambda labels: losses.check_labels(labels, 3) or labels)(jnp.array([0.5, 1.0]))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_labels_of_a_small_type_with_many_classes(dtype):
    """The number of classes itself may not fit into the type."""
    logits = jax.random.normal(jax.random.key(0), (3, 256))
    labels = jnp.array([0, 5, 127]).astype(dtype)
    found = jax.jit(training.cross_entropy)(logits, labels)
    expected = -jax.nn.log_softmax(logits)[jnp.arange(3), labels.astype(int)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_folder_of_other_labels_or_of_something_else_is_refused(split, tmp_path):
    settings = {"epochs": 1, "batch_size": 20, "checkpoints": tmp_path / "run"}
    training.fit(start(), STEP, split, **settings)
    other = data.Split(split.images, np.roll(split.labels, 1))
    with pytest.raises(
        training.AnotherRunError, match="other initial parameters, images or labels"
    ):
        training.fit(start(), STEP, other, **settings)
    with pytest.raises(training.AnotherRunError, match="images or labels"):
        training.fit(start(), STEP, data.Split(1 - split.images, split.labels), **settings)
    checkpoint.save(tmp_path / "by_hand", 3, start())
    with pytest.raises(ValueError, match="is none that fit has saved"):
        training.fit(start(), STEP, split, **(settings | {"checkpoints": tmp_path / "by_hand"}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_settings_that_are_no_numbers_are_refused(value):
    for build in (
        lambda: training.optimizer("sgd", value),
        lambda: training.optimizer("adamw", 0.1, weight_decay=value),
        lambda: training.optimizer("sgd", 0.1, momentum=value),
        lambda: training.learning_rate("cosine", value, 10),
    ):
        with pytest.raises(ValueError, match=f"must be a finite number, got {value}"):
            build()
