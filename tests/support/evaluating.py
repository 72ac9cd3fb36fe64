"""Evaluates a traced function with NumPy, without compiling: for very many small functions.

What one line of NumPy does is done by it. Every other primitive is applied by JAX, operation by
operation, which compiles each shape of each primitive once.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.extend import core

from tests.support.indexed import SCATTERS, convolution, gather, scatter

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Primitives that call a program, and the parameter that holds it."""

SAME = frozenset(("copy", "copy_p", "stop_gradient", "optimization_barrier", "name"))

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "add_any": np.add,
    "and": np.bitwise_and,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "ceil": np.ceil,
    "complex": lambda a, b: a + 1j * b,
    "conj": np.conj,
    "cos": np.cos,
    "cosh": np.cosh,
    "eq": np.equal,
    "erf": scipy.special.erf,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "imag": np.imag,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": scipy.special.expit,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "pow": np.power,
    "real": np.real,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": np.subtract,
    "tan": np.tan,
    "tanh": np.tanh,
    "xor": np.bitwise_xor,
}

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_and": np.all,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_or": np.any,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
}

CUMULATIONS: dict[str, Callable[..., Any]] = {
    "cumlogsumexp": np.logaddexp.accumulate,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
    "cumprod": np.cumprod,
    "cumsum": np.cumsum,
}


