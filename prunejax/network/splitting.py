"""Labels of a whole network; where a reshape cuts an axis of channels, one part carries them.

A dense layer's units become an image by a reshape, to [height, width, channels] or to [channels,
height, width]: only what reads the image tells which of the axes are channels. They are taken to
be the last ones; if those turn out to be positions, the others are tried.
"""

from collections.abc import Sequence

import numpy as np

from prunejax.network.coupling import Coupling, SplitKey
from prunejax.network.labels import FROZEN, Labels
from prunejax.network.program import Program
from prunejax.network.values import fixed, fresh, frozen

TRIES = 16
"""So many other choices are tried at most: each is a pass over the program."""


def label(
    program: Program, masked: Sequence[bool | None], ties: Sequence[tuple[int, int]]
) -> Coupling:
    """Labels the channels of a network.

    Args:
      program: the program.
      masked: for each of its inputs whether removed entries of it are 0 in the masked network;
        None for an input of which nothing can be removed.
      ties: pairs (output, input) of positions: state that comes back updated.

    Returns:
      The labels.
    """
    best = _labelled(program, masked, ties, {})
    frozen_ones = {
        key: split
        for key, split in best.splits.items()
        if not best.labels.free(split.axis) and _reaches_convolution(program, key[0])
    }
    # branches that are added up must be cut alike: all together first, then one by one
    together = [
        {key: candidate for key, split in frozen_ones.items() if candidate < split.candidates - 1}
        for candidate in range(max((s.candidates for s in frozen_ones.values()), default=1) - 1)
    ]
    alone = [
        {key: candidate}
        for key, split in frozen_ones.items()
        for candidate in range(split.candidates - 1)
    ]
    choices: dict[SplitKey, int] = {}
    for change in [*together, *(alone if len(frozen_ones) > 1 else [])][:TRIES]:
        if all(best.labels.free(best.splits[key].axis) for key in change):
            continue
        trial = _labelled(program, masked, ties, {**choices, **change})
        if _freedom(trial) > _freedom(best):
            best, choices = trial, {**choices, **change}
    return best


def _labelled(
    program: Program,
    masked: Sequence[bool | None],
    ties: Sequence[tuple[int, int]],
    choices: dict[SplitKey, int],
) -> Coupling:
    labels, inputs = Labels(), []
    read = {number for op in program.flat() for number in op.inputs}
    for number, zero in zip(program.inputs, masked, strict=True):
        shape = program.shapes[number]
        # a parameter that no operation reads couples to nothing: it stays
        known = zero is not None and number in read
        inputs.append(fresh(labels, shape, zero=bool(zero)) if known else fixed(shape))
    labels.born = len(labels)
    made = Coupling(program, labels, inputs, choices)
    tied = dict(ties)
    for position, number in enumerate(program.outputs):
        if position in tied:
            made.join(number, made.axes(program.inputs[tied[position]]))
        else:
            frozen(labels, made.value(number))
    return made


def _freedom(coupling: Coupling) -> int:
    """How many indices of the variables' axes can be removed."""
    labels = coupling.labels
    return int(np.count_nonzero(labels.find(np.arange(labels.born)) != FROZEN))


def _reaches_convolution(program: Program, number: int) -> bool:
    """Whether a value is read by a convolution before it is multiplied by a matrix."""
    reached = {number}
    for op in program.flat():
        if op.name == "conv_general_dilated" and op.inputs[0] in reached:
            return True
        if op.name != "dot_general" and reached.intersection(op.inputs):
            reached.update(op.outputs)
    return False
