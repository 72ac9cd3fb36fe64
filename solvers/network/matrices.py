"""The sparse matrices of linear layers, and the windows of max pools."""

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse

from solvers.network.layers import (
    AdaptiveAveragePool,
    Affine,
    AveragePool,
    Conv,
    Dense,
    Layer,
    MaxPool,
)

Shape: TypeAlias = tuple[int, ...]
Matrix: TypeAlias = Any  # scipy.sparse.csr_array, which type checkers do not know


def linear(layer: Layer, shape: Shape) -> tuple[Matrix, np.ndarray, Shape]:
    """The matrix of a linear layer.

    Args:
      layer: any layer except ReLU and max pool.
      shape: of the layer's input, [height, width, channels] or [units].

    Returns:
      The matrix, [outputs, inputs], the offset, [outputs], and the shape of the output.

    Raises:
      ValueError: the layer does not fit the shape.
    """
    match layer:
        case Dense(kernel, bias):
            if kernel.ndim != 2 or kernel.shape[0] != prod(shape):
                raise ValueError(
                    f"{layer.name or 'a dense layer'} has a kernel of shape {list(kernel.shape)}, "
                    f"its input {list(shape)} has {prod(shape)} entries; a kernel is [inputs, "
                    "units]"
                )
            units = kernel.shape[1]
            matrix = scipy.sparse.csr_array(np.asarray(kernel, np.float64).T)
            return matrix, _offset(layer, bias, units), (units,)
        case Affine(scale, shift):
            channels = shape[-1]
            for each in (np.shape(scale), np.shape(shift)):
                if each not in ((), (1,), (channels,)):
                    raise ValueError(
                        f"an affine layer must have {channels} numbers, one per channel, got "
                        f"shape {list(each)}"
                    )
            factors = np.broadcast_to(np.asarray(scale, np.float64), (channels,))
            offsets = np.broadcast_to(np.asarray(shift, np.float64), (channels,))
            repeats = prod(shape) // channels
            return (
                scipy.sparse.diags_array(np.tile(factors, repeats)).tocsr(),
                np.tile(offsets, repeats),
                shape,
            )
        case Conv():
            return _convolution(layer, shape)
        case AveragePool(window, strides):
            height, width, _ = _image(shape, "an average pool")
            window = (height, width) if window is None else window
            spans = [
                _windows(size, extent, step)
                for size, extent, step in zip(
                    (height, width), window, strides or window, strict=True
                )
            ]
            return _averages(spans, shape)
        case AdaptiveAveragePool(output):
            height, width, _ = _image(shape, "an average pool")
            spans = [
                [(i * size // n, -(-(i + 1) * size // n)) for i in range(n)]
                for size, n in zip((height, width), output, strict=True)
            ]
            return _averages(spans, shape)
        case _:
            raise ValueError(f"{type(layer).__name__} is not linear")


def windows(layer: MaxPool, shape: Shape) -> tuple[np.ndarray, Shape]:
    """The inputs that compete for each output of a max pool.

    Args:
      layer: the pool.
      shape: of its input, [height, width, channels].

    Returns:
      Positions in the flattened input, [outputs, window], and the shape of the output.

    Raises:
      ValueError: the input is not an image, or is smaller than the window.
    """
    height, width, channels = _image(shape, "a max pool")
    strides = layer.strides or layer.window
    rows = _windows(height, layer.window[0], strides[0])
    columns = _windows(width, layer.window[1], strides[1])
    positions = np.arange(prod(shape)).reshape(shape)
    taken = [
        positions[top:bottom, left:right].reshape(-1, channels).T
        for top, bottom in rows
        for left, right in columns
    ]
    return np.concatenate(taken), (len(rows), len(columns), channels)


def _offset(layer: Dense | Conv, bias: np.ndarray | None, units: int) -> np.ndarray:
    if bias is None:
        return np.zeros(units)
    if np.shape(bias) != (units,):
        raise ValueError(
            f"{layer.name or 'a layer'} has {units} units, but a bias of shape {np.shape(bias)}"
        )
    return np.asarray(bias, np.float64)


def _image(shape: Shape, what: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"{what} takes [height, width, channels], got shape {list(shape)}")
    return shape[0], shape[1], shape[2]


def _windows(size: int, extent: int, step: int) -> list[tuple[int, int]]:
    if extent > size:
        raise ValueError(f"a window of {extent} does not fit into {size}")
    return [(start, start + extent) for start in range(0, size - extent + 1, step)]


def _averages(
    spans: Sequence[Sequence[tuple[int, int]]], shape: Shape
) -> tuple[Matrix, np.ndarray, Shape]:
    each = []
    for size, of_axis in zip(shape, spans, strict=False):
        matrix = np.zeros((len(of_axis), size))
        for output, (start, end) in enumerate(of_axis):
            matrix[output, start:end] = 1 / (end - start)
        each.append(scipy.sparse.csr_array(matrix))
    whole = scipy.sparse.kron(
        scipy.sparse.kron(each[0], each[1]), scipy.sparse.eye_array(shape[2]), format="csr"
    )
    output = (len(spans[0]), len(spans[1]), shape[2])
    return scipy.sparse.csr_array(whole), np.zeros(prod(output)), output


def _convolution(layer: Conv, shape: Shape) -> tuple[Matrix, np.ndarray, Shape]:
    height, width, channels = _image(shape, layer.name or "a convolution")
    kernel = np.asarray(layer.kernel, np.float64)
    if kernel.ndim != 4 or kernel.shape[2] * layer.groups != channels:
        raise ValueError(
            f"{layer.name or 'a convolution'} has a kernel of shape {list(kernel.shape)} in "
            f"{layer.groups} groups, its input {list(shape)} has {channels} channels"
        )
    filters = kernel.shape[3]
    if filters % layer.groups:
        raise ValueError(f"{filters} filters cannot be divided into {layer.groups} groups")
    sizes = [
        (size + sum(pad) - (taps - 1) * gap - 1) // step + 1
        for size, pad, taps, gap, step in zip(
            (height, width),
            layer.padding,
            kernel.shape,
            layer.dilation,
            layer.strides,
            strict=False,
        )
    ]
    if min(sizes) < 1:
        raise ValueError(f"{layer.name or 'a convolution'} does not fit into {list(shape)}")
    row, column, tap_row, tap_column, in_group, filter_ = (
        index.ravel()
        for index in np.indices(
            (*sizes, kernel.shape[0], kernel.shape[1], kernel.shape[2], filters)
        )
    )
    top = row * layer.strides[0] + tap_row * layer.dilation[0] - layer.padding[0][0]
    left = column * layer.strides[1] + tap_column * layer.dilation[1] - layer.padding[1][0]
    channel = in_group + filter_ // (filters // layer.groups) * kernel.shape[2]
    inside = (top >= 0) & (top < height) & (left >= 0) & (left < width)
    outputs = (row * sizes[1] + column) * filters + filter_
    inputs = (top * width + left) * channels + channel
    values = kernel[tap_row, tap_column, in_group, filter_]
    count = sizes[0] * sizes[1]
    matrix = scipy.sparse.csr_array(
        (values[inside], (outputs[inside], inputs[inside])), shape=(count * filters, prod(shape))
    )
    return matrix, np.tile(_offset(layer, layer.bias, filters), count), (*sizes, filters)
