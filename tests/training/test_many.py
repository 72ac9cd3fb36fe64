"""Networks that are trained together against the same networks, each trained alone."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import data, masks, training
from prunejax.rewiring.during_training import masks_of, sparsified
from prunejax.training import together as engine
from tests.training.programs import (
    BATCH,
    EPOCHS,
    MODEL,
    TX,
    in_float64,
    largest_difference,
    one,
    rewired,
    split,
    start,
)

EVALUATION = training.make_eval_step(MODEL)
SETTINGS = {"epochs": EPOCHS, "batch_size": BATCH}


def measured(state):
    return training.evaluate(EVALUATION, state.params, state.batch_stats, split())


def assert_alike(alone, together, within=1e-12):
    assert len(alone) == len(together)
    for (state, history), (same, rows) in zip(alone, together, strict=True):
        assert largest_difference(state, same) < within
        assert len(history) == len(rows)
        for row, other in zip(history, rows, strict=True):
            assert row == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("loop", ["steps", "epoch"])
@pytest.mark.parametrize("widest", [0, 64])
def test_each_network_comes_out_as_if_trained_alone(loop, widest, monkeypatch):
    monkeypatch.setattr(engine, "WIDEST", widest)
    monkeypatch.setattr(engine, "is_accelerator", lambda device: True)
    with in_float64():
        step = training.make_train_step(MODEL, TX, augment=data.augment)
        given = {**SETTINGS, "between": rewired, "evaluate_with": measured}

        def states():
            return [start(TX, seed, sparsity) for seed, sparsity in [(0, 0.5), (1, 0.5), (0, 0.9)]]

        alone = [training.fit(state, step, split(), **given) for state in states()]
        together = training.fit_many(states(), step, split(), loop=loop, **given)
    assert_alike(alone, together)
    assert largest_difference(alone[0][0].params, alone[2][0].params) > 0.01
    assert any(program.spreads for program in step.made.values()) == (widest > 0)


def test_learning_rates_that_the_optimiser_keeps_may_differ():
    with in_float64():

        def of(rate):
            return training.masked(optax.inject_hyperparams(optax.sgd)(rate, momentum=0.9))

        rates = (0.1, 0.01, 0.001)
        step = training.make_train_step(MODEL, of(rates[0]))
        alone = []
        for rate in rates:
            own = training.make_train_step(MODEL, of(rate))
            alone.append(training.fit(start(of(rate), 0), own, split(), **SETTINGS))
        together = training.fit_many(
            [start(of(rate), 0) for rate in rates], step, split(), **SETTINGS
        )
    assert_alike(alone, together)
    assert largest_difference(alone[0][0].params, alone[1][0].params) > 0.01


@pytest.mark.parametrize("method", ["set", "gradual"])
def test_masks_that_the_optimiser_changes(method):
    with in_float64():

        def of(seed):
            inner = training.optimizer("sgd", 0.05, momentum=0.9)
            return sparsified(
                inner, method, sparsity=0.5, every=5, end=12, key=jax.random.key(seed)
            )

        def state(seed):
            return start(of(seed), seed, sparsity=0.0)

        step = training.make_train_step(MODEL, of(0))
        alone = [training.fit(state(seed), step, split(), **SETTINGS) for seed in range(3)]
        together = training.fit_many([state(n) for n in range(3)], step, split(), **SETTINGS)
    assert_alike(alone, together)
    made = [masks_of(state.opt_state) for state, _ in together]
    first, second = (np.asarray(each["second"]["kernel"]) for each in made[:2])
    assert np.any(first != second)
    weights = sum(mask.size for mask in jax.tree.leaves(made[0]))
    for each in made:
        assert masks.count(each) == pytest.approx(weights / 2, abs=2)


def test_counters_that_all_networks_share_are_counted_once():
    from prunejax.training.stacking import find_shared

    step = training.make_train_step(MODEL, TX)
    states = [start(TX, seed, dtype=jnp.float32) for seed in range(2)]
    digits = split(np.float32)
    batch = digits.images[:BATCH], digits.labels[:BATCH]
    shared = find_shared(step.body, states, batch)
    assert shared.step is True
    assert not any(jax.tree.leaves((shared.params, shared.masks, shared.key, shared.metrics)))
    later = states[1]._replace(step=states[1].step + 5)
    assert find_shared(step.body, [states[0], later], batch).step is False


def test_a_network_that_diverges_leaves_the_others_as_they_are(monkeypatch):
    monkeypatch.setattr(engine, "is_accelerator", lambda device: True)
    with in_float64():

        def of(rate):
            return training.masked(optax.inject_hyperparams(optax.sgd)(rate))

        rates = (0.1, 1e300, 0.05)
        step = training.make_train_step(MODEL, of(0.1))
        alone = []
        for rate in rates:
            own = training.make_train_step(MODEL, of(rate))
            alone.append(training.fit(start(of(rate), 0), own, split(), **SETTINGS))
        together = training.fit_many(
            [start(of(rate), 0) for rate in rates], step, split(), **SETTINGS
        )
    assert [training.is_finite(*one) for one in alone] == [True, False, True]
    assert [training.is_finite(*one) for one in together] == [True, False, True]
    assert_alike(alone[::2], together[::2])
    assert math.isnan(together[1][1][-1]["loss"])


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("every", [5, 3])
def test_networks_that_were_stopped_go_on_exactly_together_or_alone(tmp_path, every):
    with in_float64():
        step = training.make_train_step(MODEL, TX, augment=data.augment)
        given = {**SETTINGS, "between": rewired, "checkpoint_every": every}

        def states():
            return [start(TX, seed) for seed in range(3)]

        whole = training.fit_many(states(), step, split(), **given)

        def stop(progress):
            if (progress.epoch, progress.network) == (2, 1):
                raise StoppedError

        folders = [tmp_path / f"{seed}" for seed in range(3)]
        with pytest.raises(StoppedError):
            training.fit_many(states(), step, split(), checkpoints=folders, on_epoch=stop, **given)
        # one goes on alone; the others, who have fewer steps behind them, together with it
        first = training.fit(states()[0], step, split(), checkpoints=folders[0], **given)
        resumed = training.fit_many(states(), step, split(), checkpoints=folders, **given)
    assert_alike([whole[0]], [first])
    assert_alike(whole, resumed)


KILLED = """
import os, signal, sys
import jax
jax.config.update("jax_enable_x64", True)
from prunejax import data, masks, training
from tests.training.programs import *
tx = training.masked(training.optimizer("sgd", 0.05, momentum=0.9, weight_decay=1e-4))
step = training.make_train_step(MODEL, tx, augment=data.augment)
def kill(progress):
    if sys.argv[2] == "kill" and (progress.epoch, progress.network) == (2, 0):
        os.kill(os.getpid(), signal.SIGKILL)
