"""Going back to an earlier state, training on, and states whose memory is gone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from prunejax import data, masks, pruning, training

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(12)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(10)(nn.relu(x))


MODEL, TX = Net(), training.masked(optax.adam(1e-2))
STEP = training.make_train_step(MODEL, TX)


@pytest.fixture(scope="module")
def split():
    whole = data.load("digits")
    return data.Split(whole.images[:100], whole.labels[:100])


def begun(seed=0):
    params, stats = training.init_variables(MODEL, jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))
    return training.init_state(params, stats, TX, key=jax.random.key(seed))


def fit(state, split, **epochs):
    return training.fit(state, STEP, split, batch_size=20, **epochs)


def arrays(tree):
    return [
        np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        for leaf in jax.tree.leaves(tree)
    ]


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def assert_same(first, second):
    for one, other in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_snapshot_stays_when_the_state_is_donated(split):
    start = training.snapshot(begun())
    expected = arrays(begun())
    fit(begun(), split, epochs=1)
    state = training.snapshot(start)
    fit(state, split, epochs=1)
    for one, other in zip(arrays(start), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_ticket_begins_where_the_network_began(split):
    start = training.snapshot(begun())
    trained, _ = fit(begun(), split, epochs=2)
    made = pruning.prune(trained.params, start.masks, criterion="magnitude", sparsity=0.8)
    ticket = training.rewind(start, made)
    assert_same(ticket.params, masks.apply(start.params, made))
    assert_same(ticket.masks, made)
    assert int(ticket.step) == 0
    # the same network, pruned by hand and begun anew, is trained to the same weights
    by_hand = training.init_state(
        start.params, start.batch_stats, TX, key=jax.random.key(0), masks=made
    )
    assert_same(fit(ticket, split, epochs=2)[0], fit(by_hand, split, epochs=2)[0])
    assert_same(start, begun())


def test_late_rewinding_takes_the_slots_of_an_early_epoch(split):
    early, _ = fit(begun(), split, epochs=1)
    start = training.snapshot(early)
    trained, _ = fit(early, split, epochs=3)
    made = pruning.prune(trained.params, trained.masks, criterion="magnitude", sparsity=0.5)
    ticket = training.rewind(start, made)
    assert int(ticket.step) == 5
    before, after = start.opt_state[0].mu["Dense_0"], ticket.opt_state[0].mu["Dense_0"]
    mask = np.asarray(made["Dense_0"]["kernel"])
    np.testing.assert_array_equal(after["kernel"], np.where(mask, before["kernel"], 0))
    np.testing.assert_array_equal(after["bias"], before["bias"])
    assert np.abs(before["kernel"][~mask]).max() > 0
    state, history = fit(ticket, split, epochs=3)
    assert [row["epoch"] for row in history] == [2, 3]
    assert not np.asarray(state.params["Dense_0"]["kernel"])[~mask].any()


def test_masks_of_another_network_are_refused():
    with pytest.raises(ValueError, match="there is a mask for 'x'"):
        training.rewind(begun(), {"x": jnp.ones(3, bool)})


def test_more_epochs_go_on_from_where_the_state_is(split):
    whole, expected = fit(begun(), split, epochs=5)
    state, first = fit(begun(), split, epochs=2)
    state, second = fit(state, split, more_epochs=3)
    assert_same(state, whole)
    assert [row["epoch"] for row in first + second] == [1, 2, 3, 4, 5]
    assert first + second == expected


def test_more_epochs_in_a_folder_end_where_they_said(split, tmp_path):
    state, _ = fit(begun(), split, epochs=1)
    start = training.snapshot(state)
    done, history = fit(state, split, more_epochs=2, checkpoints=tmp_path)
    assert int(done.step) == 15
    again, same = fit(training.snapshot(start), split, more_epochs=2, checkpoints=tmp_path)
    assert_same(again, done)
    assert same == history


def test_epochs_that_are_over_are_said(split):
    state, _ = fit(begun(), split, epochs=2)
    before = arrays(state)
    with pytest.warns(UserWarning, match="nothing is trained: the state has 10 steps behind it"):
        state, history = fit(state, split, epochs=2)
    assert history == []
    for one, other in zip(arrays(state), before, strict=True):
        np.testing.assert_array_equal(one, other)
    fit(begun(), split, epochs=0)  # nothing was asked for: no warning


def test_a_finished_run_in_its_folder_is_no_surprise(split, tmp_path):
    _, history = fit(begun(), split, epochs=2, checkpoints=tmp_path)
    _, again = fit(begun(), split, epochs=2, checkpoints=tmp_path)
    assert again == history


@pytest.mark.parametrize(
    "epochs, message",
    [
        ({}, "give epochs=, how many in all, or more_epochs="),
        ({"epochs": 1, "more_epochs": 1}, "give epochs=, how many in all, or more_epochs="),
        ({"more_epochs": -1}, "more_epochs must not be negative, got -1"),
        ({"more_epochs": 1.5}, "more_epochs must be a whole number, got 1.5"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_epochs_that_say_nothing(split, epochs, message):
    with pytest.raises(ValueError, match=message):
        fit(begun(), split, **epochs)


def test_a_state_that_was_donated_is_refused_everywhere(split):
    state = begun()
    fit(state, split, epochs=1)
    batch = (jnp.asarray(split.images[:20]), jnp.asarray(split.labels[:20]))
    for use in (
        lambda: pruning.prune(state.params, state.masks, criterion="magnitude", sparsity=0.5),
        lambda: fit(state, split, epochs=2),
        lambda: STEP(state, batch),
        lambda: training.snapshot(state),
        lambda: training.rewind(state, state.masks),
        lambda: training.evaluate(
            training.make_eval_step(MODEL), state.params, state.batch_stats, split
        ),
    ):
        with pytest.raises(ValueError, match=r"given to (a|an earlier) training step"):
            use()


def test_what_between_forgets_to_return_loses_nothing(split, tmp_path):
    with pytest.raises(ValueError, match=r"between must return the state .* returned NoneType"):
        fit(begun(), split, epochs=2, between=lambda state, done: None, checkpoints=tmp_path)
    whole, _ = fit(begun(), split, epochs=2, between=lambda state, done: state)
    resumed, _ = fit(
        begun(), split, epochs=2, between=lambda state, done: state, checkpoints=tmp_path
    )
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    "change",
    [lambda s: s._replace(step=s.step - 1), lambda s: s._replace(key=jax.random.key(9))],
)
def test_between_must_not_change_what_orders_the_data(split, change):
    with pytest.raises(ValueError, match="between must not change the step or the key"):
        fit(begun(), split, epochs=2, between=lambda state, done: change(state))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "use, message",
    [
        (lambda s: fit({"a": 1}, s, epochs=1), "fit takes a state, .* got dict"),
        (lambda s: fit(begun(), tuple(s), epochs=1), "split must be data.Split.* got tuple"),
        (lambda s: fit(begun(), s, epochs=np.array([1, 2])), "epochs must be a whole number"),
        (lambda s: fit(begun(), s, epochs=1, between=3), "between must be a function .* got 3"),
        (lambda s: fit(begun(), s, epochs=1, evaluate_with=lambda s: None), "returned NoneType"),
        (
            lambda s: training.fit(begun(), STEP, s, epochs=1, batch_size="8"),
            "batch_size must be a whole number, got '8'",
        ),
        (lambda s: training.masked(optax.adam), r"tx must be an optimiser, optax.adam\(1e-3\)"),
        (lambda s: training.classification_loss({}), "a model with an apply method, got dict"),
        (
            lambda s: training.evaluate(training.make_eval_step(MODEL), s, {}, {}),
            "split must be data.Split.* got dict",
        ),
        (lambda s: training.snapshot(None), "snapshot takes a state, .* got NoneType"),
        (lambda s: training.rewind({}, {}), "rewind takes a state, .* got dict"),
        (lambda s: training.init_state({}, {}, None, key=0), "tx must be an optimiser"),
        (lambda s: training.init_state({}, {}, TX, key=0), "key must come from jax.random.key"),
    ],
)
def test_wrong_arguments(split, use, message):
    with pytest.raises(ValueError, match=message):
        use(split)


def test_a_step_may_be_part_of_a_program_of_ones_own(split):
    batch = (jnp.asarray(split.images[:20]), jnp.asarray(split.labels[:20]))
    expected = STEP(begun(), batch)
    assert_same(jax.jit(lambda state: STEP(state, batch))(begun()).params, expected.params)
