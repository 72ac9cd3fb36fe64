"""The steps of networks that are stacked: their convolutions as dense ones, never in groups.

``jax.vmap`` turns the convolutions of networks with kernels of their own into one in groups, which
a GPU does slowly. Here each network's convolution stays one of its own, or narrow ones are put
beside each other as one dense convolution whose kernel has a block per network.

Keys of another kind than threefry's are drawn from network by network: under ``jax.vmap`` their
bits are others.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array

_CONVOLUTION = "conv_general_dilated"
_DRAWING = {"random_bits", "random_split", "random_fold_in"}
"""Primitives that draw from a key."""

_INLINED = {
    "jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "remat2",
    "checkpoint",
}  # fmt: skip
"""Primitives that do what their function does; derivatives have been taken before."""


def for_stacking(closed: ClosedJaxpr, *, widest: int) -> Callable[..., list[Any]]:
    """A program as a function for ``jax.vmap``, whose convolutions are not put in groups.

    Args:
      closed: the program of one network, derivatives included.
      widest: networks share a convolution until it has so many channels: it then multiplies by
        zeros, and a GPU that has such wide units does not take longer. A number that is not finite
        spreads to the networks that share. 0: each convolution by itself, and nothing spreads.

    Returns:
      ``(*inputs) -> outputs``.
    """

    def run(*inputs: Any) -> list[Any]:
        return _evaluate(closed.jaxpr, closed.consts, inputs, widest)

    return run


def has_shared(closed: ClosedJaxpr, *, networks: int, widest: int) -> bool:
    """Whether networks would share a convolution of this program."""
    for equation in closed.jaxpr.eqns:
        if _is_convolution(equation):
            inputs, kernel = (variable.aval.shape for variable in equation.invars)
            channels = _channels(inputs, kernel, equation.params)
            if _sharing(networks, channels, widest) > 1:
                return True
        for inner in _programs(equation.params):
            if has_shared(inner, networks=networks, widest=widest):
                return True
    return False


def _evaluate(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any], widest: int) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        results = _bind(equation, [read(atom) for atom in equation.invars], widest)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: Any, given: list[Any], widest: int) -> Sequence[Any]:
    primitive, params = equation.primitive, equation.params
    if _is_convolution(equation):
        return [_convolution(primitive, params, widest)(*given)]
    if primitive.name in _DRAWING and not _draws_by_counting(equation):
        return [_one_by_one(primitive, params)(*given)]
    if primitive.name in _INLINED:
        (inner,) = _programs(params)
        return _evaluate(inner.jaxpr, inner.consts, given, widest)
    if any(_convolves(inner) for inner in _programs(params)):
        params = {name: _replaced(value, widest) for name, value in params.items()}
    results = primitive.bind(*given, **params)
    return results if primitive.multiple_results else [results]


def _draws_by_counting(equation: Any) -> bool:
    """Whether a key's bits are those of each network under ``vmap``: threefry's are, others not."""
    return "fry" in str(equation.invars[0].aval.dtype)


def _is_convolution(equation: Any) -> bool:
    params = equation.params
    return (
        equation.primitive.name == _CONVOLUTION
        and params["feature_group_count"] == params["batch_group_count"] == 1
    )


def _programs(params: Any) -> list[ClosedJaxpr]:
    """The programs inside an operation: bodies of loops, branches, functions."""
    values = itertools.chain.from_iterable(
        value if isinstance(value, list | tuple) else [value] for value in params.values()
    )
    found = []
    for value in values:
        if isinstance(value, ClosedJaxpr):
            found.append(value)
        elif hasattr(value, "eqns") and not value.constvars:
            found.append(ClosedJaxpr(value, ()))
    return found


def _convolves(closed: ClosedJaxpr) -> bool:
    return any(
        _is_convolution(equation) or any(map(_convolves, _programs(equation.params)))
        for equation in closed.jaxpr.eqns
    )


def _replaced(value: Any, widest: int) -> Any:
    """The same program with convolutions that are not put in groups, wherever there is one."""
    if isinstance(value, tuple) and any(isinstance(one, ClosedJaxpr) for one in value):
        return tuple(_replaced(one, widest) for one in value)
    if not isinstance(value, ClosedJaxpr):
        return value
    return jax.make_jaxpr(for_stacking(value, widest=widest))(*value.in_avals)


def _convolution(primitive: Any, params: Any, widest: int) -> Callable[[Array, Array], Array]:
    """One convolution that knows what to do when it is stacked."""

    def plain(inputs: Array, kernel: Array) -> Array:
        return primitive.bind(inputs, kernel, **params)

    @custom_vmap
    def convolve(inputs: Array, kernel: Array) -> Array:
        return plain(inputs, kernel)

    @convolve.def_vmap
    def stacked(
        size: int, batched: Sequence[bool], inputs: Array, kernel: Array
    ) -> tuple[Array, bool]:
        if not all(batched):  # one of them serves all networks: one dense convolution as it is
            axes = [0 if one else None for one in batched]
            return jax.vmap(plain, axes)(inputs, kernel), True
        sharing = _sharing(size, _channels(inputs.shape[1:], kernel.shape[1:], params), widest)
        if sharing == 1:
            return jnp.stack([plain(inputs[n], kernel[n]) for n in range(size)]), True
        return jnp.concatenate([
            _beside(inputs[n : n + sharing], kernel[n : n + sharing], params, plain)
            for n in range(0, size, sharing)
        ]), True  # fmt: skip

    return convolve


def _one_by_one(primitive: Any, params: Any) -> Callable[..., Array]:
    """An operation that is done for each network by itself."""

    @custom_vmap
    def done(*given: Any) -> Any:
        return primitive.bind(*given, **params)

    @done.def_vmap
    def stacked(size: int, batched: Sequence[bool], *given: Any) -> tuple[Any, bool]:
        made = [
            primitive.bind(
                *(each[n] if own else each for each, own in zip(given, batched, strict=True)),
                **params,
            )
            for n in range(size)
        ]
        return jnp.stack(made), True

    return done


def _channels(inputs: Sequence[int], kernel: Sequence[int], params: Any) -> int:
    """Of one network, in and out, the larger number."""
    numbers = params["dimension_numbers"]
    ins = 0 if _makes_kernels(inputs, kernel, params) else 1
    return max(inputs[numbers.lhs_spec[ins]], kernel[numbers.rhs_spec[0]])


def _sharing(networks: int, channels: int, widest: int) -> int:
    """How many networks share a convolution: about as many in each."""
    most = max(1, widest // channels)
    return math.ceil(networks / math.ceil(networks / most))


def _makes_kernels(inputs: Sequence[int], kernel: Sequence[int], params: Any) -> bool:
    """Whether it is a gradient of a kernel: its window is an image, what it gives is as a kernel.

    What stands for a batch is then channels.
    """
    numbers = params["dimension_numbers"]
    window = [kernel[axis] for axis in numbers.rhs_spec[2:]]
    padded = [
        (inputs[axis] - 1) * dilation + 1 + sum(padding)
        for axis, dilation, padding in zip(
            numbers.lhs_spec[2:], params["lhs_dilation"], params["padding"], strict=True
        )
    ]
    places = [
        (size - (width - 1) * dilation - 1) // stride + 1
        for size, width, dilation, stride in zip(
            padded, window, params["rhs_dilation"], params["window_strides"], strict=True
        )
    ]
    return bool(math.prod(window) > math.prod(places))


def _beside(
    inputs: Array, kernel: Array, params: Any, plain: Callable[[Array, Array], Array]
) -> Array:
    """The convolutions of several networks as one.

    Args:
      inputs: [networks, ...].
      kernel: [networks, ...].
      params: of the convolution of one network.
      plain: it.

    Returns:
      [networks, ...].
    """
    networks, numbers = len(inputs), params["dimension_numbers"]
    if _makes_kernels(inputs.shape[1:], kernel.shape[1:], params):
        # every network's inputs meet every network's gradients: the blocks on the diagonal stay
        made = plain(_merged(inputs, numbers.lhs_spec[0]), _merged(kernel, numbers.rhs_spec[0]))
        for axis in sorted(numbers.out_spec[:2], reverse=True):
            made = _parted(made, axis, networks)
        first, second = sorted(numbers.out_spec[:2])
        return jnp.moveaxis(jnp.diagonal(made, axis1=first, axis2=second + 1), -1, 0)
    out, into = numbers.rhs_spec[:2]
    blocks = _blocks(kernel, into, out)
    made = plain(_merged(inputs, numbers.lhs_spec[1]), blocks)
    return jnp.moveaxis(_parted(made, numbers.out_spec[1], networks), numbers.out_spec[1], 0)


def _merged(stacked: Array, axis: int) -> Array:
    """[networks, ...] -> [...], where an axis has the networks' channels beside each other."""
    moved = jnp.moveaxis(stacked, 0, axis)
    shape = (*moved.shape[:axis], moved.shape[axis] * moved.shape[axis + 1])
    return moved.reshape(*shape, *moved.shape[axis + 2 :])