def evaluate(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function that JAX can trace returns, with NumPy arrays for leaves."""
    closed, described = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(arguments)]
    with np.errstate(all="ignore"):
        outputs = _run(closed.jaxpr, closed.consts, leaves)
    return jax.tree.unflatten(jax.tree.structure(described), outputs)


def _run(jaxpr: Any, consts: Any, inputs: Any) -> list[Any]:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, map(_array, consts), strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return _array(atom.val) if isinstance(atom, core.Literal) else known[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        results = _apply(eqn, values)
        for variable, result in zip(eqn.outvars, results, strict=True):
            wanted = getattr(variable.aval, "dtype", None)
            if isinstance(result, (np.ndarray, np.generic)) and result.dtype != wanted:
                result = np.asarray(result).astype(wanted)
            known[variable] = result
    return [read(atom) for atom in jaxpr.outvars]


def _apply(eqn: Any, values: list[Any]) -> list[Any]:
    name, params = eqn.primitive.name, eqn.params
    if name in CALLS:
        inner = params[CALLS[name]]
        if isinstance(inner, core.ClosedJaxpr):
            return _run(inner.jaxpr, inner.consts, values)
        return _run(inner, (), values)
    if name in SAME:
        return values
    if name in ("scan", "while", "cond"):
        return {"scan": _scan, "while": _while, "cond": _cond}[name](params, values)
    if all(isinstance(value, np.ndarray | np.generic) for value in values):
        result = _computed(eqn, name, params, values)
        if result is not None:
            return result if isinstance(result, list) else [result]
    return _bound(eqn, values)


def _computed(eqn: Any, name: str, params: Any, values: list[Any]) -> Any:
    """The result, where NumPy has a line for it; None elsewhere."""
    aval = eqn.outvars[0].aval if eqn.outvars else None
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](*values)
    if name in REDUCTIONS and not params.get("out_sharding"):
        return REDUCTIONS[name](values[0], axis=tuple(params["axes"]))
    if name in CUMULATIONS:
        turn = (lambda value: np.flip(value, params["axis"])) if params["reverse"] else _array
        return turn(CUMULATIONS[name](turn(values[0]), axis=params["axis"]))
    match name:
        case "div" if np.issubdtype(values[0].dtype, np.inexact):
            return np.divide(*values)
        case "rem":
            return np.fmod(*values)
        case "argmax" | "argmin":
            return getattr(np, name)(values[0], axis=params["axes"][0])
        case "sort" if params["num_keys"] == 1:
            order = np.argsort(values[0], params["dimension"], stable=True)
            return [np.take_along_axis(value, order, params["dimension"]) for value in values]
        case "split":
            return np.split(values[0], np.cumsum(params["sizes"])[:-1], params["axis"])
        case "stack":
            return np.stack(values, params["axis"])
        case "unstack":
            return list(np.moveaxis(values[0], params["axis"], 0))
        case "gather":
            return gather(params, aval.shape, *values)
        case "conv_general_dilated":
            return convolution(params, *values)
        case name if name in SCATTERS:
            return scatter(name, params, *values)
        case "sign" if np.issubdtype(values[0].dtype, np.floating):
            return np.sign(values[0])
        case "rsqrt":
            return 1 / np.sqrt(values[0])
        case "integer_pow" if np.issubdtype(values[0].dtype, np.inexact):
            return np.power(values[0], params["y"])
        case "convert_element_type" if np.isfinite(values[0]).all() or aval.dtype.kind in "fcb":
            return values[0].astype(aval.dtype)
        case "select_n" if len(values) == 3 and values[0].dtype == bool:
            return np.where(values[0], values[2], values[1])
        case "clamp":
            return np.minimum(np.maximum(values[0], values[1]), values[2])
        case "broadcast_in_dim":
            shape = [1] * len(aval.shape)
            for size, axis in zip(values[0].shape, params["broadcast_dimensions"], strict=True):
                shape[axis] = size
            return np.broadcast_to(values[0].reshape(shape), aval.shape)
        case "reshape" if params["dimensions"] is None:
            return values[0].reshape(aval.shape)
        case "squeeze" | "expand_dims":
            return values[0].reshape(aval.shape)
        case "transpose":
            return values[0].transpose(params["permutation"])
        case "rev":
            return np.flip(values[0], params["dimensions"])
        case "concatenate":
            return np.concatenate(values, params["dimension"])
        case "iota":
            shape = [1] * len(aval.shape)
            shape[params["dimension"]] = -1
            counted = np.arange(aval.shape[params["dimension"]], dtype=aval.dtype)
            return np.broadcast_to(counted.reshape(shape), aval.shape)
        case "slice":
            strides = params["strides"] or (1,) * values[0].ndim
            where = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
            return values[0][tuple(slice(*each) for each in where)]
        case "dynamic_slice":
            return values[0][_moving(values[0].shape, aval.shape, values[1:], params)]
        case "dynamic_update_slice":
            made = np.array(values[0])
            made[_moving(made.shape, values[1].shape, values[2:], {})] = values[1]
            return made
        case "pad":
            return _padded(params["padding_config"], *values)
        case "dot_general":
            return _dot_general(params, *values)
    return None


def _padded(widths: Any, value: Any, filling: Any) -> Any:
    spread = [
        low * (low > 0) + high * (high > 0) + max(0, size + (size - 1) * between)
        for (low, high, between), size in zip(widths, value.shape, strict=True)
    ]
    made = np.full(spread, filling)
    made[
        tuple(
            slice(max(low, 0), size - max(high, 0), between + 1)
            for (low, high, between), size in zip(widths, spread, strict=True)
        )
    ] = value
    ends = zip(widths, spread, strict=True)
    return made[tuple(slice(max(-low, 0), size - max(-high, 0)) for (low, high, _), size in ends)]


def _moving(whole: Any, part: Any, starts: list[Any], params: Any) -> tuple[slice, ...]:
    sizes = zip(starts, whole, part, strict=True)
    firsts = [min(max(int(start), 0), size - taken) for start, size, taken in sizes]
    return tuple(slice(first, first + taken) for first, taken in zip(firsts, part, strict=True))


def _dot_general(params: Any, left: Any, right: Any) -> Any:
    (left_sum, right_sum), (left_batch, right_batch) = params["dimension_numbers"]
    names = iter(range(left.ndim + right.ndim))
    left_names = [next(names) for _ in range(left.ndim)]
    right_names = [next(names) for _ in range(right.ndim)]
    for a, b in zip((*left_sum, *left_batch), (*right_sum, *right_batch), strict=True):
        right_names[b] = left_names[a]
    batch = [left_names[axis] for axis in left_batch]
    free = [
        name
        for used, given in (
            ({*left_sum, *left_batch}, left_names),
            ({*right_sum, *right_batch}, right_names),
        )
        for axis, name in enumerate(given)
        if axis not in used
    ]
    return np.einsum(left, left_names, right, right_names, [*batch, *free])


def _scan(params: Any, values: list[Any]) -> list[Any]:
    body, length = params["jaxpr"], params["length"]
    fixed, moving = params["num_consts"], params["num_carry"]
    consts, carry = values[:fixed], values[fixed : fixed + moving]
    rows: list[list[Any]] = [[None] * length for _ in body.jaxpr.outvars[moving:]]
    places = range(length - 1, -1, -1) if params["reverse"] else range(length)
    for place in places:
        given = [value[place] for value in values[fixed + moving :]]
        results = _run(body.jaxpr, body.consts, [*consts, *carry, *map(_array, given)])
        carry = results[:moving]
        for row, result in zip(rows, results[moving:], strict=True):
            row[place] = result
    return [*carry, *(np.stack(row) for row in rows)]


def _while(params: Any, values: list[Any]) -> list[Any]:
    first, second = params["cond_nconsts"], params["body_nconsts"]
    tests, consts = values[:first], values[first : first + second]
    carry = values[first + second :]
    test, body = params["cond_jaxpr"], params["body_jaxpr"]
    while bool(_run(test.jaxpr, test.consts, [*tests, *carry])[0]):
        carry = _run(body.jaxpr, body.consts, [*consts, *carry])
    return carry


def _cond(params: Any, values: list[Any]) -> list[Any]:
    branches = params["branches"]
    chosen = branches[min(max(operator.index(int(values[0])), 0), len(branches) - 1)]
    return _run(chosen.jaxpr, chosen.consts, values[1:])


def _bound(eqn: Any, values: list[Any]) -> list[Any]:
    """By JAX."""
    stated = eqn.primitive.get_bind_params(dict(eqn.params))
    functions, stated = stated if isinstance(stated, tuple) else ((), stated)  # a pair before 0.8
    given = [jnp.asarray(v) if isinstance(v, np.ndarray | np.generic) else v for v in values]
    results = eqn.primitive.bind(*functions, *given, **stated)
    results = results if eqn.primitive.multiple_results else [results]
    return [_array(result) for result in results]


def _array(value: Any) -> Any:
    """As a NumPy array; keys of random numbers stay as they are."""
    if isinstance(value, jax.Array) and not isinstance(value.dtype, np.dtype):
        return value
    return np.asarray(value)