folders = [f"{sys.argv[1]}/{seed}" for seed in range(3)]
made = training.fit_many(
    [start(tx, seed) for seed in range(3)], step, split(), epochs=EPOCHS, batch_size=BATCH,
    between=rewired, checkpoints=folders, checkpoint_every=3, on_epoch=kill, loop="epoch",
)
total = [jax.tree.map(lambda leaf: leaf.sum(), state.params) for state, _ in made]
print([float(leaf).hex() for leaf in jax.tree.leaves(total)], made[0][1])
"""


@pytest.mark.slow
def test_networks_that_were_killed_go_on_bit_for_bit(tmp_path):
    def run(folder, how):
        command = [sys.executable, "-c", KILLED, str(tmp_path / folder), how]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole, killed = run("whole", "go"), run("killed", "kill")
    assert whole.returncode == 0, whole.stderr
    assert killed.returncode == -9
    resumed = run("killed", "go")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout


DEVICES = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
from prunejax import data, masks, training
from prunejax.training import together as engine
from tests.training.programs import *
tx = training.masked(training.optimizer("sgd", 0.05, momentum=0.9, weight_decay=1e-4))
assert len(jax.devices()) == 8
one = training.data_parallel(jax.devices()[:1])
alone = training.make_train_step(MODEL, tx, augment=data.augment, placement=one)
step = training.make_train_step(MODEL, tx, augment=data.augment)
engine.is_accelerator = lambda device: True
given = {"epochs": EPOCHS, "batch_size": BATCH, "between": rewired}
for count, loop in ((10, "epoch"), (3, "steps")):
    wanted = [
        training.fit(start(tx, n), alone, split(), placement=one, loop="steps", **given)
        for n in range(count)
    ]
    states = [start(tx, n) for n in range(count)]
    made = training.fit_many(states, step, split(), loop=loop, **given)
    worst = max(largest_difference(a, b) for (a, _), (b, _) in zip(wanted, made))
    assert worst < 1e-12, worst
    for (_, rows), (_, others) in zip(wanted, made):
        assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in others]
    kernel = made[0][0].params["classifier"]["kernel"]
    assert len(kernel.sharding.device_set) == 8
# one network on eight devices, an epoch as one program
shared = training.data_parallel()
sized = {**given, "batch_size": 40}
whole, rows = training.fit(start(tx, 0), step, split(), placement=shared, loop="epoch", **sized)
single, same = training.fit(start(tx, 0), alone, split(), placement=one, loop="steps", **sized)
assert largest_difference(whole, single) < 1e-12
evaluation = training.make_eval_step(MODEL)
found = [
    training.evaluate(evaluation, s.params, s.batch_stats, split(), loop=loop, batch_size=size)
    for s, loop, size in ((whole, "epoch", 40), (whole, "steps", 40), (whole, "epoch", 30),
                          (single, "steps", 500))
]
some = training.data_parallel(jax.devices()[2:5])
found += [
    training.evaluate(
        evaluation, s.params, s.batch_stats, split(), loop=loop, placement=some, batch_size=30
    )
    for s in (whole, single) for loop in ("steps", "epoch")
]
assert max(abs(each["loss"] - found[0]["loss"]) for each in found) < 1e-12, found
try:
    training.fit(start(tx, 0), step, split(), placement=one, **given)
    raise AssertionError("other devices were accepted")
except ValueError as error:
    assert "the step was made for other devices" in str(error)
# without a placement: where the step was made for
training.fit(start(tx, 0), alone, split(), **given)
assert len({each["accuracy"] for each in found}) == 1
"""


