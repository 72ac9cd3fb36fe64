"""Axes and sizes that a network computes with NumPy are read as Python's integers are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from prunejax.network import trace

N = np.int64


def convolutional(variables, x):
    x = lax.conv_general_dilated(
        x.reshape(4, 2, 2, 6),
        variables["kernel"],
        (N(1), N(1)),
        [(N(1), N(1)), (N(1), N(1))],
        lhs_dilation=(N(1), N(1)),
        rhs_dilation=(N(1), N(1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    window, strides = (N(1), N(2), N(2), N(1)), (N(1),) * 4
    x = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")
    return x.mean(axis=(N(1), N(2))) @ variables["out"]


def moving(variables, x):
    x = (x @ variables["first"])[:, None]
    x = lax.squeeze(jnp.transpose(x, (N(0), N(2), N(1))), (N(2),))
    x = lax.broadcast_in_dim(x, (N(3), N(4), N(8)), (N(1), N(2)))
    x = x.sum(axis=N(0))
    x = lax.pad(x, jnp.float32(0), [(N(0), N(1), N(0)), (N(0), N(0), N(0))])
    x = lax.slice(x, (N(0), N(0)), (N(4), N(8)))
    x = lax.rev(lax.cumsum(x, axis=N(0)), (N(0),))
    x = lax.dynamic_slice(x, (N(1), N(0)), (N(2), N(8)))
    x = lax.dynamic_update_slice(jnp.zeros((4, 8)), x, (N(1), N(0)))
    x = lax.concatenate([x, x], N(1)).reshape(N(4), N(2), N(8)).sum(N(1))
    x = jnp.take(x, np.array([3, 1, 2, 0]), axis=N(0))
    x = jnp.sort(x.at[N(1)].add(x[N(0)]), axis=N(0))
    x = lax.dot_general(x, variables["second"], (((N(1),), (N(0),)), ((), ())))
    return x @ variables["out"]


def gathering(variables, x):
    x = x @ variables["first"]
    places = jnp.array([[1], [0]])
    taken = lax.GatherDimensionNumbers((N(1),), (N(0),), (N(0),))
    x = lax.gather(x, places, taken, (N(1), N(8)))
    put = lax.ScatterDimensionNumbers((N(1),), (N(0),), (N(0),))
    return lax.scatter_add(jnp.zeros((4, 8)), places, x, put) @ variables["out"]


@pytest.mark.parametrize("apply_fn", [convolutional, moving, gathering])
def test_axes_are_read_as_integers(apply_fn):
    drawing = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 6, 8), "first": (24, 8), "second": (8, 8), "out": (8, 3)}
    variables = {
        path: jnp.asarray(drawing.normal(size=shape), jnp.float32) for path, shape in shapes.items()
    }
    x = jnp.asarray(drawing.normal(size=(4, 24)), jnp.float32)
    network = trace(apply_fn, variables, x)
    assert network.groups
    assert all(group.width == 8 for group in network.groups.values())
    for layer in network.layers.values():
        for number in (*layer.strides, *layer.window, *layer.dilation, *sum(layer.padding, ())):
            assert type(number) is int
    plan = network.plan({path: np.arange(8) < 4 for path in network.groups})
    masked = jax.tree.map(
        lambda leaf, mask: leaf if mask is None else jnp.where(mask, leaf, 0),
        variables,
        plan.masks(variables),
    )
    got, wanted = plan.apply_fn(plan.slice(variables), x), apply_fn(masked, x)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
