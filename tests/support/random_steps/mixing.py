"""Steps that mix along an axis: reductions, running sums, orders, Fourier transforms, attention."""

from typing import Any

import jax
import jax.numpy as jnp

from tests.support.random_steps.building import Build, pick


def _axis(h: Any, i: int) -> int:
    """Positions twice as often as channels."""
    return h.ndim - 1 if i % 3 == 0 else 1 + i % (h.ndim - 1)


def _argmax(h: Any, axis: int, keepdims: bool) -> Any:
    return jnp.argmax(h, axis, keepdims=keepdims).astype(h.dtype)


def _all(h: Any, axis: int, keepdims: bool) -> Any:
    return jnp.all(h > -0.5, axis, keepdims=keepdims).astype(h.dtype)


REDUCTIONS = (
    jnp.sum,
    jnp.mean,
    jnp.max,
    jnp.min,
    jnp.prod,
    _argmax,
    _all,
    jax.nn.logsumexp,
    jnp.var,
    lambda h, axis, keepdims: jnp.linalg.norm(h + 1, axis=axis, keepdims=keepdims),
)


def reduce(build: Build, h: Any, i: int, j: int) -> Any:
    """Along an axis; what comes out is left alone, or scales what went in."""
    made = pick(REDUCTIONS, j)(h, axis=_axis(h, i), keepdims=i % 4 > 1)
    return h * made if i % 4 > 1 and i // 4 % 2 else made


def pool_all(build: Build, h: Any, i: int, j: int) -> Any:
    """Over all positions."""
    return pick((jnp.mean, jnp.max, jnp.sum), j)(h, axis=tuple(range(1, h.ndim - 1)))


def squeeze_excite(build: Build, h: Any, i: int, j: int) -> Any:
    pooled = h.mean(tuple(range(1, h.ndim - 1)), keepdims=True) if h.ndim > 2 else h
    hidden = jax.nn.relu(pooled @ build.param(h.shape[-1], 3))
    return h * jax.nn.sigmoid(hidden @ build.param(3, h.shape[-1]))


def softmax(build: Build, h: Any, i: int, j: int) -> Any:
    return pick((jax.nn.softmax, jax.nn.log_softmax), j)(h, axis=_axis(h, i))


def running(build: Build, h: Any, i: int, j: int) -> Any:
    axis = _axis(h, i)
    functions = (
        jax.lax.cumsum,
        jax.lax.cumprod,
        jax.lax.cummax,
        jax.lax.cummin,
        jax.lax.cumlogsumexp,
    )
    return pick(functions, j)(h, axis=axis, reverse=j % 2 == 1)


def associative(build: Build, h: Any, i: int, j: int) -> Any:
    """A linear recurrence as state space models compute it."""
    decay = jax.nn.sigmoid(build.other(h, i))

    def combine(a: Any, b: Any) -> Any:
        return a[0] * b[0], b[0] * a[1] + b[1]

    return jax.lax.associative_scan(combine, (decay, h), axis=1)[1] if h.ndim > 2 else None


def order(build: Build, h: Any, i: int, j: int) -> Any:
    axis = _axis(h, i)
    match j % 5:
        case 0:
            return jnp.sort(h, axis)
        case 1:
            return jnp.take_along_axis(h, jnp.argsort(h, axis), axis)
        case 2:
            moved = jnp.moveaxis(h, axis, -1)
            return jax.lax.top_k(moved, min(2, moved.shape[-1]))[0]
        case 3:
            return jnp.argsort(h, axis).astype(h.dtype) + h
        case _:
            keys = jax.lax.sort((build.other(h, i), h), dimension=axis, num_keys=1)
            return keys[1]


def window(build: Build, h: Any, i: int, j: int) -> Any:
    """Pooling of positions, or of channels (as local response normalisation does)."""
    axis = h.ndim - 1 if i % 4 == 3 else 1
    size = [2 if index == axis else 1 for index in range(h.ndim)]
    kind, start = pick(((jax.lax.add, 0.0), (jax.lax.max, -jnp.inf), (jax.lax.min, jnp.inf)), j)
    strides = size if i % 2 else [1] * h.ndim
    return jax.lax.reduce_window(h, start, kind, size, strides, pick(("SAME", "VALID"), j))


def fourier(build: Build, h: Any, i: int, j: int) -> Any:
    axis = _axis(h, i)
    size = h.shape[axis]
    match j % 4:
        case 0:
            return jnp.fft.irfft(jnp.fft.rfft(h, axis=axis), n=size, axis=axis)
        case 1:
            return jnp.abs(jnp.fft.fft(h, axis=axis))
        case 2:
            spectrum = jnp.fft.rfft(h, axis=axis) * (0.5 + 0.2j)
            return jnp.fft.irfft(spectrum, n=size, axis=axis)
        case _:
            if h.ndim < 3:
                return None
            return jnp.real(jnp.fft.fft2(h, axes=(1, h.ndim - 1)))


def attention(build: Build, h: Any, i: int, j: int) -> Any:
    """Multi-head with kernels of its own, grouped queries, or one fused kernel in any layout."""
    if h.ndim != 3:
        return None
    b, p, c = h.shape
    heads, width = pick(((2, 2), (2, 3), (4, 2), (3, 2)), j)
    match i % 6:
        case 0:
            kernels = [build.param(c, heads, width) for _ in range(3)]
            q, k, v = (jnp.einsum("bpc,chw->bphw", h, kernel) for kernel in kernels)
        case 1:  # grouped queries
            q = (h @ build.param(c, 2 * heads * width)).reshape(b, p, 2 * heads, width)
            k = (h @ build.param(c, heads * width)).reshape(b, p, heads, width)
            v = (h @ build.param(c, heads * width)).reshape(b, p, heads, width)
            k, v = (jnp.repeat(each, 2, 2) for each in (k, v))
        case 2:
            fused = (h @ build.param(c, 3 * heads * width)).reshape(b, p, 3, heads, width)
            q, k, v = fused[:, :, 0], fused[:, :, 1], fused[:, :, 2]
        case 3:
            fused = (h @ build.param(c, 3 * heads * width)).reshape(b, p, heads, 3, width)
            q, k, v = fused[..., 0, :], fused[..., 1, :], fused[..., 2, :]
        case 4:
            fused = (h @ build.param(c, 3 * heads * width)).reshape(b, p, heads, 3 * width)
            q, k, v = jnp.split(fused, 3, -1)
        case _:
            fused = h @ build.param(c, 3 * heads * width)
            parts = jnp.split(fused, 3, -1)
            q, k, v = (each.reshape(b, p, heads, width) for each in parts)
    scores = jnp.einsum("bqhw,bkhw->bhqk", q, k) / width**0.5
    if j % 2:
        scores = jnp.where(jnp.tril(jnp.ones((p, p), bool)), scores, -1e9)
    mixed = jnp.einsum("bhqk,bkhw->bqhw", jax.nn.softmax(scores), v)
    if j % 3 == 0:
        return jnp.einsum("bphw,hwc->bpc", mixed, build.param(*mixed.shape[2:], c))
    mixed = mixed.reshape(b, p, -1)
    return h + mixed @ build.param(mixed.shape[-1], c)


STEPS = {
    "reduce": reduce,
    "pool_all": pool_all,
    "squeeze_excite": squeeze_excite,
    "softmax": softmax,
    "running": running,
    "associative": associative,
    "order": order,
    "window": window,
    "fourier": fourier,
    "attention": attention,
}
