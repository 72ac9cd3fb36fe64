"""Steps that work element by element: activations, constants, choices, several values in one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from tests.support.random_steps.building import Build, pick


def _wave(h: Any) -> Any:
    return jnp.exp(jax.lax.complex(jnp.zeros_like(h), h))


@jax.custom_jvp
def _swish(h: Any) -> Any:
    return h * jax.nn.sigmoid(h)


@_swish.defjvp
def _swish_jvp(primals: Any, tangents: Any) -> Any:
    (h,), (moved,) = primals, tangents
    slope = jax.nn.sigmoid(h)
    return h * slope, moved * (slope * (1 + h * (1 - slope)))


@jax.custom_vjp
def _spike(h: Any) -> Any:
    return (h > 0.3).astype(h.dtype)


_spike.defvjp(lambda h: (_spike(h), h), lambda h, pulled: (pulled / (1 + abs(h)) ** 2,))


@jax.custom_vjp
def _clipped(h: Any) -> Any:
    """Its gradient is clipped."""
    return jnp.sin(h) + 1


_clipped.defvjp(
    lambda h: (_clipped(h), jnp.cos(h)), lambda slope, pulled: (jnp.clip(pulled * slope, -9, 9),)
)

FUNCTIONS = (
    jax.nn.relu,
    jnp.tanh,
    jax.nn.relu6,
    jax.nn.sigmoid,
    jax.nn.gelu,
    jax.nn.silu,
    jax.nn.softplus,
    jax.nn.hard_swish,
    jax.nn.elu,
    jax.nn.leaky_relu,
    lambda h: jnp.clip(h, 0.25, 1.0),
    lambda h: jnp.clip(h, -1.0, 1.0),
    lambda h: jnp.exp(h / 4),
    jnp.cos,
    jnp.sin,
    lambda h: (h / 2) ** 3,
    lambda h: (h * h + 0.5) ** 0.7,
    lambda h: jnp.abs(h) ** 1.5,
    lambda h: 1.3 ** (h / 2),
    jnp.abs,
    jnp.sign,
    jnp.floor,
    jnp.round,
    lambda h: h / (1 + h * h),
    lambda h: 1 / (1 + h * h),
    lambda h: jnp.log(h * h + 1),
    lambda h: jnp.log1p(jnp.abs(h)),
    lambda h: jnp.sqrt(h * h + 1),
    lambda h: jnp.expm1(h / 4),
    lambda h: jax.lax.erf(h),
    jnp.arctan,
    jnp.square,
    lambda h: 1 - h,
    lambda h: -h,
    lambda h: h + 1,
    lambda h: jnp.where(h > 0, h, 0.1 * h),
    lambda h: jnp.where(h > 0, 1.0, h),
    lambda h: (h > 0.1).astype(h.dtype),
    lambda h: jnp.isfinite(h).astype(h.dtype) + h,
    lambda h: jnp.rint(3 * h).astype(jnp.int32).astype(h.dtype),
    lambda h: (jnp.rint(3 * h).astype(jnp.int32) & 3).astype(h.dtype),
    lambda h: jnp.logaddexp(h, jnp.zeros((), h.dtype)),
    lambda h: jnp.arctan2(h, 1 + h * h),
    lambda h: jnp.abs(jax.lax.complex(h, jnp.square(h))),
    lambda h: jnp.real(_wave(h) * jax.lax.complex(h, jnp.full_like(h, -0.5))),
    lambda h: h + jax.lax.stop_gradient(jnp.sin(h) - h),
    lambda h: jax.lax.optimization_barrier(h) * 2,
    lambda h: checkpoint_name(h * h, "squares"),
    _swish,
    _spike,
    _clipped,
    jax.checkpoint(lambda h: jnp.sin(h) * h),
    jax.jit(lambda h: jnp.tanh(h) + h),
    lambda h: jax.vmap(lambda row: jnp.tanh(row) * 2)(h),
    lambda h: jnp.vectorize(lambda one: one * one + one)(h),
    lambda h: h.astype(jnp.float32).astype(h.dtype),
    lambda h: jax.lax.reduce_precision(h, 8, 10),
    lambda h: jnp.nan_to_num(h),
    lambda h: jnp.remainder(h, 1.7),
)

PAIRS = (
    jnp.add,
    jnp.multiply,
    jnp.subtract,
    jnp.maximum,
    jnp.minimum,
    lambda a, b: a / (1 + b * b),
    lambda a, b: a / (2 + jnp.cos(b)),
    lambda a, b: jnp.where(a > b, a, b * 0.5),
    lambda a, b: jnp.where(a > 0, b, 0),
    lambda a, b: jax.lax.select_n(
        (b > 0.5).astype(jnp.int32) + (b > 1).astype(jnp.int32), a, b, a * b
    ),
    lambda a, b: jnp.abs(a) ** (1 + jnp.square(jnp.tanh(b))),
    lambda a, b: jnp.arctan2(a, 1 + b * b),
    lambda a, b: a * (b >= 0).astype(a.dtype),
    lambda a, b: jnp.where((a > 0) ^ (b > 0), a + 1, b),
    jnp.logaddexp,
    lambda a, b: a * b + jax.lax.stop_gradient(a),
    lambda a, b: jax.lax.clamp(-jnp.abs(b), a, jnp.abs(b)),
    lambda a, b: jnp.hypot(a, b + 2),
)


def apply(build: Build, h: Any, i: int, j: int) -> Any:
    return pick(FUNCTIONS, 12 * i + j)(h)


def pair(build: Build, h: Any, i: int, j: int) -> Any:
    return pick(PAIRS, 12 * i + j)(h, build.other(h, i))


def constant(build: Build, h: Any, i: int, j: int) -> Any:
    """A table along any axes but the batch: made by NumPy, or counted inside."""
    shape = [size if i >> axis & 1 else 1 for axis, size in enumerate(h.shape[1:])]
    match j % 6:
        case 0 | 1:
            table = build.table(tuple(shape), i)
        case 2:
            table = jnp.cos(jnp.arange(np.prod(shape, dtype=int)).reshape(shape).astype(h.dtype))
        case 3:
            places = jax.lax.broadcasted_iota(jnp.int32, (*shape,), len(shape) - 1)
            table = jnp.sin(places.astype(h.dtype) + 1)
        case 4:
            table = jax.random.normal(jax.random.key(i), shape, h.dtype)
        case _:
            rows = jnp.arange(shape[0]).astype(h.dtype).reshape(-1, *[1] * (len(shape) - 1))
            columns = jnp.arange(shape[-1]).astype(h.dtype)
            table = jnp.broadcast_to(jnp.cos(rows * 0.7 + columns), shape)
    return pick((jnp.add, jnp.multiply, jnp.maximum, jnp.subtract), j)(h, table)


def dropout(build: Build, h: Any, i: int, j: int) -> Any:
    shape = list(h.shape)
    for axis in range(h.ndim):
        if j % 4 == axis + 1:
            shape[axis] = 1
    keep = jax.random.bernoulli(jax.random.key(i), 0.7, shape)
    return jnp.where(keep, h / 0.7, 0)


def masked_fill(build: Build, h: Any, i: int, j: int) -> Any:
    """Positions that are filled in, as attention's masks do."""
    mask = build.table(h.shape[1 : 1 + max(1, h.ndim - 2)], i) > 0.8
    mask = mask.reshape(*mask.shape, *[1] * (h.ndim - 1 - mask.ndim))
    return jnp.where(mask, h, pick((0.0, -5.0, 1.0), j))


def called_twice(build: Build, h: Any, i: int, j: int) -> Any:
    """A function compiled once and called at two places."""
    inner = jax.jit(lambda a, b: jnp.tanh(a) * b + a)
    return inner(inner(h, build.other(h, i)), h)


def checkpointed(build: Build, h: Any, i: int, j: int) -> Any:
    kernel = build.param(h.shape[-1], 6)
    last = build.param(6, h.shape[-1])

    def body(h: Any, kernel: Any, last: Any) -> Any:
        return h + jax.nn.relu(checkpoint_name(h @ kernel, "up")) @ last

    policy = jax.checkpoint_policies.save_only_these_names("up") if j % 2 else None
    return jax.checkpoint(body, policy=policy)(h, kernel, last)


STEPS = {
    "apply": apply,
    "pair": pair,
    "constant": constant,
    "dropout": dropout,
    "masked_fill": masked_fill,
    "called_twice": called_twice,
    "checkpointed": checkpointed,
}
