"""Channels that stay whole, and why: the operation that needs them and the line that wrote it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from prunejax.network.coupling import RETURNED, Coupling
from prunejax.network.flow import Producer
from prunejax.network.program import Op, Program
from prunejax.network.sets import Cause
from prunejax.network.sources import where

TOGETHER = "tie them all to each other, so that none goes without the others"


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Channels of one layer that stay for one reason.

    Attributes:
      layer: the layer that produces them.
      channels: their indices along the axis of its kernel, [n].
      width: how many channels that axis has.
      operation: the primitive that needs them, "" where there is none.
      shape: the shape of what it reads.
      why: what it does with them.
      source: the file and the line where it was written, "" if that is not known.
    """

    layer: str
    channels: np.ndarray
    width: int
    operation: str
    shape: tuple[Any, ...]
    why: str
    source: str

    @property
    def returned(self) -> bool:
        """Whether they stay because they are what the network returns."""
        return self.why == RETURNED

    def __str__(self) -> str:
        count = len(self.channels)
        which = f"all {count}" if count == self.width else f"{count} of {self.width}"
        return f"{self.layer}: {which} stay, {self.reason}"

    @property
    def reason(self) -> str:
        """Why, in words."""
        if not self.operation:
            return f"because they {self.why}"
        shape = "x".join(map(str, self.shape))
        at = f" ({self.source})" if self.source else ""
        return f"because {self.operation} of {shape}{at} {self.why}"


@dataclasses.dataclass(frozen=True)
class Staying:
    """What of a network stays whole.

    Attributes:
      frozen: the channels that stay, layer by layer.
      channels: how many channels there are, without those that the network returns.
      free: how many of them can be removed.
      parameters: how many parameters there are.
      stuck: how many of them go with no channel, whatever is removed.
    """

    frozen: tuple[Frozen, ...]
    channels: int
    free: int
    parameters: int
    stuck: int

    @property
    def share(self) -> float:
        """The part of the channels that can be removed, from 0 to 1."""
        return self.free / self.channels if self.channels else 0.0

    def by_reason(self) -> dict[str, dict[str, int]]:
        """How many channels of which layer stay for each reason, those returned left out."""
        reasons: dict[str, dict[str, int]] = {}
        for each in self.frozen:
            if not each.returned:
                layers = reasons.setdefault(each.reason, {})
                layers[each.layer] = layers.get(each.layer, 0) + len(each.channels)
        return reasons

    def __str__(self) -> str:
        count = self.channels - self.free
        share = percent(count, self.channels)
        return f"{count:,} of {self.channels:,} channels stay whole ({share})"


def percent(part: int, whole: int) -> str:
    """A share as a whole number of percent; "under 1 %" for the smallest."""
    share = 100 * part / whole if whole else 0
    return "under 1 %" if 0 < share < 1 else f"{share:.0f} %"


def staying(
    program: Program,
    coupling: Coupling,
    paths: Mapping[int, str],
    producers: list[Producer],
    channels: Mapping[str, np.ndarray],
    trainable: frozenset[str],
) -> Staying:
    """Finds the channels that stay.

    Args:
      program: the program.
      coupling: its labels.
      paths: the paths of its inputs that are variables.
      producers: the axes of kernels that make channels.
      channels: the labels of the channels that can be removed, by group.
      trainable: the paths of the parameters.

    Returns:
      What stays.
    """
    free = np.zeros(len(coupling.labels), bool)
    for each in channels.values():
        free[each] = True
    found, seen = [], set[tuple[int, int]]()
    count = left = 0
    for producer in producers:
        size = program.shapes[producer.value][producer.axis]
        constant = coupling.value(producer.value).loose
        if size == 1 or constant or (producer.value, producer.axis) in seen:
            continue
        seen.add((producer.value, producer.axis))
        axis = coupling.axes(producer.value)[producer.axis]
        goes = np.zeros(size, bool) if axis is None else _free(coupling, free, axis)
        count, left = count + size, left + int(goes.sum())
        for cause, stays in _causes(coupling, producer, goes):
            frozen = _frozen(program, producer, size, cause, stays)
            found.append(frozen)
            count -= len(stays) if frozen.returned else 0
    parameters = stuck = 0
    for number, path in paths.items():
        if path in trainable:
            shape = program.shapes[number]
            parameters += math.prod(shape)
            stuck += math.prod(
                size if axis is None else int((~_free(coupling, free, axis)).sum())
                for size, axis in zip(shape, coupling.axes(number), strict=True)
            )
    return Staying(tuple(found), count, left, parameters, stuck)


def _free(coupling: Coupling, free: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """For each index of an axis whether it goes with a channel that can be removed."""
    positions, bases = coupling.labels.bases(axis)
    goes = np.zeros(len(axis), bool)
    goes[positions[free[bases]]] = True
    return goes


def _causes(
    coupling: Coupling, producer: Producer, goes: np.ndarray
) -> Iterator[tuple[Cause, np.ndarray]]:
    """The reasons for an axis, and the channels that stay for each."""
    axis, stays = coupling.axes(producer.value)[producer.axis], np.flatnonzero(~goes)
    if not len(stays):
        return
    if axis is None:
        op = coupling.maker(producer.value)
        yield Cause(op, "gives a kernel whose channels cannot be told apart"), stays
        return
    reasons = coupling.labels.reasons(axis[stays])
    for reason in sorted({*reasons.tolist()}):
        cause = coupling.labels.causes[reason] if reason else Cause(None, TOGETHER)
        yield cause, stays[reasons == reason]


def _frozen(
    program: Program, producer: Producer, size: int, cause: Cause, channels: np.ndarray
) -> Frozen:
    op = cause.op
    return Frozen(
        producer.layer,
        channels,
        size,
        op.name if op is not None else "",
        _read(program, op) if op is not None else (),
        cause.why,
        where(op.source) if op is not None else "",
    )


def _read(program: Program, op: Op) -> tuple[Any, ...]:
    """The shape of the first array that an operation reads; numbers may stand before it."""
    return next((tuple(shape) for n in op.inputs if (shape := program.shapes[n])), ())
