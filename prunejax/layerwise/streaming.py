"""Calibration batches on their way through a network, as far as the next kernels to prune."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from prunejax.layerwise.reading import Reading, read
from prunejax.network import Structure
from prunejax.network.recording import evaluate


class Batch(NamedTuple):
    """A batch somewhere on its way.

    Attributes:
      reading: the program for its shape.
      x: the leaves of the network's input.
      known: values that are computed already and needed further on, by number.
    """

    reading: Reading
    x: tuple[Any, ...]
    known: dict[int, Array]


def read_batches(
    network: Structure, variables: PyTree, batches: Iterable[PyTree]
) -> Iterator[Batch]:
    """The batches, one after the other, at the beginning of their way.

    Raises:
      ValueError: there is none, or one does not fit the network.
    """
    if isinstance(batches, (jax.Array, np.ndarray)):
        raise ValueError(
            f"batches is a sequence of inputs, got one array of shape {np.shape(batches)}: "
            "put it in a list"
        )
    count = 0
    for count, x in enumerate(batches, start=1):
        given = jax.tree.structure(x)
        if given != jax.tree.structure(network.traced.example):
            raise ValueError(
                f"batch {count} is a {given}, the network was traced with a "
                f"{jax.tree.structure(network.traced.example)}"
            )
        yield Batch(read(network, variables, x), tuple(map(jnp.asarray, jax.tree.leaves(x))), {})
    if not count:
        raise ValueError("there are no batches to calibrate with")


def require(reading: Reading, wanted: Iterable[str]) -> None:
    """Refuses a batch for whose shape the network has not the kernels that are asked for.

    Raises:
      ValueError: a kernel is missing.
    """
    for key in wanted:
        if key not in reading.kernels:
            reason = reading.left_out.get(key, "it is divided otherwise")
            raise ValueError(f"for a batch of this shape {key!r} is not covered: {reason}")


def inputs(batch: Batch, variables: PyTree, wanted: Sequence[str]) -> dict[int, Array]:
    """What some kernels take in, by number of the value.

    Args:
      batch: the batch.
      variables: of the network.
      wanted: the kernels' names.

    Returns:
      The values.
    """
    numbers = _taken_in(batch.reading, wanted)
    return dict(zip(numbers, _evaluated(batch, variables, numbers), strict=True))


def advance(
    batch: Batch, variables: PyTree, now: Sequence[str], later: Sequence[str]
) -> tuple[dict[int, Array], Batch]:
    """What some kernels take in, and the batch where it stands just before them.

    Values that depend on parameters alone are not kept: the parameters are about to change.

    Args:
      batch: the batch.
      variables: of the network.
      now: the kernels that come next.
      later: those behind them.

    Returns:
      The inputs of the kernels of ``now``, by number, and the batch, which holds what the rest of
      its way needs.
    """
    reading = batch.reading
    first = min(use.position for key in now for use in reading.kernels[key].uses)
    alive = set(_taken_in(reading, later))
    ops = list(reading.program.flat())
    for op in reversed(ops[first:]):
        if alive.intersection(op.outputs):
            alive = alive.difference(op.outputs).union(op.inputs)
    kept = sorted(alive.intersection(reading.dynamic).difference(reading.program.inputs))
    numbers = _taken_in(reading, now)
    values = _evaluated(batch, variables, [*numbers, *kept])
    found = dict(zip(numbers, values[: len(numbers)], strict=True))
    known = dict(zip(kept, values[len(numbers) :], strict=True))
    return found, batch._replace(known=known)


def stages(reading: Reading, wanted: Sequence[str]) -> list[list[str]]:
    """Kernels in the order of the network, those together that do not depend on each other.

    Args:
      reading: the network's kernels.
      wanted: names of kernels, in the order of their first use.

    Returns:
      The names, stage by stage: query, key and value of an attention are one stage.
    """
    grouped: list[list[str]] = []
    after: set[int] = set()
    for key in wanted:
        if not grouped or after.intersection(_taken_in(reading, [key])):
            grouped.append([])
        grouped[-1].append(key)
        after = _depending(reading, grouped[-1])
    return grouped


def _depending(reading: Reading, kernels: Sequence[str]) -> set[int]:
    """The values that depend on what some kernels put out."""
    products = {use.position for key in kernels for use in reading.kernels[key].uses}
    after: set[int] = set()
    for position, op in enumerate(reading.program.flat()):
        if position in products or after.intersection(op.inputs):
            after.update(op.outputs)
    return after


def _taken_in(reading: Reading, kernels: Iterable[str]) -> list[int]:
    uses = [use for key in kernels for use in reading.kernels[key].uses]
    return list(dict.fromkeys(use.op.inputs[1 - use.side] for use in uses))


def _evaluated(batch: Batch, variables: PyTree, numbers: Sequence[int]) -> list[Any]:
    given = [*jax.tree.leaves(variables), *batch.x]
    return evaluate(batch.reading.program, given, numbers, batch.known)
