"""Layers' matrices against loops and jax.lax, bounds against sampled activations."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from solvers.network import bounds, chain, matrices
from solvers.network.chain import Linear, Maximum, Rectify


def applied(layer, image):
    """A layer's matrix on an image, in the shape that it says."""
    matrix, offset, shape = matrices.linear(layer, image.shape)
    return (matrix @ image.ravel() + offset).reshape(shape)


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


def windowed(image, window, strides, reduce):
    """A pool as loops."""
    height = (image.shape[0] - window[0]) // strides[0] + 1
    width = (image.shape[1] - window[1]) // strides[1] + 1
    found = np.zeros((height, width, image.shape[2]))
    for row in range(height):
        for column in range(width):
            for channel in range(image.shape[2]):
                top, left = row * strides[0], column * strides[1]
                found[row, column, channel] = reduce(
                    image[top : top + window[0], left : left + window[1], channel]
                )
    return found


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


def networks(seed):
    """Layers of small networks, and the shape of what they take."""
    random = np.random.default_rng(seed)

    def dense(inputs, units, name):
        return Dense(random.normal(size=(inputs, units)), random.normal(size=units), name)

    conv = Conv(random.normal(size=(2, 2, 1, 3)), random.normal(size=3), name="conv")
    second = Conv(
        random.normal(size=(2, 2, 3, 2)), random.normal(size=2), padding=((1, 0), (0, 1)), name="c2"
    )
    norm = Affine(random.normal(size=3), random.normal(size=3))
    return [
        ([dense(5, 6, "a"), Relu(), dense(6, 4, "b"), Relu(), dense(4, 3, "out")], (5,)),
        ([conv, norm, Relu(), MaxPool((2, 2)), dense(12, 3, "out")], (5, 5, 1)),
        ([conv, norm, MaxPool((2, 2)), Relu(), dense(12, 3, "out")], (5, 5, 1)),
        ([conv, AveragePool((2, 2)), norm, Relu(), dense(12, 3, "out")], (5, 5, 1)),
        (
            [conv, Relu(), second, MaxPool((2, 2), (1, 1)), Relu(), dense(18, 3, "out")],
            (5, 5, 1),
        ),
    ]


def forward(network, image, kept):
    """A network as its layers say, a neuron's channel 0 behind its ReLU where it is masked."""
    waiting, masks = None, iter(kept)
    for layer in network:
        if isinstance(layer, Relu):
            image = np.maximum(image, 0)
            if waiting is not None:
                image, waiting = image * waiting, None
        elif isinstance(layer, MaxPool):
            image = windowed(image, layer.window, layer.strides or layer.window, np.max)
        else:
            image = applied(layer, image)
            if isinstance(layer, Dense | Conv) and layer is not network[-1]:
                waiting = next(masks)
    return image


def activations(built, values, kept):
    """What each step puts out, before anything is masked."""
    found, behind = [], {index: (g, units) for g, (index, units) in built.masked_behind().items()}
    for index, step in enumerate(built.steps):
        match step:
            case Linear(matrix, offset):
                values = matrix @ values + offset
            case Rectify():
                values = np.maximum(values, 0)
            case Maximum(windows):
                values = values[windows].max(axis=1)
        found.append(values)
        if index in behind:
            gate, units = behind[index]
            values = values * kept[gate][units]
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), which=st.integers(0, 4), keep=st.floats(0, 1))
def test_a_chain_is_its_layers_under_masks(seed, which, keep):
    random = np.random.default_rng(seed)
    network, shape = networks(seed)[which]
    built = chain.build(network, shape)
    image = random.uniform(size=shape)
    kept = [(random.uniform(size=gate.neurons) < keep).astype(float) for gate in built.gates]
    found = built.logits(image.reshape(1, -1), np.concatenate(kept))[0]
    np.testing.assert_allclose(found, forward(network, image, kept), atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    which=st.integers(0, 4),
    epsilon=st.sampled_from([0.0, 1e-5, 0.05, 0.5]),
    gated=st.booleans(),
)
def test_bounds_contain_every_activation(seed, which, epsilon, gated):
    random = np.random.default_rng(seed)
    network, shape = networks(seed)[which]
    built = chain.build(network, shape)
    image = random.uniform(size=(1, *shape)).reshape(1, -1)
    found = bounds.interval(built, image, epsilon, gated=gated)
    for _ in range(12):
        # corners and inner points of the box
        moved = image[0] + epsilon * np.clip(random.uniform(-2, 2, image.shape[1]), -1, 1)
        share = random.uniform() if gated else 1.0
        kept = [(random.uniform(size=gate.neurons) <= share) * 1.0 for gate in built.gates]
        for bound, values in zip(found, activations(built, moved, kept), strict=True):
            assert np.all(values >= bound.lower[0] - 1e-9)
            assert np.all(values <= bound.upper[0] + 1e-9)


