"""What layers put out, against what the modules themselves say; the cost of a plan."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax import models
from prunejax.network import trace
from tests.support.slicing_checks import random_keep, randomise

IMAGES = {"resnet": (8, 8, 2), "vgg": (32, 32, 1), "densenet": (8, 8, 2), "lenet": (14, 12, 2)}
SMALL = {
    "resnet": ("resnet20", {"stem_width": 4, "stage_widths": (4, 6, 8), "depth": 8}),
    "vgg": ("vgg16", {"widths": (4, 5, 6, 7, 8, 9, 8, 7, 9, 8, 7, 8, 9), "head_width": 6}),
    "densenet": ("densenet40", {"stem_width": 4, "growths": ((3, 2), (2, 3), (4,))}),
    "lenet": ("lenet5", {}),
}


@functools.cache
def made(name):
    model = models.build(SMALL[name][0], num_classes=4, **SMALL[name][1])
    x = jax.random.normal(jax.random.key(1), (3, *IMAGES[name]))
    variables = randomise(jax.eval_shape(lambda x: model.init(jax.random.key(0), x), x))
    return (
        model,
        variables,
        x,
        trace(model.apply, variables, jax.ShapeDtypeStruct(x.shape, x.dtype)),
    )


@pytest.mark.parametrize("name", SMALL)
def test_layers_put_out_what_their_modules_return(name):
    model, variables, x, network = made(name)
    _, state = model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
    layers = [
        layer.name
        for layer in network.layers.values()
        if layer.kind in ("conv", "dense", "norm", "activation")
    ]
    recorded = network.record(variables, x, layers)
    assert list(recorded) == layers
    compared = 0
    for layer in layers:
        outputs = state["intermediates"]
        if network.layers[layer].kind == "activation":
            (before,) = network.layers[layer].inputs
            if before in recorded:
                np.testing.assert_allclose(recorded[layer], np.maximum(recorded[before], 0))
            continue
        for part in layer.split("/"):
            outputs = outputs[part]
        np.testing.assert_allclose(recorded[layer], outputs["__call__"][0], rtol=1e-5, atol=1e-6)
        compared += 1
    assert compared == sum(network.layers[layer].kind != "activation" for layer in layers) > 3


def test_it_jits_and_takes_other_batches():
    model, variables, x, network = made("resnet")
    record = jax.jit(lambda variables, x: network.record(variables, x, ["stem", "classifier"]))
    out = record(variables, x[:2])
    assert out["stem"].shape == (2, 8, 8, 4)
    np.testing.assert_allclose(out["classifier"], model.apply(variables, x[:2]), rtol=1e-5)


def test_a_layer_norm_puts_out_its_scaled_and_shifted_values():
    model = nn.Sequential([nn.Dense(6), nn.LayerNorm(), nn.gelu, nn.Dense(2)])
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)
    variables = randomise(model.init(jax.random.key(0), x))
    network = trace(model.apply, variables, x)
    (norm,) = (layer.name for layer in network.layers.values() if layer.kind == "norm")
    _, state = model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
    (expected,) = state["intermediates"]["layers_1"]["__call__"]
    np.testing.assert_allclose(network.record(variables, x, [norm])[norm], expected, rtol=1e-5)


def test_bad_requests_are_named():
    _, variables, x, network = made("vgg")
    with pytest.raises(
        ValueError, match=r"unknown layer 'conv99'; allowed are .*; did you mean 'conv"
    ):
        network.record(variables, x, ["conv99"])
    pool = next(layer.name for layer in network.layers.values() if layer.kind == "avg_pool")
    with pytest.raises(ValueError, match=f"{pool!r} puts out cannot be told .* a avg_pool"):
        network.record(variables, x, [pool])
    params = {**variables["params"], "conv1": {"kernel": jnp.ones((3, 3, 1, 5))}}
    with pytest.raises(ValueError, match="not the variables of the network: params/conv1/bias"):
        network.record({**variables, "params": params}, x, ["conv1"])


@pytest.mark.parametrize("name", SMALL)
def test_a_plan_costs_what_its_sliced_leaves_say(name):
    _, variables, _, network = made(name)
    plan = network.plan(random_keep(network))
    small = plan.slice(variables)
    cost = plan.cost()
    assert cost.parameters == sum(leaf.size for leaf in jax.tree.leaves(small["params"]))
    expected = 0
    for layer in network.layers.values():
        if layer.kind in ("conv", "dense"):
            kernel = small["params"]
            for part in layer.name.split("/"):
                kernel = kernel[part]
            places = math.prod(layer.output_shape[:-1])
            expected += places * kernel["kernel"].size
    assert cost.multiply_adds == expected
    assert cost.multiply_adds < 0.8 * network.cost().multiply_adds
    assert plan.cost("thop").multiply_adds > cost.multiply_adds or name == "lenet"


def test_a_plan_costs_what_its_function_costs_traced_anew():
    _, variables, x, network = made("densenet")
    plan = network.plan(random_keep(network))
    again = trace(plan.apply_fn, plan.slice(variables), x)
    assert again.cost("thop") == plan.cost("thop")
    assert network.plan({}).cost("thop") == network.cost("thop")
