"""Costs against the published table and against counts by hand."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from prunejax import models
from prunejax.network import trace
from prunejax.network.costs import measure

# model, classes, image, multiply-adds, parameters: thop 0.1.1, the convention of Yang et al. (2025)
PUBLISHED = [
    ("vgg16", 10, 32, 314572288, 14991946),
    ("vgg16", 100, 32, 314618368, 15038116),
    ("resnet56", 10, 32, 130024128, 876250),
    ("resnet56", 100, 32, 130029888, 882100),
    ("resnet110", 10, 32, 259490496, 1751194),
    ("resnet110", 100, 32, 259496256, 1757044),
    ("densenet40", 10, 32, 292502424, 1059298),
    ("densenet40", 100, 32, 292543464, 1100428),
    ("resnet50", 1000, 224, 4133742592, 25557032),
]


@functools.cache
def network_of(name, classes=10, size=32):
    model = models.build(name, num_classes=classes)
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    return trace(functools.partial(model.apply, train=False), variables, x)


@pytest.mark.parametrize("name, classes, size, multiply_adds, parameters", PUBLISHED)
def test_the_published_table(name, classes, size, multiply_adds, parameters):
    pool = "adaptive" if name == "resnet50" else "window"
    cost = network_of(name, classes, size).cost("thop", global_pool=pool)
    assert (cost.multiply_adds, cost.parameters) == (multiply_adds, parameters)
    assert sum(row.multiply_adds for row in cost.layers) == multiply_adds
    assert sum(row.parameters for row in cost.layers) == parameters


def test_plain_multiply_adds_leave_out_norms_and_pools():
    network = network_of("resnet56")
    norms = 4 * (16 * 32 * 32 * 19 + 32 * 16 * 16 * 19 + 64 * 8 * 8 * 19)
    assert network.cost("macs").multiply_adds == 130024128 - norms - 64
    rows = {row.name: row for row in network.cost().layers}
    assert (rows["stem"].parameters, rows["stem"].multiply_adds) == (3 * 9 * 16, 3 * 9 * 16 * 1024)
    assert rows["classifier"].multiply_adds == 640


def test_grouped_and_transposed_convolutions_and_shared_layers_by_hand():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (3, 3), feature_group_count=4, name="grouped")(x)
            x = nn.ConvTranspose(5, (2, 2), strides=(2, 2), name="up")(x)
            shared = nn.Dense(5, name="shared")
            x = shared(nn.relu(shared(x)))
            return nn.MultiHeadDotProductAttention(1, name="attend")(x.reshape(1, -1, 5))

    x = jax.ShapeDtypeStruct((1, 4, 6, 4), jnp.float32)
    variables = jax.eval_shape(lambda x: Net().init(jax.random.key(0), x), x)
    network = trace(Net().apply, variables, x)
    rows = {row.name: row for row in network.cost().layers}
    assert rows["grouped"].multiply_adds == 4 * 6 * 8 * 1 * 9
    assert rows["up"].multiply_adds == 4 * 6 * 8 * 5 * 4
    assert rows["shared"].multiply_adds == rows["shared#2"].multiply_adds == 96 * 25
    assert (rows["shared"].parameters, rows["shared#2"].parameters) == (30, 0)
    products = [row.multiply_adds for row in rows.values() if row.kind == "matmul"]
    assert products == [96 * 96 * 5, 96 * 96 * 5]
    assert network.layers["up"].kind == "conv_transpose"


def test_bad_conventions():
    with pytest.raises(ValueError, match="unknown convention 'flops'; allowed are macs, thop"):
        measure({}, {}, frozenset(), "flops", "window")
    with pytest.raises(
        ValueError, match="unknown global_pool 'none'; allowed are window, adaptive"
    ):
        measure({}, {}, frozenset(), "thop", "none")
