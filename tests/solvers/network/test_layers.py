"""Layers refuse numbers that do not fit."""

import jax
import numpy as np
import pytest

from solvers.critical_neurons import Problem
from solvers.layers import (
    AdaptiveAveragePool,
    Affine,
    AveragePool,
    Conv,
    Dense,
    MaxPool,
    Relu,
)

NAN = float("nan")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Dense(np.full((4, 3), NAN), None, "first"), "the kernel of first has values"),
        (lambda: Dense(jax.numpy.full((4, 3), NAN)), "kernel of a dense layer has values that"),
        (lambda: Dense(np.ones((4, 3)), [0.0, NAN, 1.0], "x"), "the bias of x has values that"),
        (lambda: Affine(NAN, 0.0), "the scale of an affine layer has values that are NaN"),
        (lambda: Dense(np.ones(4)), r"must have a kernel \[inputs, units\], got shape \[4\]"),
        (lambda: Dense(np.ones((4, 0))), "must have a kernel"),
        (lambda: Dense(None), "must be an array of real numbers, got object"),
        (lambda: Conv(np.ones((3, 3, 1, 2)), strides=(0, 1), name="c"), "the strides of c must be"),
        (lambda: Conv(np.ones((3, 3, 1, 2)), padding="SAME"), "must be two pairs of numbers"),
        (lambda: Conv(np.ones((3, 3, 1, 2)), padding=1), r"got 1; a padding of 1 on each side is"),
        (lambda: Conv(np.ones((3, 3, 1, 2)), padding=(1, 1), name="c"), "the padding of c must be"),
        (lambda: Conv(np.ones((3, 3, 1, 2)), groups=1.5), "a whole number from 1 on, got 1.5"),
        (lambda: Dense([[1.0, 2.0], [3.0]], name="fc"), "the kernel of fc is ragged"),
        (lambda: Conv(np.ones((3, 3, 2))), "must have a kernel .height, width"),
        (lambda: MaxPool(2), "the window of a max pool must be two whole numbers from 1 on, got 2"),
        (lambda: MaxPool((0, 2)), "the window of a max pool must be"),
        (lambda: AveragePool((2, 2), (1, 0)), "the strides of an average pool must be"),
        (lambda: AdaptiveAveragePool((0, 0)), "the output of an adaptive average pool must be"),
    ],
)
def test_layers_that_are_none_are_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_lists_and_jax_arrays_are_taken():
    kernels = [[[1.0, -1.0], [0.5, 2.0]], jax.numpy.ones((2, 2))]
    problem = Problem([Dense(kernels[0]), Relu(), Dense(kernels[1])], [[1.0, 2.0]], [0])
    assert problem.loss() == pytest.approx(np.log(2))
