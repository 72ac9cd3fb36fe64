"""What ``fit_many``, and ``fit``, refuse before anything is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import data, training
from tests.training.programs import BATCH, EPOCHS, MODEL, TX, largest_difference, one, split

SETTINGS = {"epochs": EPOCHS, "batch_size": BATCH}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 1, "more_epochs": 1}, "give epochs=, how many in all, or more_epochs="),
        ({"batch_size": 1000}, "batch_size must be at most the 100 examples"),
        ({"checkpoints": ["a"]}, "a folder of its own for each of 2 networks"),
        ({"checkpoints": ["a", "a"]}, "a folder of its own for each of 2 networks"),
        ({"checkpoints": "a"}, "is a list of folders, one for each network"),
        ({"between": [None]}, "between has 1 functions for 2 networks"),
        ({"evaluate_with": [None] * 3}, "evaluate_with has 3 functions for 2 networks"),
        ({"devices": []}, "at least one device"),
        ({"loop": "scan"}, 'loop must be "auto", "steps" or "epoch"'),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_settings_are_refused(changes, message):
    step = training.make_train_step(MODEL, TX)
    with pytest.raises(ValueError, match=message):
        training.fit_many([one(), one()], step, split(np.float32), **SETTINGS | changes)


def test_networks_of_different_models_are_refused():
    step = training.make_train_step(MODEL, TX)
    other = one()
    kernel = other.params["classifier"]["kernel"][:, :5]
    params = {**other.params, "classifier": {**other.params["classifier"], "kernel": kernel}}
    with pytest.raises(ValueError, match=r"state 1 differs from the first at .params.*kernel"):
        training.fit_many(
            [one(), other._replace(params=params)], step, split(np.float32), **SETTINGS
        )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s._replace(params={"a": s.params}), r"it changed .params\['"),
        (lambda s: s._replace(masks=None), r"it changed .masks\['"),
        (
            lambda s: s._replace(params=jax.tree.map(lambda a: a.astype(jnp.bfloat16), s.params)),
            r"it changed .params.* from .*float32.* to .*bfloat16",
        ),
        (lambda s: s._replace(step=s.step + 1), "must not change the step or the key"),
        (lambda s: None, "it returned NoneType"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.usefixtures("without_type_checks")
def test_what_between_may_not_return(change, message, together):
    step = training.make_train_step(MODEL, TX)
    given = {**SETTINGS, "between": lambda state, epochs: change(state)}
    fit = training.fit_many if together else training.fit
    states = [one(), one()] if together else one()
    with pytest.raises(ValueError, match=message):
        fit(states, step, split(np.float32), **given)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"memory": 0}, "memory must be a positive number of bytes, got 0"),
        ({"memory": -1.0}, "memory must be a positive number of bytes, got -1"),
        ({"memory": float("nan")}, "memory must be a positive number of bytes, got nan"),
        ({"memory": "1GB"}, "memory must be a positive number of bytes, got '1GB'"),
        ({"evaluate_with": 3}, "evaluate_with and on_epoch must be functions, got 3"),
        ({"on_epoch": [print]}, "evaluate_with and on_epoch must be functions"),
        ({"devices": 1}, "devices must be a list"),
        ({"devices": "cpu"}, "devices must be a list"),
        ({"devices": jax.devices() * 2}, "devices has a device twice"),
        ({"checkpoints": 3}, "is a list of folders"),
        ({"checkpoints": [1, 2]}, "must be names of folders"),
        ({"batch_size": np.arange(3)}, "batch_size must be a whole number"),
        ({"states": None}, "states must be a list of states, got NoneType"),
        ({"states": "one"}, "must be a list of states, got str"),
        ({"states": [1]}, "fit_many takes a state, from training.init_state, got int"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_other_bad_settings_are_refused_before_anything_is_trained(changes, message):
    step, given = training.make_train_step(MODEL, TX), {**SETTINGS, **changes}
    states = given.pop("states", [one(), one()])
    with pytest.raises(ValueError, match=message):
        training.fit_many(states, step, split(np.float32), **given)


@pytest.mark.usefixtures("without_type_checks")
def test_one_state_is_no_list_and_no_jit_is_no_program():
    step, digits = training.make_train_step(MODEL, TX), split(np.float32)
    state = one()
    with pytest.raises(ValueError, match=r"outside of jax\.disable_jit"), jax.disable_jit():
        training.fit_many([state], step, digits, **SETTINGS)
    with pytest.raises(ValueError, match="must be a list of states, got TrainState"):
        training.fit_many(state, step, digits, **SETTINGS)


@pytest.mark.parametrize("loop", ["steps", "epoch"])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.usefixtures("without_type_checks")
def test_data_that_do_not_match_are_refused_and_lists_are_arrays(loop, together):
    step, digits = training.make_train_step(MODEL, TX), split(np.float32)

    def fitted(images, labels):
        given = {**SETTINGS, "loop": loop}
        both = data.Split(images, labels)
        if together:
            return training.fit_many([one()], step, both, **given)[0]
        return training.fit(one(), step, both, **given)

    with pytest.raises(ValueError, match=r"must have one length, got shapes \(60, .* \(100,\)"):
        fitted(digits.images[:60], digits.labels)
    with pytest.raises(ValueError, match="at least one example"):
        fitted(digits.images[:0], digits.labels[:0])
    state, _ = fitted(digits.images, digits.labels)
    same, _ = fitted(digits.images.tolist(), digits.labels.tolist())
    assert largest_difference(state, same) < 1e-6
