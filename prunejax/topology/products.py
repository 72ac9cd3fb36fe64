"""The rules of products: what a dense layer's and a convolution's kernel connects."""

import math

import numpy as np

from prunejax.network.program import Op
from prunejax.topology.relations import NOTHING, Relation, padded, windows
from prunejax.topology.shifting import shifted
from prunejax.topology.steps import Draft, add_step, fresh, make


def kernel_of(op: Op, read: list[Relation | None]) -> int | None:
    """Which operand of a product is a kernel that what the network is given is multiplied by."""
    if op.name not in ("conv_general_dilated", "dot_general"):
        return None
    parameters = [each is not None and each.parameter for each in read]
    fed = [each is not None and not each.parameter for each in read]
    if not any(fed):
        return None
    if any(parameters):
        return parameters.index(True)
    return None


def multiplied(draft: Draft, op: Op, read: list[Relation | None]) -> Relation:
    """What a kernel makes of what it reads: a new layer of nodes, and a step to them.

    Args:
      draft: what was found so far; the step is added to it.
      op: a product or a convolution.
      read: its operands.

    Returns:
      The nodes.

    Raises:
      ValueError: an operand has no rule; the layer is named.
    """
    position = kernel_of(op, read)
    assert position is not None
    kernel, x = read[position], read[1 - position]
    assert kernel is not None
    assert x is not None
    name = draft.names.get(op.outputs[0], op.name)
    for each in (kernel, x):
        if each.unknown:
            raise ValueError(
                f"{name!r} reads what {each.unknown!r} gives, which the graph has no rule for"
            )
    if kernel.ids.shape[-1] != 1:
        raise ValueError(
            f"the kernel of {name!r} is computed from several parameters, which the graph has no "
            "rule for"
        )
    if op.name == "dot_general":
        return _dense(draft, op, name, x, kernel.ids[..., 0], position)
    if position == 0:
        raise ValueError(f"{name!r} convolves a parameter by what the network computes")
    return _convolved(draft, op, name, x, kernel.ids[..., 0])


def _dense(
    draft: Draft, op: Op, name: str, x: Relation, kernel: np.ndarray, position: int
) -> Relation:
    """A product: nodes [batch and kernel's free axes, free axes of what is multiplied]."""
    contracting, batch = op.params["dimension_numbers"]
    axes = [(contracting[side], batch[side]) for side in (1 - position, position)]
    (over, shared), (k_over, k_shared) = axes
    free = [axis for axis in range(len(x.shape)) if axis not in (*over, *shared)]
    k_free = [axis for axis in range(kernel.ndim) if axis not in (*k_over, *k_shared)]
    groups = math.prod(kernel.shape[axis] for axis in k_shared)
    taps = math.prod(kernel.shape[axis] for axis in k_over)
    places = [x.shape[axis] for axis in free]
    moved = x.ids.transpose(*shared, *over, *free, x.ids.ndim - 1)
    reads = moved.reshape(groups * taps, math.prod(places), x.ids.shape[-1])
    ordered = kernel.transpose(*k_shared, *k_free, *k_over).reshape(groups, -1, taps)
    width = ordered.shape[1]
    keys = np.arange(groups * taps).reshape(groups, 1, taps)
    keys = np.broadcast_to(keys, ordered.shape).reshape(-1, taps)
    positions = tuple(size for size in places if size > 1)
    nodes = make(draft, name, x, (groups * width, *positions))
    targets = nodes.reshape(groups * width, -1)
    add_step(draft, name, x, reads, ordered.reshape(-1, taps), keys, targets, 1)
    # the result's axes: those in common, those left of the first operand, those of the second
    common = [kernel.shape[axis] for axis in k_shared]
    own = [kernel.shape[axis] for axis in k_free]
    result = nodes.reshape(*common, *own, *places)
    ends = len(common), len(common) + len(own)
    first = range(ends[1], result.ndim), range(*ends)
    order = first if position == 1 else first[::-1]
    result = result.transpose(*range(ends[0]), *order[0], *order[1])
    return Relation(result[..., None], frozenset((len(draft.layers) - 1,)))


def _convolved(draft: Draft, op: Op, name: str, x: Relation, kernel: np.ndarray) -> Relation:
    """A convolution: nodes [channels, *positions]."""
    numbers = op.params["dimension_numbers"]
    if op.params["batch_group_count"] != 1:
        raise ValueError(f"{name!r} has groups of examples, which the graph has no rule for")
    lhs = x.ids.transpose(*numbers.lhs_spec, x.ids.ndim - 1)
    ordered = kernel.transpose(numbers.rhs_spec)
    # JAX 0.8 has NumPy's integers here
    padding = [(int(low), int(high)) for low, high in op.params["padding"]]
    count = ordered.ndim - 2
    whole = _halo(draft, x, lhs, padding)
    if whole is not None:
        lhs, padding = whole, [(0, 0)] * count
    under = windows(
        lhs,
        (1, 1, *ordered.shape[2:]),
        (1, 1, *op.params["window_strides"]),
        ((0, 0), (0, 0), *padding),
        (1, 1, *op.params["rhs_dilation"]),
        (1, 1, *op.params["lhs_dilation"]),
    )
    # [batch, channels, *places, 1, 1, *taps, nodes] -> [channels, taps, batch and places, nodes]
    examples, channels, *places = under.shape[: count + 2]
    moved = under.reshape(examples, channels, math.prod(places), -1, lhs.shape[-1])
    reads = moved.transpose(1, 3, 0, 2, 4)
    taps = reads.shape[1]
    reads = reads.reshape(channels * taps, examples * math.prod(places), lhs.shape[-1])
    width, inputs = ordered.shape[:2]
    group = np.arange(width) // (width // op.params["feature_group_count"])
    first = group[:, None] * inputs + np.arange(inputs)
    keys = (first[..., None] * taps + np.arange(taps)).reshape(width, -1)
    positions = (*((examples,) if examples > 1 else ()), *places)
    nodes = make(draft, name, x, (width, *positions))
    targets = nodes.reshape(width, -1)
    if draft.compat and whole is None:
        reads, targets = shifted(draft, op, x, reads, targets)
    add_step(draft, name, x, reads, ordered.reshape(width, -1), keys, targets, taps)
    result = np.moveaxis(nodes.reshape(width, examples, *places), 1, 0)
    back = np.argsort(numbers.out_spec)
    return Relation(result.transpose(back)[..., None], frozenset((len(draft.layers) - 1,)))


def _halo(
    draft: Draft, x: Relation, lhs: np.ndarray, padding: list[tuple[int, int]]
) -> np.ndarray | None:
    """What the network is given, with its padding, which are nodes too; of other layers None."""
    (layer, *more) = x.layers
    nodes = draft.layers[layer]
    size = nodes.ids.size
    if more or nodes.role != "input" or nodes.ids.ndim > 1 or lhs.size != size:
        return None
    if lhs.shape[-1] != 1 or not np.array_equal(np.sort(lhs, axis=None), nodes.ids):
        return None
    if min(min(pair) for pair in padding) < 0:
        return None
    config = [(0, 0, 0), (0, 0, 0), *((int(low), int(high), 0) for low, high in padding)]
    whole = padded(lhs, config)
    empty = whole == NOTHING
    whole[empty] = fresh(draft, int(empty.sum()))
    examples, channels, *places = whole.shape[:-1]
    shape = (channels, *((examples,) if examples > 1 else ()), *places)
    ids = np.moveaxis(whole[..., 0], 0, 1).reshape(shape)
    draft.layers[layer] = nodes._replace(ids=ids)
    return whole
