"""How the published code counts the nodes of strided convolutions."""

import math

import numpy as np

from prunejax.network.program import Op
from prunejax.topology.relations import NOTHING, Relation
from prunejax.topology.steps import Draft


def shifted(
    draft: Draft, op: Op, x: Relation, reads: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a strided convolution as the published code counts them.

    It takes the input, padding included, to be as wide as the windows reach, (places - 1) stride +
    size, and to have the padding on both sides. Where a border of the image is under no window, as
    for a 3 x 3 kernel of stride 2 on an even width, what is left after the padding is narrower than
    the image: nodes are numbered in that narrower grid, and those of the output follow on it.
    """
    numbers = op.params["dimension_numbers"]
    sizes = [x.shape[axis] for axis in numbers.lhs_spec[2:]]
    channels = x.shape[numbers.lhs_spec[1]]
    kernel = [draft.program.shapes[op.inputs[1]][axis] for axis in numbers.rhs_spec[2:]]
    places = [draft.program.shapes[op.outputs[0]][axis] for axis in numbers.out_spec[2:]]
    padding, strides = op.params["padding"], op.params["window_strides"]
    inner = [
        (count - 1) * stride + size - sum(pad)
        for count, stride, size, pad in zip(places, strides, kernel, padding, strict=True)
    ]
    narrower = all(0 < narrow <= size for narrow, size in zip(inner, sizes, strict=True))
    if inner == sizes or not narrower or not _unread_before(draft, x):
        return reads, targets
    (layer,) = x.layers
    before = draft.layers[layer].ids.ravel()
    place = np.full(draft.count, NOTHING, np.int64)
    place[before] = np.arange(before.size)
    there = reads != NOTHING
    rest, at = place[np.where(there, reads, before[0])], []
    for size in reversed(sizes):  # NumPy 2.4's unravel_index fails on arrays of [16384, 1]
        rest, position = np.divmod(rest, size)
        at.insert(0, position)
    for axis, (position, narrow) in enumerate(zip(at, inner, strict=True)):
        there &= position < narrow
        at[axis] = np.minimum(position, narrow - 1)
    number = rest
    for position, narrow in zip(at, inner, strict=True):
        number = number * narrow + position
    moved = before[number]
    follows = np.concatenate((before, targets.ravel()))[channels * math.prod(inner) :]
    return np.where(there, moved, NOTHING), follows[: targets.size].reshape(targets.shape)


def _unread_before(draft: Draft, x: Relation) -> bool:
    """Whether an array is one hidden layer as it is, the one made last that keeps its nodes."""
    (layer, *more) = x.layers
    own = [place for place in range(len(draft.layers) - 1) if place not in draft.merged]
    return not more and x.ids.shape[-1] == 1 and own[-1] == layer
