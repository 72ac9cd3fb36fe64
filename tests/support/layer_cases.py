"""Small networks of every kind of layer, and what their layers are, loop by loop."""

import numpy as np

from solvers.layers import (
    Affine,
    AveragePool,
    Conv,
    Dense,
    MaxPool,
    Relu,
)
from solvers.network import matrices
from solvers.network.chain import Linear, Maximum, Rectify


def applied(layer, image):
    """A layer's matrix on an image, in the shape that it says."""
    matrix, offset, shape = matrices.linear(layer, image.shape)
    return (matrix @ image.ravel() + offset).reshape(shape)


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


def dense(inputs, units):
    return Dense(np.ones((inputs, units)), None, f"of{units}")
