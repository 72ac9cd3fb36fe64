"""Every model of the zoo, sliced at random, against the masked original."""

import jax
import jax.numpy as jnp
import pytest
from slicing_checks import check, compiled, distance, random_keep, randomise

from prunejax import masks, models
from prunejax.network import trace

NARROW = {"stem_width": 4, "stage_widths": (4, 6, 8)}
SMALL = {
    "mlp": ({"hidden_widths": (7, 5)}, (6, 6, 1)),
    "lenet_300_100": ({}, (5, 5, 1)),
    "mlp_1000x3": ({"hidden_widths": (6, 7, 5)}, (6, 6, 1)),
    "lenet5": ({}, (14, 12, 2)),
    "conv6": ({"conv_widths": (4, 3, 4, 5, 6, 7), "hidden_widths": (5, 4)}, (8, 16, 2)),
    "vgg16": ({"widths": (4, 5, 6, 7, 8, 9, 8, 7, 9, 8, 7, 8, 9), "head_width": 6}, (32, 32, 1)),
    "resnet20": ({**NARROW, "depth": 14, "shortcut": "pad"}, (8, 8, 2)),
    "resnet32": ({**NARROW, "depth": 14, "shortcut": "conv1x1"}, (7, 8, 2)),
    "resnet56": ({**NARROW, "depth": 14}, (8, 8, 1)),
    "resnet110": ({**NARROW, "depth": 20}, (4, 4, 1)),
    "resnet50": ({"stem_width": 4, "stage_widths": (8, 12, 16, 20)}, (33, 32, 1)),
    "wide_resnet28_2": ({"stem_width": 4, "stage_widths": (4, 6, 8), "depth": 10}, (8, 8, 2)),
    "densenet40": ({"stem_width": 4, "growths": ((3, 2), (2, 3), (4,))}, (8, 8, 2)),
}
DIFFERENTIATED = ("mlp", "lenet5", "resnet56", "densenet40")


def made(name, batch=3):
    overrides, image = SMALL[name]
    model = models.build(name, num_classes=4, **overrides)
    x = jax.random.normal(jax.random.key(1), (batch, *image))
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    return model, randomise(shapes), x


def test_every_model_is_here():
    assert set(SMALL) == set(models.MODELS)


@pytest.mark.parametrize("name", SMALL)
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
    model, variables, x = made("resnet56")

    def forward(variables, x):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    network = trace(forward, variables, x)
    plan = network.plan(random_keep(network))
    masked = masks.apply(variables, plan.masks(variables))

    def both(masked, sliced):
        return plan.apply_fn()(sliced, x), forward(masked, x)

    ours, theirs = compiled(both)(masked, plan.slice(variables))
    assert distance(ours[0], theirs[0]) <= 1e-5
    assert distance(ours[1], plan.slice(theirs[1])) <= 1e-5


def test_the_same_class_with_fewer_features_is_the_same_network():
    model, variables, x = made("conv6")
    network = trace(model.apply, variables, x)
    plan = network.plan(random_keep(network))
    left = {name: int(stays.sum()) for name, stays in plan.keep.items()}
    smaller = models.build(
        "conv6",
        num_classes=4,
        conv_widths=tuple(left[f"conv{i}"] for i in range(1, 7)),
        hidden_widths=tuple(left[f"hidden{i}"] for i in (1, 2)),
    )
    sliced = plan.slice(variables)
    assert distance(plan.apply_fn()(sliced, x), compiled(smaller.apply)(sliced, x)) <= 1e-5


def test_a_sliced_network_can_be_traced_and_sliced_again():
    model, variables, x = made("lenet5")
    network = trace(model.apply, variables, x)
    plan = network.plan(random_keep(network))
    sliced, forward = plan.slice(variables), plan.apply_fn()
    check(forward, sliced, x, removes=0.2)
    smaller = trace(forward, plan.slice(network.variables), jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert smaller.cost().parameters == sum(leaf.size for leaf in jax.tree.leaves(sliced))
    assert smaller.cost().multiply_adds < network.cost().multiply_adds


def test_it_trains_on():
    model, variables, x = made("mlp")
    network = trace(model.apply, variables, x)
    plan = network.plan(random_keep(network))
    sliced, forward = plan.slice(variables), plan.apply_fn()

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