def _parted(array: Array, axis: int, networks: int) -> Array:
    """The opposite: an axis becomes two, networks and channels of each."""
    shape = (networks, array.shape[axis] // networks)
    return array.reshape(*array.shape[:axis], *shape, *array.shape[axis + 1 :])


def _blocks(kernel: Array, into: int, out: int) -> Array:
    """Kernels on the diagonal of one.

    Args:
      kernel: [networks, ...].
      into: the axis of input channels of one network's kernel.
      out: the axis of output channels.

    Returns:
      A kernel with networks times the channels, 0 where a network would meet another.
    """
    networks, rank = len(kernel), kernel.ndim - 1
    axes = {into: 1, out: 2} | dict(
        zip([n for n in range(rank) if n not in (into, out)], range(3, rank + 1), strict=True)
    )
    ordered = kernel.transpose(0, *(1 + axis for axis in sorted(axes, key=axes.__getitem__)))
    _, ins, outs, *window = ordered.shape
    same = np.eye(networks, dtype=bool).reshape(networks, 1, networks, 1, *[1] * len(window))
    spread = jnp.where(same, ordered[:, :, None], jnp.zeros((), kernel.dtype))
    dense = spread.reshape(networks * ins, networks * outs, *window)
    return dense.transpose([axes[axis] - 1 for axis in range(rank)])
