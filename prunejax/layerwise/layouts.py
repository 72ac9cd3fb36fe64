"""One layout for all kernels: [groups, inputs, outputs], whatever axes their products contract."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from prunejax.network.program import Op
from prunejax.network.sets import Shape

PRODUCTS = ("dot_general", "conv_general_dilated")
"""The primitives that multiply activations by a kernel."""


def multiplies(op: Op, side: int) -> bool:
    """Whether an operand of an operation can be a kernel.

    Args:
      op: the operation.
      side: the operand's place.

    Returns:
      True for either side of a ``dot_general``, and for the window of a convolution whose batch is
      not divided into groups.
    """
    if op.name == "conv_general_dilated":
        return side == 1 and op.params["batch_group_count"] == 1
    return op.name == "dot_general"


def matrices(
    op: Op, side: int, kernel: Shaped[Array, "..."]
) -> Shaped[Array, "groups inputs outputs"]:
    """A kernel, or anything of its shape, as the product reads it.

    The inputs of a ``dot_general`` are all axes that it contracts, in the kernel's order. The
    inputs of a convolution are the places of its window and, innermost, its input channels.

    Args:
      op: the product.
      side: which operand the kernel is.
      kernel: of the operand's shape.

    Returns:
      The same entries; one group for each entry of the batch axes of a ``dot_general``, or for each
      group of a convolution's channels.
    """
    if op.name == "dot_general":
        batch, contracted = _axes(op, side)
        outputs = [axis for axis in range(kernel.ndim) if axis not in (*batch, *contracted)]
        sizes = [
            math.prod(kernel.shape[axis] for axis in axes) for axes in (batch, contracted, outputs)
        ]
        return kernel.transpose(*batch, *contracted, *outputs).reshape(sizes)
    groups = op.params["feature_group_count"]
    window = kernel.transpose(op.params["dimension_numbers"].rhs_spec)
    outputs, channels = window.shape[:2]
    split = window.reshape(groups, outputs // groups, channels, -1)
    return split.transpose(0, 3, 2, 1).reshape(groups, -1, outputs // groups)


def samples(
    op: Op, side: int, shape: Shape, activations: Shaped[Array, "..."]
) -> Shaped[Array, "groups samples inputs"]:
    """What a kernel is multiplied by, one row for each sample.

    Every entry of the axes that the product neither contracts nor shares with the kernel is a
    sample: batch entries, tokens, and the positions of a convolution's output.

    Args:
      op: the product.
      side: which operand the kernel is.
      shape: the kernel's.
      activations: the other operand.

    Returns:
      The rows; their inputs are in the order of ``matrices``.
    """
    if op.name == "dot_general":
        batch, contracted = _axes(op, side, of=1 - side)
        rest = [axis for axis in range(activations.ndim) if axis not in (*batch, *contracted)]
        sizes = [
            math.prod(activations.shape[axis] for axis in axes)
            for axes in (batch, rest, contracted)
        ]
        return activations.transpose(*batch, *rest, *contracted).reshape(sizes)
    numbers, params = op.params["dimension_numbers"], op.params
    groups = params["feature_group_count"]
    images = activations.transpose(numbers.lhs_spec)
    patches = jax.lax.conv_general_dilated_patches(
        images,
        [shape[axis] for axis in numbers.rhs_spec[2:]],
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        precision=jax.lax.Precision.HIGHEST,
    )
    count, channels = images.shape[:2]
    split = patches.reshape(count, groups, channels // groups, -1, math.prod(patches.shape[2:]))
    rows = split.transpose(1, 0, 4, 3, 2)
    return rows.reshape(groups, -1, math.prod(rows.shape[3:]))


def neighbours(op: Op, side: int, shape: Shape) -> int:
    """How many inputs in a row N of M may choose among: all, or a convolution's channels.

    Args:
      op: the product.
      side: which operand the kernel is.
      shape: the kernel's.

    Returns:
      The length of the row.
    """
    if op.name == "dot_general":
        return math.prod(shape[axis] for axis in op.params["dimension_numbers"][0][side])
    return shape[op.params["dimension_numbers"].rhs_spec[1]]


def gather(leaf: Any, places: Int[np.ndarray, "groups inputs outputs"], in_order: bool) -> Array:
    """The entries of a leaf that a kernel holds.

    Args:
      leaf: an array.
      places: for each entry of the kernel its place in the leaf, counted as in ``ravel``.
      in_order: whether the places are 0, 1, 2, ..., so that no entry needs to be looked up.

    Returns:
      The kernel, [groups, inputs, outputs].
    """
    array = jnp.asarray(leaf)
    return array.reshape(places.shape) if in_order else array.ravel()[places]


def scatter(
    leaf: Array,
    places: Int[np.ndarray, "groups inputs outputs"],
    in_order: bool,
    kernel: Shaped[Array, "groups inputs outputs"],
) -> Array:
    """A leaf with the entries of a kernel in their places; see ``gather``."""
    entries = kernel.astype(leaf.dtype)
    if in_order:
        return entries.reshape(leaf.shape)
    return leaf.ravel().at[places].set(entries, unique_indices=True).reshape(leaf.shape)


def _axes(op: Op, side: int, of: int | None = None) -> tuple[list[int], list[int]]:
    """The axes of an operand that are shared and contracted, in the order of the kernel's."""
    contracted, batch = op.params["dimension_numbers"]
    order = np.argsort(contracted[side])  # einsum names them in any order
    chosen = side if of is None else of
    return list(batch[chosen]), [contracted[chosen][at] for at in order]
