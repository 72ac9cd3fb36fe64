"""Every model of the zoo, sliced at random, against the masked original."""

import jax
import jax.numpy as jnp
import pytest

from prunejax import masks, models
from prunejax.network import trace
from tests.support.slicing_checks import check, compiled, distance, random_keep
from tests.support.small_zoo import SMALL, each, made

DIFFERENTIATED = ("mlp", "lenet5", "resnet14", "densenet40")


def test_every_model_is_here():
    # sparse_mlp cannot be sliced: tests/models/test_sparse_mlp.py
    assert {*SMALL, "sparse_mlp"} == set(models.MODELS)


@pytest.mark.parametrize("name", each(SMALL))
def test_sliced_equals_masked(name):
    model, variables, x = made(name)
    check(
        lambda variables, x: model.apply(variables, x, train=False),
        variables,
        x,
        removes=0.25,
        other_batch=x[:2] + 1 if name in DIFFERENTIATED else None,
        gradients=name in DIFFERENTIATED,
    )


def test_in_training_mode_the_state_is_sliced_with_the_parameters():
    model, variables, x = made("resnet14")

    def forward(variables, x):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    network = trace(forward, variables, x)
    plan = network.plan(random_keep(network))
    masked = masks.apply(variables, plan.masks(variables))

    def both(masked, sliced):
        return plan.apply_fn(sliced, x), forward(masked, x)

    ours, theirs = compiled(both)(masked, plan.slice(variables))
    assert distance(ours[0], theirs[0]) <= 1e-5
    assert distance(ours[1], plan.slice(theirs[1])) <= 1e-5


def test_a_sliced_network_can_be_traced_and_sliced_again():
    model, variables, x = made("lenet5")
    network = trace(model.apply, variables, x)
    plan = network.plan(random_keep(network))
    sliced, forward = plan.slice(variables), plan.apply_fn
    check(forward, sliced, x, removes=0.2)
    smaller = trace(forward, plan.slice(network.variables), jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert smaller.cost().parameters == sum(leaf.size for leaf in jax.tree.leaves(sliced))
    assert smaller.cost().multiply_adds < network.cost().multiply_adds


def test_it_trains_on():
    model, variables, x = made("mlp")
    network = trace(model.apply, variables, x)
    plan = network.plan(random_keep(network))
    sliced, forward = plan.slice(variables), plan.apply_fn

    @jax.jit
    def step(sliced):
        loss, slope = jax.value_and_grad(lambda tree: jnp.square(forward(tree, x) - 1).mean())(
            sliced
        )
        return loss, jax.tree.map(lambda leaf, change: leaf - 0.05 * change, sliced, slope)

    losses = []
    for _ in range(30):
        loss, sliced = step(sliced)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
