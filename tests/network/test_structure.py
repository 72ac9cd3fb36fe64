"""Plans, networks and what holds them are copied and pickled."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import models
from prunejax import network as networks
from prunejax.network import trace

MODEL = models.build("mlp", num_classes=3, hidden_widths=(6,))
X = jnp.ones((1, 5))
VARIABLES = MODEL.init(jax.random.key(0), X)
KEEP = np.arange(6) < 4


@dataclasses.dataclass
class Settings:
    plan: object
    name: str = "mine"


def pickled(found):
    return pickle.loads(pickle.dumps(found))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_plan_does_what_the_plan_does(way):
    plan = trace(MODEL.apply, VARIABLES, X).plan({"hidden1": KEEP})
    assert plan.cost().parameters == plan.layers["hidden1"].output_shape[1] * 6 + 4 * 3 + 3
    again = way(Settings(plan)).plan
    np.testing.assert_array_equal(again.keep["hidden1"], KEEP)
    assert again.cost() == plan.cost()
    sliced = again.slice(VARIABLES)
    np.testing.assert_array_equal(again.apply_fn(sliced, X), plan.apply_fn(sliced, X))
    assert str(way(plan.network)) == str(plan.network)


def test_a_deep_copy_shares_no_array_with_the_plan():
    plan = trace(MODEL.apply, VARIABLES, X).plan({"hidden1": KEEP})
    copy.deepcopy(plan).keep["hidden1"][:] = False
    np.testing.assert_array_equal(plan.keep["hidden1"], KEEP)


def test_a_function_that_cannot_be_pickled_is_named():
    network = trace(lambda variables, x: MODEL.apply(variables, x), VARIABLES, X)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(network)
    assert copy.deepcopy(network) is network


def test_methods_are_functions_of_the_structure():
    network = trace(MODEL.apply, VARIABLES, X)
    (group,) = list(network.groups)[:1]
    layer = network.groups[group].layers[0]
    keep = {group: np.arange(network.groups[group].width) != 1}
    by_method, by_function = network.plan(keep), networks.plan(network, keep)
    np.testing.assert_array_equal(by_method.keep[group], by_function.keep[group])
    assert networks.render(network) == str(network)
    assert networks.place(network, group, layer).axis == network.place(group, layer).axis
    np.testing.assert_array_equal(
        networks.record(network, VARIABLES, X, [layer])[layer],
        network.record(VARIABLES, X, [layer])[layer],
    )
