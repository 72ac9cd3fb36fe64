"""Which nodes every entry of an array comes from, and how operations pass that on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from prunejax.network.program import Op

NOTHING = -1
"""Stands where an entry comes from no node: padding, and the rest of a row that is not full."""


class Relation(NamedTuple):
    """What the entries of an array come from.

    Attributes:
      ids: the numbers of nodes, [*shape, most nodes per entry]; ``NOTHING`` where there are fewer.
        Of an array that is computed from parameters alone, numbers of parameters instead.
      layers: the node layers that the numbers are of.
      statistic: whether it was summed over whole axes, as means and variances are.
      parameter: whether it is computed from parameters alone.
      unknown: the operation that made it, if there is no rule for that.
    """

    ids: np.ndarray
    layers: frozenset[int]
    statistic: bool = False
    parameter: bool = False
    unknown: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.ids.shape[:-1]


def lost(given: Sequence[Relation], shape: Sequence[int], operation: str) -> Relation:
    """What an operation without a rule gives: an error as soon as a kernel reads it.

    Args:
      given: its operands.
      shape: of its result.
      operation: its name.

    Returns:
      The relation.
    """
    layers = frozenset[int]().union(*(each.layers for each in given))
    known = [each.unknown for each in given if each.unknown]
    parameter = bool(given) and all(each.parameter for each in given)
    return Relation(
        np.full((*shape, 0), NOTHING, np.int32),
        layers,
        parameter=parameter,
        unknown=known[0] if known else operation,
    )


def compact(ids: np.ndarray) -> np.ndarray:
    """The same sets without columns that are empty everywhere."""
    return ids[..., (ids != NOTHING).reshape(-1, ids.shape[-1]).any(axis=0)]


def spread(relation: Relation, shape: Sequence[int]) -> Relation:
    """The relation of an array that NumPy's rules broadcast to a shape."""
    ids = np.broadcast_to(relation.ids, (*shape, relation.ids.shape[-1]))
    return relation._replace(ids=ids)


def join(given: Sequence[Relation], shape: Sequence[int]) -> Relation:
    """What an elementwise operation gives: each entry comes from all that its operands come from.

    A statistic of a layer joins nothing to entries of that layer: a normalisation, whose entries
    depend on all others, is passed on entry by entry, as a graph of weights has no edges for it.

    Args:
      given: the operands that are no constants.
      shape: of the result.

    Returns:
      The relation.
    """
    active = [each for each in given if not each.parameter] or list(given)
    entries = [each for each in active if not each.statistic]
    if entries:
        own = frozenset[int]().union(*(each.layers for each in entries))
        active = entries + [each for each in active if each.statistic and not each.layers <= own]
    kept: list[Relation] = []
    for each in active:
        wide = spread(each, shape)
        if not any(np.array_equal(wide.ids, other.ids) for other in kept):
            kept.append(wide)
    ids = kept[0].ids if len(kept) == 1 else np.concatenate([one.ids for one in kept], axis=-1)
    return Relation(
        ids,
        frozenset[int]().union(*(each.layers for each in kept)),
        statistic=all(each.statistic for each in kept),
        parameter=all(each.parameter for each in kept),
    )


