"""Every model of the zoo built again with the channels that a plan leaves."""

import functools

import jax
import numpy as np
import pytest
from flax import linen as nn

from prunejax import models
from prunejax.network import trace
from tests.support.slicing_checks import compiled, distance, random_keep
from tests.support.small_zoo import NARROW, SMALL, each, made


@functools.cache
def traced(name):
    model, variables, x = made(name)
    return model, variables, x, trace(model.apply, variables, x)


def shapes(tree):
    return jax.tree.map(np.shape, tree)


def new(model, x):
    return jax.eval_shape(model.init, jax.random.key(0), x)


def compare(model, variables, x, plan):
    smaller = models.resized(model, plan.by_leaf())
    sliced = plan.slice(variables)
    assert type(smaller) is type(model)
    assert shapes(new(smaller, x)) == shapes(sliced) != shapes(variables)

    def both(sliced, x):
        return smaller.apply(sliced, x), plan.apply_fn(sliced, x)

    assert distance(*compiled(both)(sliced, x)) <= 1e-5
    return smaller


@pytest.mark.parametrize("name", each(SMALL))
def test_the_smaller_module_is_the_sliced_network(name):
    model, variables, x, network = traced(name)
    smaller = compare(model, variables, x, network.plan(random_keep(network)))
    widths = model.width_fields(lambda layer: np.ones(1, bool))
    before, after = (models.describe(module)["fields"] for module in (model, smaller))
    assert {name: value for name, value in before.items() if name not in widths} == {
        name: value for name, value in after.items() if name not in widths
    }


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
def test_padding_follows_the_channels_that_stay(name):
    """The plans leave every part of the padded channels whole, empty or uneven somewhere."""
    model, variables, x, network = traced(name)
    seen = set()
    for seed in range(12):
        plan = network.plan(random_keep(network, seed))
        smaller = models.resized(model, plan.by_leaf())
        assert shapes(new(smaller, x)) == shapes(plan.slice(variables))
        if smaller.shortcut_pads not in seen and len(seen) < 3:
            compare(model, variables, x, plan)
        seen.add(smaller.shortcut_pads)
    fronts, behinds = zip(*(pad for pads in seen for pad in pads), strict=True)
    assert 0 in fronts
    assert 0 in behinds
    assert max(fronts + behinds) > 0
    assert any(front != behind for front, behind in zip(fronts, behinds, strict=True))


def test_in_training_mode_too():
    model, variables, x, network = traced("resnet56")

    def forward(module, variables, x):
        return module.apply(variables, x, train=True, mutable=["batch_stats"])

    in_training = trace(functools.partial(forward, model), variables, x)
    plan = in_training.plan(random_keep(network))
    smaller = models.resized(model, plan.by_leaf())

    def both(sliced, x):
        return forward(smaller, sliced, x), plan.apply_fn(sliced, x)

    ours, theirs = compiled(both)(plan.slice(variables), x)
    assert distance(ours[0], theirs[0]) <= 1e-5
    assert distance(ours[1], theirs[1]) <= 1e-5


def test_the_paths_of_parameters_alone_will_do():
    model, variables, x = made("mlp")
    network = trace(lambda params, x: model.apply({"params": params}, x), variables["params"], x)
    plan = network.plan(random_keep(network))
    assert "hidden1/kernel" in plan.by_leaf()
    smaller = models.resized(model, plan.by_leaf())
    assert shapes(new(smaller, x)["params"]) == shapes(plan.slice(variables["params"]))


def test_where_nothing_goes_the_module_is_the_same():
    model = models.build("resnet8", num_classes=4, **NARROW)
    assert models.resized(model, {}) == model


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


def kept_of(name):
    model, _, _, network = traced(name)
    return model, network.plan(random_keep(network)).by_leaf()


def test_refuses_a_module_of_another_class():
    with pytest.raises(ValueError, match=r"Two is none of MLP, LeNet5.*Plan\.apply_fn runs"):
        models.resized(Two(), {"params/Dense_0/kernel": [np.ones(3, bool), np.ones(2, bool)]})


def test_refuses_what_belongs_to_another_module():
    model, _ = kept_of("mlp")
    _, kept = kept_of("lenet5")
    with pytest.raises(ValueError, match="'params/conv1/bias' does not belong to this MLP"):
        models.resized(model, kept)
    _, deeper = kept_of("mlp_1000x3")
    with pytest.raises(ValueError, match=r"which has params/classifier/bias, .*, \.\.\."):
        models.resized(model, {path: deeper[path] for path in deeper if "hidden3" in path})


def test_refuses_arrays_of_another_length():
    model, kept = kept_of("mlp")
    wider = models.build("mlp", num_classes=4, hidden_widths=(7, 6))
    refused = r"kept\['params/hidden2/\w+'\] must be a bool array of shape \(6,\), got bool\[5\]"
    with pytest.raises(ValueError, match=refused):
        models.resized(wider, kept)
    with pytest.raises(ValueError, match=r"got int64\[7\]"):
        models.resized(model, {"params/hidden1/bias": [np.arange(7)]})
    with pytest.raises(ValueError, match="must have 2 arrays, got 1"):
        models.resized(model, {"params/hidden1/kernel": [np.ones(7, bool)]})


def test_refuses_widths_that_the_class_cannot_have():
    model, kept = kept_of("resnet14")
    path = "params/stage1_block2/conv2/kernel"
    kept[path][-1] = ~np.eye(1, 4, dtype=bool)[0]
    with pytest.raises(ValueError, match=f"no ResNet has the widths.* 3 channels of '{path}' stay"):
        models.resized(model, kept)
    model, kept = kept_of("mlp")
    with pytest.raises(ValueError, match=r"no MLP has .* 'params/hidden1/bias' stay, but 3 follow"):
        models.resized(model, {path: kept[path] for path in kept if "bias" not in path})
    with pytest.raises(ValueError, match=r"hidden_widths\[0\] must be a positive integer, got 0"):
        models.resized(model, {path: [a & False for a in axes] for path, axes in kept.items()})
