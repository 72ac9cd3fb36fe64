"""Layers' matrices against loops and jax.lax."""

import jax
import numpy as np
import pytest

from solvers.layers import (
    AdaptiveAveragePool,
    Affine,
    AveragePool,
    Conv,
    Dense,
    MaxPool,
)
from solvers.network import matrices
from tests.support.layer_cases import applied, windowed


@pytest.mark.parametrize(
    "height_width, strides, padding, dilation, groups",
    [
        ((3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((3, 2), (2, 1), ((1, 0), (0, 2)), (1, 1), 1),
        ((2, 3), (1, 2), ((1, 1), (1, 1)), (2, 1), 1),
        ((2, 2), (1, 1), ((0, 1), (2, 0)), (1, 3), 2),
        ((3, 3), (2, 3), ((2, 2), (1, 2)), (2, 2), 4),
        ((1, 1), (3, 2), ((0, 0), (0, 0)), (1, 1), 2),
    ],
)
def test_a_convolution_is_that_of_jax(height_width, strides, padding, dilation, groups):
    random = np.random.default_rng(0)
    image = random.normal(size=(7, 6, 4))
    kernel = random.normal(size=(*height_width, 4 // groups, 8))
    bias = random.normal(size=8)
    with jax.enable_x64(True):
        expected = jax.lax.conv_general_dilated(
            image[None],
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    layer = Conv(kernel, bias, strides, padding, dilation, groups)
    np.testing.assert_allclose(applied(layer, image), np.asarray(expected[0]) + bias, atol=1e-12)


@pytest.mark.parametrize("window, strides", [((2, 2), None), ((3, 2), (2, 1)), ((1, 1), (2, 3))])
def test_pools_are_loops(window, strides):
    image = np.random.default_rng(1).normal(size=(7, 6, 3))
    expected = windowed(image, window, strides or window, np.mean)
    np.testing.assert_allclose(applied(AveragePool(window, strides), image), expected, atol=1e-12)
    taken, shape = matrices.windows(MaxPool(window, strides), image.shape)
    expected = windowed(image, window, strides or window, np.max)
    np.testing.assert_array_equal(image.ravel()[taken].max(axis=1).reshape(shape), expected)


def test_a_global_average_and_a_dense_layer_are_loops():
    random = np.random.default_rng(2)
    image = random.normal(size=(3, 4, 2))
    expected = image.reshape(-1, 2).mean(axis=0)
    np.testing.assert_allclose(applied(AveragePool(), image)[0, 0], expected, atol=1e-12)
    kernel, bias = random.normal(size=(24, 5)), random.normal(size=5)
    expected = [sum(image.ravel()[i] * kernel[i, j] for i in range(24)) for j in range(5)] + bias
    np.testing.assert_allclose(applied(Dense(kernel, bias), image), expected, atol=1e-12)


@pytest.mark.parametrize("output", [(1, 1), (2, 3), (3, 5), (7, 6)])
def test_an_adaptive_average_is_a_loop(output):
    image = np.random.default_rng(3).normal(size=(7, 6, 2))
    found = applied(AdaptiveAveragePool(output), image)
    for row in range(output[0]):
        for column in range(output[1]):
            top, bottom = row * 7 // output[0], int(np.ceil((row + 1) * 7 / output[0]))
            left, right = column * 6 // output[1], int(np.ceil((column + 1) * 6 / output[1]))
            expected = image[top:bottom, left:right].mean(axis=(0, 1))
            np.testing.assert_allclose(found[row, column], expected, atol=1e-12)


def test_batch_normalisation_is_its_formula():
    random = np.random.default_rng(4)
    image = random.normal(size=(3, 2, 4))
    mean, variance = random.normal(size=4), random.uniform(0.1, 2, 4)
    scale, bias = random.normal(size=4), random.normal(size=4)
    expected = (image - mean) / np.sqrt(variance + 1e-3) * scale + bias
    layer = Affine.batch_norm(mean, variance, scale, bias, epsilon=1e-3)
    np.testing.assert_allclose(applied(layer, image), expected, atol=1e-12)
    expected = (image - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(
        applied(Affine.batch_norm(mean, variance), image), expected, atol=1e-12
    )