@pytest.mark.parametrize("pool", [AveragePool((2, 2)), MaxPool((2, 2))])
def test_a_channel_scaled_to_nothing_is_masked_as_itself(pool):
    random = np.random.default_rng(1)
    scale, shift = np.array([1.0, 0.0, 0.5]), np.array([0.1, 2.0, 0.3])
    network = [
        Conv(random.normal(size=(3, 3, 1, 3)), name="first"),
        pool,
        Affine(scale, shift),
        Relu(),
        Dense(random.normal(size=(12, 2))),
    ]
    problem = Problem(network, random.uniform(size=(4, 6, 6, 1)), np.arange(4) % 2)
    for channel in range(3):
        kept = np.ones(3)
        kept[channel] = 0
        # by hand: without the channel's rows of the last kernel
        kernel = network[-1].kernel.reshape(2, 2, 3, 2) * kept[:, None]
        cut = [*network[:-1], Dense(kernel.reshape(12, 2))]
        expected = chain.build(cut, (6, 6, 1)).logits(problem.flat)
        np.testing.assert_allclose(problem.chain.logits(problem.flat, kept), expected, atol=1e-12)


def test_bounds_of_a_dense_layer_are_reached():
    kernel, bias = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([0.25, -1.0])
    built = chain.build([Dense(kernel, bias), Relu(), Dense(np.eye(2))], (2,))
    found = bounds.interval(built, np.array([[0.5, 0.5]]), 0.1, gated=False)
    # the smallest and largest value by hand: 0.5 (sum) + bias -/+ 0.1 (sum of magnitudes)
    np.testing.assert_allclose(found[0].lower, [[2.25 - 0.4, -1.75 - 0.25]])
    np.testing.assert_allclose(found[0].upper, [[2.25 + 0.4, -1.75 + 0.25]])


def dense(inputs, units):
    return Dense(np.ones((inputs, units)), None, f"of{units}")


@pytest.mark.parametrize(
    "network, shape, message",
    [
        ([dense(4, 3), Relu()], (4,), "last layer must be a Dense"),
        ([dense(4, 3), dense(3, 2)], (4,), "of3 is followed by of2 without a ReLU"),
        ([dense(4, 3), Relu(), dense(4, 2)], (4,), "of2 has a kernel of shape"),
        ([dense(4, 3), AveragePool((1, 1)), Relu(), dense(3, 2)], (4,), "an average pool takes"),
        ([dense(4, 3), MaxPool((1, 1)), Relu(), dense(3, 2)], (4,), "a max pool takes"),
        ([MaxPool((3, 3)), dense(4, 2)], (2, 2, 1), "a window of 3 does not fit into 2"),
        ([Conv(np.ones((3, 3, 2, 2))), dense(4, 2)], (4, 4, 1), "has 1 channels"),
        ([Conv(np.ones((1, 1, 1, 3)), groups=2), dense(4, 2)], (2, 2, 2), "3 filters cannot"),
        ([Conv(np.ones((5, 5, 1, 2)), name="c"), dense(4, 2)], (4, 4, 1), "c does not fit"),
        ([Dense(np.ones((4, 3)), np.ones(2), "a"), Relu(), dense(3, 2)], (4,), "bias of shape"),
    ],
)
def test_what_a_program_cannot_hold_is_said(network, shape, message):
    with pytest.raises(ValueError, match=message):
        chain.build(network, shape)


