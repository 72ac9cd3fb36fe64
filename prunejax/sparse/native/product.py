"""The linear map of a layer with links, computed by the compiled kernels, as a JAX primitive.

A layer with weights w, inputs x and outputs' cotangents y has one trilinear form,

    T(w, x, y) = sum_l w[l] sum_b x[b, source[l]] y[b, target[l]].

``product`` is its derivative with respect to one operand, given the other two. So is each
derivative and each transpose of a ``product``: it can be differentiated forwards, backwards and as
often as one likes.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from prunejax.sparse.links import Links
from prunejax.sparse.native import library

WEIGHTS, INPUTS, OUTPUTS = range(3)
"""The operands of the trilinear form, as kernels.cc numbers them."""


def product(
    wanted: int, first: Float[Array, "..."], second: Float[Array, "..."], links: Links
) -> Float[Array, "..."]:
    """The derivative of a layer's trilinear form with respect to one operand.

    A kernel computes it on a CPU, a dense product elsewhere.

    Args:
      wanted: which operand, ``WEIGHTS`` [links], ``INPUTS`` [batch, inputs] or ``OUTPUTS`` [batch,
        outputs].
      first: the first of the other two operands, in this order; float32 or float64.
      second: the second of them, in the same type.
      links: the layer's links; indices out of range are an error when the kernel runs.

    Returns:
      An array like the operand that is wanted.

    Raises:
      UnavailableError: the kernels are not compiled here and cannot be.
    """
    library.load()
    return _PRODUCT.bind(
        first, second, links.sources, links.targets, wanted=wanted, shape=links.shape
    )


def _call(
    first: Array, second: Array, sources: Array, targets: Array, *, wanted: int, shape: Any
) -> Array:
    """The kernel itself."""
    inputs, outputs = shape
    made = _abstract(first, second, sources, targets, wanted=wanted, shape=shape)
    kernel = jax.ffi.ffi_call("prunejax_product", jax.ShapeDtypeStruct(made.shape, made.dtype))
    sizes = {"inputs": np.int64(inputs), "outputs": np.int64(outputs)}
    return kernel(first, second, sources, targets, wanted=np.int32(wanted), **sizes)


def _dense(
    first: Array, second: Array, sources: Array, targets: Array, *, wanted: int, shape: Any
) -> Array:
    """The same by a dense matrix, as the back end ``densify`` does it: where no kernel runs."""
    links = Links(sources, targets, shape)
    if wanted == WEIGHTS:
        return links.gather(first.T @ second)
    matrix = links.scatter(first)
    return second @ (matrix.T if wanted == INPUTS else matrix)


def _abstract(
    first: Any, second: Any, sources: Any, targets: Any, *, wanted: int, shape: Any
) -> ShapedArray:
    del targets
    operands: list[Any] = [first, second]
    operands.insert(wanted, None)
    batch = (operands[INPUTS] if wanted != INPUTS else operands[OUTPUTS]).shape[0]
    shapes = (sources.shape, (batch, shape[0]), (batch, shape[1]))
    given = [sized for number, sized in enumerate(shapes) if number != wanted]
    if [first.shape, second.shape] != given or first.dtype != second.dtype:
        raise TypeError(f"a layer of shape {shape} got {first}, {second} for {given}")
    return ShapedArray(shapes[wanted], first.dtype)


def _tangent(position: int, tangent: Any, *operands: Any, **static: Any) -> Any:
    return _PRODUCT.bind(*operands[:position], tangent, *operands[position + 1 :], **static)


def _transpose(
    cotangent: Any, first: Any, second: Any, sources: Any, targets: Any, *, wanted: int, shape: Any
) -> tuple[Any, ...]:
    """The operand that is linear changes its place with the one that is wanted."""
    missing = 0 if ad.is_undefined_primal(first) else 1
    linear = (first, second)[missing]
    if type(cotangent) is ad.Zero:
        found: Any = ad.Zero(linear.aval)
    else:
        numbers = [number for number in range(3) if number != wanted]
        known = sorted([(wanted, cotangent), (numbers[1 - missing], (first, second)[1 - missing])],
                       key=lambda operand: operand[0])  # fmt: skip
        found = _PRODUCT.bind(
            known[0][1], known[1][1], sources, targets, wanted=numbers[missing], shape=shape
        )
    return (found, None, None, None) if missing == 0 else (None, found, None, None)


def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, wanted: int, shape: Any
) -> tuple[Any, int]:
    """Examples of one network join the batch; networks of a batch go through one by one."""
    run = functools.partial(_PRODUCT.bind, wanted=wanted, shape=shape)
    moved = [
        operand if axis is None else jnp.moveaxis(operand, axis, 0)
        for operand, axis in zip(operands, axes, strict=True)
    ]
    if wanted != WEIGHTS and axes[0] is None and axes[2] is None and axes[3] is None:
        many, batch, neurons = moved[1].shape
        made = run(moved[0], moved[1].reshape(many * batch, neurons), *moved[2:])
        return made.reshape(many, batch, made.shape[-1]), 0
    mapped = {place: moved[place] for place, axis in enumerate(axes) if axis is not None}
    one = jax.lax.map(
        lambda parts: run(*(parts.get(place, moved[place]) for place in range(len(moved)))), mapped
    )
    return one, 0


_PRODUCT = Primitive("links_product")
_PRODUCT.def_impl(jax.jit(_PRODUCT.bind, static_argnames=("wanted", "shape")))
_PRODUCT.def_abstract_eval(_abstract)
ad.defjvp(_PRODUCT, functools.partial(_tangent, 0), functools.partial(_tangent, 1), None, None)
ad.primitive_transposes[_PRODUCT] = _transpose
batching.primitive_batchers[_PRODUCT] = _batch
# Which device runs a program is known when it is lowered, and not before: by where its data lie.
mlir.register_lowering(_PRODUCT, mlir.lower_fun(_dense, multiple_results=False))
mlir.register_lowering(_PRODUCT, mlir.lower_fun(_call, multiple_results=False), platform="cpu")