def gathered(ids: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Sets of nodes joined along axes, which go."""
    rest = [axis for axis in range(ids.ndim - 1) if axis not in axes]
    moved = ids.transpose(*rest, *axes, ids.ndim - 1)
    return moved.reshape(*(ids.shape[axis] for axis in rest), -1)


def windows(
    ids: np.ndarray,
    sizes: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    base_dilation: Sequence[int],
) -> np.ndarray:
    """What lies under a window at each of its places.

    Args:
      ids: [*shape, nodes per entry].
      sizes: of the window, one number per axis of the array.
      strides: between two places, per axis.
      padding: before and behind each axis; may be negative.
      dilation: the distance between neighbours within the window, per axis.
      base_dilation: the distance that neighbours of the array are drawn apart to, per axis.

    Returns:
      [*places, *sizes, nodes per entry].
    """
    config = [
        (int(low), int(high), int(gap) - 1)
        for (low, high), gap in zip(padding, base_dilation, strict=True)
    ]
    grown = padded(ids, config)
    extents = [(size - 1) * gap + 1 for size, gap in zip(sizes, dilation, strict=True)]
    axes = tuple(range(len(sizes)))
    viewed = np.lib.stride_tricks.sliding_window_view(grown, extents, axis=axes)
    # [*all places, nodes, *extents]
    places = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, gap) for gap in dilation)
    return np.moveaxis(viewed[(*places, slice(None), *taps)], len(sizes), -1)


def padded(ids: np.ndarray, config: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The array of ``lax.pad``: (before, behind, between) per axis, filled with nothing."""
    sizes = [
        max(0, low + high + size + max(0, size - 1) * inner)
        for size, (low, high, inner) in zip(ids.shape[:-1], config, strict=True)
    ]
    result = np.full((*sizes, ids.shape[-1]), NOTHING, ids.dtype)
    into, out = [], []
    for size, total, (low, _, inner) in zip(ids.shape[:-1], sizes, config, strict=True):
        step = inner + 1
        first = max(0, -(low // step)) if low < 0 else 0
        last = min(size, (total - 1 - low) // step + 1)
        into.append(slice(low + first * step, max(low + (last - 1) * step + 1, 0), step))
        out.append(slice(first, max(first, last)))
    result[tuple(into)] = ids[tuple(out)]
    return result


def _whole(each: Relation, ids: np.ndarray) -> Relation:
    return each._replace(ids=ids)


def _reshape(op: Op, x: Relation) -> Relation:
    return _whole(x, x.ids.reshape(*op.params["new_sizes"], x.ids.shape[-1]))


def _broadcast(op: Op, x: Relation) -> Relation:
    shape, dimensions = op.params["shape"], op.params["broadcast_dimensions"]
    wide = [1] * len(shape)
    for axis, dimension in enumerate(dimensions):
        wide[dimension] = x.shape[axis]
    return spread(_whole(x, x.ids.reshape(*wide, x.ids.shape[-1])), shape)


def _slice(op: Op, x: Relation) -> Relation:
    limits = op.params["limit_indices"]
    strides = op.params["strides"] or (1,) * len(limits)
    bounds = zip(op.params["start_indices"], limits, strides, strict=True)
    return _whole(x, x.ids[tuple(slice(*each) for each in bounds)])


def _expand(op: Op, x: Relation) -> Relation:
    return _whole(x, np.expand_dims(x.ids, op.params["dimensions"]))


def _squeeze(op: Op, x: Relation) -> Relation:
    axes = tuple(axis % len(x.shape) for axis in op.params["dimensions"])
    return _whole(x, x.ids.squeeze(axes) if axes else x.ids)


def _transpose(op: Op, x: Relation) -> Relation:
    return _whole(x, x.ids.transpose(*op.params["permutation"], x.ids.ndim - 1))


def _reverse(op: Op, x: Relation) -> Relation:
    return _whole(x, np.flip(x.ids, op.params["dimensions"]))


def _pad(op: Op, x: Relation) -> Relation:
    config = [(int(low), int(high), int(gap)) for low, high, gap in op.params["padding_config"]]
    return _whole(x, padded(x.ids, config))


def _reduce(op: Op, x: Relation) -> Relation:
    return x._replace(ids=gathered(x.ids, op.params["axes"]), statistic=True)


def _window(op: Op, x: Relation) -> Relation:
    under = windows(
        x.ids,
        op.params["window_dimensions"],
        op.params["window_strides"],
        [(int(low), int(high)) for low, high in op.params["padding"]],
        op.params["window_dilation"],
        op.params["base_dilation"],
    )
    return _whole(x, compact(under.reshape(*under.shape[: len(x.shape)], -1)))


LAYOUTS: dict[str, Callable[[Op, Relation], Relation]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "expand_dims": _expand,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "rev": _reverse,
    "pad": _pad,
    "reduce_sum": _reduce,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_prod": _reduce,
    "reduce_window_sum": _window,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
}
"""Operations with one operand that count, which move entries or join them along axes."""


def concatenated(given: Sequence[Relation | None], shapes: Sequence[Any], axis: int) -> Relation:
    """What a concatenation gives; ``None`` stands for an operand that is a constant."""
    known = [each for each in given if each is not None]
    most = max(each.ids.shape[-1] for each in known)
    parts = []
    for each, shape in zip(given, shapes, strict=True):
        part = np.full((*shape, most), NOTHING, known[0].ids.dtype)
        if each is not None:
            part[..., : each.ids.shape[-1]] = each.ids
        parts.append(part)
    return Relation(
        np.concatenate(parts, axis),
        frozenset[int]().union(*(each.layers for each in known)),
        parameter=all(each.parameter for each in known),
    )


def stacked(given: Sequence[Relation | None], shapes: Sequence[Any], axis: int) -> Relation:
    """What arrays give that are put along a new axis; ``None`` stands for a constant."""
    wide = [(*shape[:axis], 1, *shape[axis:]) for shape in shapes]
    spread_out = [
        None if each is None else each._replace(ids=np.expand_dims(each.ids, axis))
        for each in given
    ]
    return concatenated(spread_out, wide, axis)


def unstacked(x: Relation, axis: int) -> list[Relation]:
    """What the entries along an axis give, one by one."""
    return [_whole(x, part) for part in np.moveaxis(x.ids, axis, 0)]


def split(op: Op, x: Relation) -> list[Relation]:
    """What ``lax.split`` gives."""
    places = np.cumsum(op.params["sizes"])[:-1]
    return [_whole(x, part) for part in np.split(x.ids, places, op.params["axis"])]
