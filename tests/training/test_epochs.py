"""Steps of an epoch as one program against steps one by one."""

import numpy as np
import pytest

from prunejax import data, training
from tests.training.programs import (
    BATCH,
    EPOCHS,
    MODEL,
    TX,
    in_float64,
    largest_difference,
    rewired,
    split,
    start,
)


def fitted(loop, seed=0, **changes):
    """A network with batch normalisation, dropout, augmentation and masks that change."""
    step = training.make_train_step(MODEL, TX, augment=data.augment)
    evaluation = training.make_eval_step(MODEL)
    digits = split()

    def measured(state):
        return training.evaluate(
            evaluation, state.params, state.batch_stats, digits, batch_size=30, loop=loop
        )

    settings = {
        "epochs": EPOCHS, "batch_size": BATCH, "between": rewired, "evaluate_with": measured,
    }  # fmt: skip
    return training.fit(start(TX, seed), step, digits, loop=loop, **settings | changes)


def test_an_epoch_as_one_program_gives_the_numbers_of_steps():
    with in_float64():
        steps, rows = fitted("steps")
        epoch, same_rows = fitted("epoch")
        other, _ = fitted("steps", seed=1)
    assert int(epoch.step) == EPOCHS * 100 // BATCH
    assert largest_difference(steps, epoch) < 1e-12
    assert largest_difference(steps.params, other.params) > 0.01
    for row, same in zip(rows, same_rows, strict=True):
        assert row == pytest.approx(same, rel=1e-12)
        assert 0 < row["test_accuracy"] < 1


@pytest.mark.parametrize("every", [5, 3, 2])
def test_a_stopped_run_goes_on_exactly_between_checkpoints(tmp_path, every):
    with in_float64():
        whole, history = fitted("epoch", checkpoint_every=every, checkpoints=tmp_path / "whole")

        def stop(progress):
            if progress.epoch == 2:
                raise KeyboardInterrupt

        saved = {"checkpoint_every": every, "checkpoints": tmp_path / "stopped"}
        with pytest.raises(KeyboardInterrupt):
            fitted("epoch", on_epoch=stop, **saved)
        resumed, again = fitted("epoch", **saved)
        by_steps, _ = fitted("steps", **saved)  # of the other loop's last checkpoint
    assert largest_difference(whole, resumed) == 0
    assert history == again
    assert largest_difference(whole, by_steps) == 0


def test_data_stay_on_a_device_that_waits_for_python_where_they_fit():
    from prunejax.training import running

    step = training.make_train_step(MODEL, TX)
    digits = split()

    class Device:
        def __init__(self, platform, limit):
            self.platform, self.limit = platform, limit

        def memory_stats(self):
            return self.limit and {"bytes_limit": self.limit}

    def chosen(platform, limit, loop="auto", step=step):
        return running.whole_loop(loop, step, digits, Device(platform, limit))

    size = digits.images.nbytes
    assert not chosen("cpu", None)
    assert chosen("gpu", 4 * size)
    assert not chosen("gpu", 4 * size - 4)
    assert chosen("tpu", None)
    assert chosen("cpu", None, "epoch")
    assert not chosen("gpu", None, "steps")
    assert not chosen("gpu", None, step=lambda state, batch: state)


@pytest.mark.usefixtures("without_type_checks")
def test_what_is_no_loop_is_refused():
    digits, step = split(np.float32), training.make_train_step(MODEL, TX)
    state = start(TX, 0, dtype=np.float32)
    settings = {"epochs": 1, "batch_size": BATCH}
    with pytest.raises(ValueError, match=r"must be .auto., .steps. or .epoch., got 'scan'"):
        training.fit(state, step, digits, loop="scan", **settings)
    with pytest.raises(ValueError, match=r"needs a step from training\.make_train_step"):
        training.fit(state, lambda state, batch: state, digits, loop="epoch", **settings)
    evaluation = training.make_eval_step(MODEL)

    def own(params, batch_stats, metrics, batch):
        return evaluation(params, batch_stats, metrics, batch)

    with pytest.raises(ValueError, match="needs a step from"):
        training.evaluate(own, state.params, state.batch_stats, digits, loop="epoch")


@pytest.mark.parametrize("loop", ["steps", "epoch"])
def test_what_stops_a_training_after_an_epoch_loses_nothing(tmp_path, loop):
    def stop(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    saved = {"checkpoint_every": 1000, "checkpoints": tmp_path / "stopped"}
    with in_float64():
        whole, history = fitted(loop)
        with pytest.raises(KeyboardInterrupt):
            fitted(loop, on_epoch=stop, **saved)
        told = []
        resumed, again = fitted(loop, on_epoch=lambda now: told.append(now.epoch), **saved)
    assert told == [3]
    assert largest_difference(whole, resumed) == 0
    assert history == again
