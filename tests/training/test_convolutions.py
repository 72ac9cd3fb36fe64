"""Convolutions of stacked networks against those of each network, by JAX itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from prunejax.training.convolutions import for_stacking, has_shared

NETWORKS = 5
IMAGE, KERNEL = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
CASES = [
    # stride, padding, window, dilation, layout
    (1, 1, 3, 1, IMAGE),
    (2, 1, 3, 1, IMAGE),
    (1, 0, 1, 1, IMAGE),
    (2, 0, 1, 1, IMAGE),
    (2, 2, 5, 1, IMAGE),
    (1, 2, 3, 2, IMAGE),
    (1, 1, 3, 1, KERNEL),
]


def arrays(window, layout, channels=(3, 4), dtype=jnp.float32):
    ins, outs = channels
    sizes = {"N": 2, "H": 9, "W": 8, "C": ins, "I": ins, "O": outs}
    image = [sizes[axis] for axis in layout[0]]
    kernel = [window if axis in "HW" else sizes[axis] for axis in layout[1]]
    keys = jax.random.split(jax.random.key(0))
    return (
        jax.random.normal(keys[0], (NETWORKS, *image), dtype),
        jax.random.normal(keys[1], (NETWORKS, *kernel), dtype),
    )


def with_gradients(stride, padding, dilation, layout):
    def loss(images, kernel):
        made = lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=layout,
        )
        return jnp.sum(jnp.sin(made) * jnp.arange(made.size, dtype=made.dtype).reshape(made.shape))

    return jax.value_and_grad(loss, (0, 1))


@pytest.mark.parametrize("widest", [0, 8, 64])
@pytest.mark.parametrize("stride, padding, window, dilation, layout", CASES)
def test_values_and_gradients_are_those_of_each_network(
    stride, padding, window, dilation, layout, widest
):
    with jax.enable_x64(True):
        images, kernels = arrays(window, layout, dtype=jnp.float64)
        function = with_gradients(stride, padding, dilation, layout)
        closed = jax.make_jaxpr(function)(images[0], kernels[0])
        assert has_shared(closed, networks=NETWORKS, widest=widest) == (widest > 0)
        stacked = jax.jit(jax.vmap(for_stacking(closed, widest=widest)))(images, kernels)
        for network in range(NETWORKS):
            alone = jax.tree.leaves(function(images[network], kernels[network]))
            for got, wanted in zip(stacked, alone, strict=True):
                np.testing.assert_allclose(got[network], wanted, rtol=1e-10, atol=1e-10)


def groups(closed, *stacked, widest):
    """The group counts, and how many convolutions there are, in what is compiled."""
    text = str(jax.make_jaxpr(jax.vmap(for_stacking(closed, widest=widest)))(*stacked))
    return {part.split("\n")[0] for part in text.split("feature_group_count=")[1:]}, text.count(
        "conv_general_dilated["
    )


@pytest.mark.parametrize("widest, convolutions", [(0, 3 * 5), (8, 3 * 3), (64, 3)])
def test_no_convolution_is_in_groups(widest, convolutions):
    images, kernels = arrays(3, IMAGE)
    closed = jax.make_jaxpr(with_gradients(1, 1, 1, IMAGE))(images[0], kernels[0])
    assert groups(closed, images, kernels, widest=widest) == ({"1"}, convolutions)


def test_what_is_inside_loops_and_branches_is_found():
    def function(images, kernel):
        def step(carry, _):
            made = lax.conv_general_dilated(carry, kernel, (1, 1), "SAME", dimension_numbers=IMAGE)
            made = lax.cond(jnp.sum(made) > 0, lambda x: x, lambda x: -x, made)
            return jax.nn.relu(made), jnp.sum(made)

        return lax.scan(jax.checkpoint(step), images, None, length=3)

    images, kernels = arrays(3, IMAGE, channels=(3, 3))
    closed = jax.make_jaxpr(function)(images[0], kernels[0])
    for widest in (0, 64):
        assert has_shared(closed, networks=NETWORKS, widest=widest) == (widest > 0)
        assert groups(closed, images, kernels, widest=widest)[0] == {"1"}
        stacked = jax.vmap(for_stacking(closed, widest=widest))(images, kernels)
        for network in range(NETWORKS):
            alone = jax.tree.leaves(function(images[network], kernels[network]))
            for got, wanted in zip(stacked, alone, strict=True):
                np.testing.assert_allclose(got[network], wanted, rtol=1e-4, atol=1e-5)


def test_convolutions_that_are_in_groups_stay_so():
    images, kernels = arrays(3, IMAGE, channels=(4, 4))
    kernels = kernels[..., :1, :]

    def depthwise(images, kernel):
        return lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=IMAGE, feature_group_count=4
        )

    closed = jax.make_jaxpr(depthwise)(images[0], kernels[0])
    assert not has_shared(closed, networks=NETWORKS, widest=64)
    (stacked,) = jax.vmap(for_stacking(closed, widest=64))(images, kernels)
    for network in range(NETWORKS):
        wanted = depthwise(images[network], kernels[network])
        np.testing.assert_allclose(stacked[network], wanted, rtol=1e-5, atol=1e-5)