def test_eight_devices_share_networks_and_batches(monkeypatch):
    flags = "--xla_force_host_platform_device_count=8"
    monkeypatch.setenv("XLA_FLAGS", flags)
    command = [sys.executable, "-c", DEVICES]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_what_does_not_fit_is_trained_in_parts():
    with in_float64():
        step = training.make_train_step(MODEL, TX)

        def states():
            return [start(TX, seed) for seed in range(5)]

        whole = training.fit_many(states(), step, split(), **SETTINGS)
        (program,) = step.made.values()
        with pytest.warns(UserWarning, match="5 networks together take .* trained in 2 parts"):
            parts = training.fit_many(
                states(), step, split(), memory=0.7 * program.bytes, **SETTINGS
            )
        with (
            pytest.raises(ValueError, match="one network per device is too much"),
            pytest.warns(UserWarning, match="trained in"),
        ):
            training.fit_many(states(), step, split(), memory=1000, **SETTINGS)
    assert len(step.made) > 1
    assert_alike(whole, parts)


def test_a_device_that_runs_out_of_memory_gets_fewer_networks(monkeypatch):
    real, asked = engine.compiled, []

    def limited(train_step, stack, *arguments, **settings):
        asked.append(stack.size)
        if stack.size > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return real(train_step, stack, *arguments, **settings)

    monkeypatch.setattr(engine, "compiled", limited)
    with in_float64():
        step = training.make_train_step(MODEL, TX)

        def states():
            return [start(TX, seed) for seed in range(5)]

        with pytest.warns(UserWarning, match="too much for the device's memory"):
            parts = training.fit_many(states(), step, split(), **SETTINGS)
        alone = [training.fit(state, step, split(), **SETTINGS) for state in states()]
    assert_alike(alone, parts)
    assert {size for size in asked if size <= 2} == {1, 2}
    monkeypatch.setattr(
        engine,
        "compiled",
        lambda *_, **__: (_ for _ in ()).throw(jax.errors.JaxRuntimeError("INTERNAL: broken")),
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        training.fit_many([start(TX, 0, dtype=jnp.float32)], step, split(), **SETTINGS)


def test_states_stay_and_nothing_is_nothing():
    step = training.make_train_step(MODEL, TX)
    given = [one()]
    (first,) = training.fit_many(given, step, split(np.float32), **SETTINGS)
    (second,) = training.fit_many(given, step, split(np.float32), **SETTINGS)
    assert largest_difference(first[0], second[0]) == 0
    assert training.fit_many([], step, split(np.float32), **SETTINGS) == []
    with pytest.warns(UserWarning, match="nothing is trained"):
        training.fit_many([first[0]], step, split(np.float32), **SETTINGS)
    ((later, history),) = training.fit_many(
        [first[0]], step, split(np.float32), more_epochs=1, batch_size=BATCH
    )
    assert int(later.step) == (EPOCHS + 1) * 5
    assert [row["epoch"] for row in history] == [EPOCHS + 1]


def of_adam():
    return training.masked(training.optimizer("adamw", 0.01))


@pytest.mark.parametrize("which", [(1,), (0,), (0, 1, 2)])
def test_a_counter_that_one_network_starts_anew_is_its_own(which):
    """The optimiser begins again after the first epoch, of some networks."""
    tx = of_adam()

    def reset(state, epochs):
        return state._replace(opt_state=tx.init(state.params)) if epochs == 1 else state

    with in_float64():
        step = training.make_train_step(MODEL, tx)
        between = [reset if seed in which else None for seed in range(3)]
        alone = [
            training.fit(start(tx, seed), step, split(), between=between[seed], **SETTINGS)
            for seed in range(3)
        ]
        made = training.fit_many(
            [start(tx, seed) for seed in range(3)], step, split(), between=between, **SETTINGS
        )
    assert_alike(alone, made, within=1e-10)


@pytest.mark.parametrize("cause", ["a limit", "the device"])
def test_what_does_not_fit_any_more_goes_on_in_parts_from_where_it_is(monkeypatch, cause):
    """The third piece is too large: no epoch is done, told or changed twice."""
    real, pieces, told = engine.compiled, [], []

    def growing(train_step, stack, *arguments, **settings):
        program = real(train_step, stack, *arguments, **settings)
        pieces.append(stack.size)
        if len(pieces) < 3 or stack.size < 3:
            return program
        if cause == "a limit":
            return program._replace(bytes=10**12)

        def run(*_):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")

        return program._replace(run=run)

    def between(state, epochs):
        told.append(epochs)
        return rewired(state, epochs)

    monkeypatch.setattr(engine, "is_accelerator", lambda device: True)
    with in_float64():
        step = training.make_train_step(MODEL, TX)
        alone = [
            training.fit(start(TX, seed), step, split(), between=rewired, **SETTINGS)
            for seed in range(3)
        ]
        monkeypatch.setattr(engine, "compiled", growing)
        with pytest.warns(UserWarning, match="trained in [23] parts"):
            made = training.fit_many(
                [start(TX, seed) for seed in range(3)],
                step,
                split(),
                between=between,
                memory=10**9,
                **SETTINGS,
            )
    assert_alike(alone, made)
    assert sorted(told) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_keys_of_other_kinds_are_drawn_from_as_alone(kind):
    """Their bits are others under ``vmap``; the model has dropout, and images are moved."""
    with in_float64():
        step = training.make_train_step(MODEL, TX, augment=data.augment)

        def state(seed):
            return start(TX, seed)._replace(key=jax.random.key(seed, impl=kind))

        alone = [training.fit(state(seed), step, split(), **SETTINGS) for seed in range(3)]
        made = training.fit_many([state(seed) for seed in range(3)], step, split(), **SETTINGS)
    assert_alike(alone, made)


def test_of_networks_with_other_pasts_only_those_that_are_done_are_not_trained():
    step, digits = training.make_train_step(MODEL, TX), split(np.float32)
    (done,) = training.fit_many([one()], step, digits, **SETTINGS)
    made = training.fit_many([done[0], one()], step, digits, **SETTINGS)
    assert [len(history) for _, history in made] == [0, EPOCHS]
    assert largest_difference(made[1][0], done[0]) < 1e-5


def test_a_folder_is_of_one_learning_rate(tmp_path):
    def of(rate):
        return training.masked(optax.inject_hyperparams(optax.sgd)(rate))

    def states(*rates):
        return [start(of(rate), 0, dtype=jnp.float32) for rate in rates]

    step, digits = training.make_train_step(MODEL, of(0.1)), split(np.float32)
    given = {**SETTINGS, "checkpoints": [tmp_path / "a", tmp_path / "b"]}
    training.fit_many(states(0.1, 0.01), step, digits, **given)
    with pytest.raises(training.AnotherRunError, match="another state of the optimiser"):
        training.fit_many(states(0.01, 0.1), step, digits, **given)
    made = training.fit_many(states(0.1, 0.01), step, digits, **given)
    assert all(len(history) == EPOCHS for _, history in made)