def test_bad_numbers_are_said():
    network = [dense(4, 3), Relu(), dense(3, 2)]
    inputs, labels = np.ones((2, 4)), np.array([0, 1])
    with pytest.raises(ValueError, match="labels of the batch must be from 0 to 1, got 0 to 2"):
        Problem(network, inputs, np.array([0, 2]))
    with pytest.raises(ValueError, match="the batch gives as inputs has values that are NaN"):
        Problem(network, inputs * np.inf, labels)
    with pytest.raises(ValueError, match="labels of the batch must be 2 integers"):
        Problem(network, inputs, labels / 2)
    for wrong in (np.array([["a"] * 4] * 2), inputs + 1j, np.array([[None] * 4] * 2)):
        with pytest.raises(ValueError, match="must be an array of real numbers"):
            Problem(network, wrong, labels)
    for wrong in ("5", None, 0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="loss_weight must be a positive number"):
            Problem(network, inputs, labels, loss_weight=wrong)
    with pytest.raises(ValueError, match="epsilon must be a number from 0 on, got None"):
        Problem(network, inputs, labels, epsilon=None)
    huge = [Dense(np.full((4, 3), 1e200)), Relu(), Dense(np.full((3, 2), 1e200))]
    with pytest.raises(ValueError, match="logits are too large"):
        Problem(huge, inputs, labels)
    problem = Problem(network, inputs, labels)
    with pytest.raises(ValueError, match="kept must have 3 numbers, got shape"):
        problem.loss(np.ones(2))
    with pytest.raises(ValueError, match="no layer before the last one has neurons"):
        Problem(network[2:], np.ones((2, 3)), labels)


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


@pytest.mark.parametrize(
    "layer, said",
    [("relu", "layer 1 .*got 'relu'"), (None, "layer 1 .*None"), (Relu, "the class Relu")],
)
def test_what_is_no_layer_is_named(layer, said):
    with pytest.raises(ValueError, match=said):
        Problem([dense(4, 3), layer, dense(3, 2)], np.ones((2, 4)), np.array([0, 1]))


def test_layers_may_come_one_by_one():
    network = [dense(4, 3), Relu(), dense(3, 2)]
    given = Problem((layer for layer in network), np.ones((2, 4)), np.array([0, 1]))
    assert given.layers == tuple(network)
    assert given.loss() == Problem(network, np.ones((2, 4)), np.array([0, 1])).loss()
    for nothing in (network[0], "relu", None):
        with pytest.raises(ValueError, match="layers must be a sequence, got"):
            Problem(nothing, np.ones((2, 4)), np.array([0, 1]))


def test_weights_that_solvers_take_for_infinite_are_refused():
    network = [dense(4, 3), Relu(), dense(3, 2)]
    network[0] = Dense(np.full((4, 3), 1e25))
    network[2] = Dense(np.full((3, 2), 1e-3))
    with pytest.raises(ValueError, match=r"logits are up to 1e\+23, .*1e\+15 is infinite"):
        Problem(network, np.ones((2, 4)), np.array([0, 1]))
    # what a later layer undoes is harmless
    network[2] = Dense(np.full((3, 2), 1e-25))
    assert Problem(network, np.ones((2, 4)), np.array([0, 1])).loss() == pytest.approx(np.log(2))


def test_inputs_outside_of_the_unit_interval_are_not_clipped():
    random = np.random.default_rng(0)
    chain_ = chain.build([dense(4, 3), Relu(), dense(3, 2)], (4,))
    inputs = random.uniform(-2, 3, size=(5, 4))
    first = bounds.interval(chain_, inputs, 1e-3, gated=False)[0]
    exact = chain_.logits(inputs)
    z = inputs @ chain_.steps[0].matrix.T + chain_.steps[0].offset
    assert np.isfinite(exact).all()
    assert np.all((first.lower <= z) & (z <= first.upper))
    widths = 2e-3 * np.abs(chain_.steps[0].matrix).sum(axis=1)
    np.testing.assert_allclose(first.upper - first.lower, np.tile(widths, (5, 1)), rtol=1e-9)


def test_lists_and_jax_arrays_are_taken():
    kernels = [[[1.0, -1.0], [0.5, 2.0]], jax.numpy.ones((2, 2))]
    problem = Problem([Dense(kernels[0]), Relu(), Dense(kernels[1])], [[1.0, 2.0]], [0])
    assert problem.loss() == pytest.approx(np.log(2))
