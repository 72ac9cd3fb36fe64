"""Steps that normalise, values and kernels, and those that add or multiply parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from tests.support.random_steps.building import WIDTHS, Build, factors, pick

EPSILON = 1e-3


def batch_norm(build: Build, h: Any, i: int, j: int) -> Any:
    """With running statistics, which come back updated in training; i: whether it trains."""
    width = h.shape[-1]
    name, mean, variance = build.stats(width)
    if i % 2:
        axes = tuple(range(h.ndim - 1))
        now = h.mean(axes)
        spread = (h * h).mean(axes) - now * now if j % 3 else h.var(axes)
        build.updated[f"{name}mean"] = 0.9 * mean + 0.1 * now
        build.updated[f"{name}var"] = 0.9 * variance + 0.1 * spread
        mean, variance = now, spread
    made = (h - mean) * jax.lax.rsqrt(variance + EPSILON)
    if j % 2:
        made = made * build.param(width)
    return made + build.param(width) if j % 4 else made


def layer_norm(build: Build, h: Any, i: int, j: int) -> Any:
    made = _normalised(h, (-1,), two_pass=i % 2 == 1)
    if j % 2:
        made = made * build.param(h.shape[-1])
    return made + build.param(h.shape[-1]) if j % 3 == 0 else made


def group_norm(build: Build, h: Any, i: int, j: int) -> Any:
    ways = factors(h.shape[-1])
    if not ways:
        return None
    cut = h.reshape(*h.shape[:-1], *pick(ways, j))
    positions = () if j % 3 == 0 else tuple(range(1, h.ndim - 1))
    made = _normalised(cut, (*positions, -1), two_pass=i % 2 == 1).reshape(h.shape)
    return made * build.param(h.shape[-1]) if j % 2 else made


def rms_norm(build: Build, h: Any, i: int, j: int) -> Any:
    made = h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + EPSILON)
    return made * build.param(h.shape[-1]) if j % 2 else made


def position_norm(build: Build, h: Any, i: int, j: int) -> Any:
    """Over all but the batch and the channels."""
    return _normalised(h, tuple(range(1, h.ndim - 1)), two_pass=i % 2 == 1) if h.ndim > 2 else None


def unit_length(build: Build, h: Any, i: int, j: int) -> Any:
    return h / (jnp.linalg.norm(h + pick((0, 1), i), axis=-1, keepdims=True) + 1)


def standardised(build: Build, h: Any, i: int, j: int) -> Any:
    """Weight standardisation, over the inputs of each unit or over the units."""
    kernel = build.param(h.shape[-1], pick(WIDTHS, i))
    return h @ _normalised(kernel, (j // 2 % 2,), two_pass=j % 2 == 1)


def weight_norm(build: Build, h: Any, i: int, j: int) -> Any:
    kernel = build.param(h.shape[-1], pick(WIDTHS, i))
    length = jnp.sqrt((kernel * kernel).sum(j % 2, keepdims=True) + EPSILON)
    return h @ (kernel / length * build.param(*length.shape))


def _normalised(h: Any, axes: tuple[int, ...], *, two_pass: bool) -> Any:
    mean = h.mean(axes, keepdims=True)
    if two_pass:
        variance = h.var(axes, keepdims=True)
    else:
        variance = jnp.maximum((h * h).mean(axes, keepdims=True) - mean * mean, 0)
    return (h - mean) * jax.lax.rsqrt(variance + EPSILON)


def bias(build: Build, h: Any, i: int, j: int) -> Any:
    """Along any axes but the batch: of channels, of tokens, or of both."""
    kept = [j >> axis & 1 for axis in range(h.ndim - 1)]
    shape = [size if keep else 1 for size, keep in zip(h.shape[1:], kept, strict=True)]
    return h + build.param(*shape)


def scale(build: Build, h: Any, i: int, j: int) -> Any:
    factor = build.param(h.shape[-1])
    return h * pick((lambda f: f, jnp.exp, jax.nn.softmax, lambda f: 1 + f), i)(factor)


def token(build: Build, h: Any, i: int, j: int) -> Any:
    """A learned token before the others."""
    if h.ndim != 3:
        return None
    first = jnp.broadcast_to(build.param(1, 1, h.shape[-1]), (len(h), 1, h.shape[-1]))
    return jnp.concatenate([first, h] if j % 2 else [h, first], 1)


STEPS = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "rms_norm": rms_norm,
    "position_norm": position_norm,
    "unit_length": unit_length,
    "standardised": standardised,
    "weight_norm": weight_norm,
    "bias": bias,
    "scale": scale,
    "token": token,
}
