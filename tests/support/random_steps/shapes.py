"""Steps that move entries: axes cut and merged, transposed, sliced, padded, repeated, joined."""

from typing import Any

import jax
import jax.numpy as jnp

from tests.support.random_steps.building import Build, factors, pick


def flatten(build: Build, h: Any, i: int, j: int) -> Any:
    """All but the batch, or two neighbours."""
    if h.ndim < 3:
        return None
    if i % 3:
        return jax.lax.collapse(h, *pick(((1, 3), (h.ndim - 2, h.ndim), (0, 2)), j))
    return h.reshape(len(h), -1)


def cut(build: Build, h: Any, i: int, j: int) -> Any:
    """An axis of channels or positions in two, sometimes swapped."""
    axis = h.ndim - 1 if i % 4 else 1
    ways = factors(h.shape[axis])
    if not ways or h.ndim > 3:
        return None
    made = h.reshape(*h.shape[:axis], *pick(ways, j), *h.shape[axis + 1 :])
    return jnp.swapaxes(made, axis, axis + 1) if i % 2 else made


def cut_and_reduce(build: Build, h: Any, i: int, j: int) -> Any:
    """Maxout and its kin."""
    ways = factors(h.shape[-1])
    if not ways:
        return None
    made = h.reshape(*h.shape[:-1], *pick(ways, j))
    return pick((jnp.max, jnp.sum, jnp.mean, jnp.min), i // 2)(made, axis=-1 - i % 2)


def channel_shuffle(build: Build, h: Any, i: int, j: int) -> Any:
    ways = factors(h.shape[-1])
    if not ways:
        return None
    made = h.reshape(*h.shape[:-1], *pick(ways, j)).swapaxes(-1, -2)
    return made.reshape(h.shape)


def by_factor(build: Build, h: Any, i: int, j: int) -> Any:
    """Cut, scaled along one of the factors, and put together again."""
    ways = factors(h.shape[-1])
    if not ways:
        return None
    made = h.reshape(*h.shape[:-1], *pick(ways, j))
    factor = build.param(made.shape[-2], 1) if i % 2 else build.param(made.shape[-1])
    if i % 4 > 1:
        factor = build.table(factor.shape, i)
    return pick((jnp.multiply, jnp.add), i // 4)(made, factor).reshape(h.shape)


def pixel_shuffle(build: Build, h: Any, i: int, j: int) -> Any:
    """Channels become positions, in both orders; of a sequence or of an image."""
    size = 2
    if h.ndim == 3 and h.shape[-1] % size == 0:
        b, p, c = h.shape
        made = h.reshape(b, p, size, c // size) if i % 2 else h.reshape(b, p, c // size, size)
        made = made if i % 2 else made.swapaxes(2, 3)
        return made.reshape(b, p * size, c // size)
    if h.ndim == 4 and h.shape[-1] % size**2 == 0:
        b, y, x, c = h.shape
        left = c // size**2
        if i % 2:
            made = h.reshape(b, y, x, size, size, left).transpose(0, 1, 3, 2, 4, 5)
        else:
            made = h.reshape(b, y, x, left, size, size).transpose(0, 1, 4, 2, 5, 3)
        return made.reshape(b, y * size, x * size, left)
    return None


def space_to_depth(build: Build, h: Any, i: int, j: int) -> Any:
    if h.ndim != 3 or h.shape[1] % 2:
        return None
    b, p, c = h.shape
    if i % 2:
        return h.reshape(b, p // 2, 2 * c)
    return h.reshape(b, p // 2, 2, c).swapaxes(2, 3).reshape(b, p // 2, 2 * c)


def transpose(build: Build, h: Any, i: int, j: int) -> Any:
    first, second = 1 + i % (h.ndim - 1), 1 + j % (h.ndim - 1)
    if first == second:
        return jnp.moveaxis(h, -1, 1)
    return jnp.swapaxes(h, first, second)


def reverse(build: Build, h: Any, i: int, j: int) -> Any:
    return jnp.flip(h, -1 if i % 2 else 1)


def part(build: Build, h: Any, i: int, j: int) -> Any:
    """A slice along an axis, with strides or without."""
    axis = h.ndim - 1 if i % 3 else 1
    size = h.shape[axis]
    start = j % max(1, size - 1)
    stride = pick((1, 2, 1, 3), i)
    end = size if j % 2 else max(start + 1, size - 1)
    return jax.lax.slice_in_dim(h, start, end, stride, axis)


def halves(build: Build, h: Any, i: int, j: int) -> Any:
    """Split in two; both go on, swapped or multiplied."""
    axis = h.ndim - 1 if j % 4 else 1
    if h.shape[axis] % 2:
        return None
    first, second = jnp.split(h, 2, axis)
    match i % 5:
        case 0:
            return first * jax.nn.sigmoid(second)
        case 1:
            return jnp.concatenate([second, jnp.tanh(first)], axis)
        case 2:
            return jnp.concatenate([first, first + second], axis)
        case 3:
            return jnp.stack([first, second], axis).reshape(h.shape)
        case _:
            return [first, second]


def rotary(build: Build, h: Any, i: int, j: int) -> Any:
    """Rotary position embeddings: halves, or pairs of neighbours."""
    if h.ndim < 3 or h.shape[-1] % 2:
        return None
    width = h.shape[-1]
    places = jnp.arange(h.shape[1], dtype=h.dtype).reshape(-1, *[1] * (h.ndim - 2))
    if i % 2:
        angles = places / 10.0 ** jnp.arange(0, 1, 2 / width, dtype=h.dtype)
        first, second = h[..., ::2], h[..., 1::2]
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        made = [first * cos - second * sin, second * cos + first * sin]
        return jnp.stack(made, -1).reshape(h.shape)
    first, second = jnp.split(h, 2, -1)
    angles = places / build.table((width // 2,), j)
    angles = jnp.concatenate([angles, angles], -1)
    return h * jnp.cos(angles) + jnp.concatenate([-second, first], -1) * jnp.sin(angles)


def pad(build: Build, h: Any, i: int, j: int) -> Any:
    """Along positions or channels, with a number or with what stands at the edge; crops too."""
    axis = h.ndim - 1 if i % 2 else 1
    widths = [(0, 0, 0)] * h.ndim
    widths[axis] = pick(((1, 0, 0), (0, 2, 0), (1, 1, 0), (0, 0, 1), (-1, 1, 0), (2, -1, 0)), j)
    if h.shape[axis] < 2:
        return None
    if i % 6 == 5:
        return jnp.pad(h, [(low if low > 0 else 0, 0) for low, _, _ in widths], mode="edge")
    return jax.lax.pad(h, jnp.asarray(pick((0, 0, 1.5), i // 2), h.dtype), widths)


def repeat(build: Build, h: Any, i: int, j: int) -> Any:
    axis = h.ndim - 1 if i % 2 else 1
    match j % 4:
        case 0:
            return jnp.repeat(h, 2, axis)
        case 1:
            return jnp.tile(h, [2 if index == axis else 1 for index in range(h.ndim)])
        case 2:
            return jnp.roll(h, 1 + i % 2, axis)
        case _:
            return jnp.concatenate([h, h * 0.5], axis)


def join(build: Build, h: Any, i: int, j: int) -> Any:
    """Two values side by side, along any axis but the batch."""
    axis = 1 + i % (h.ndim - 1)
    return jnp.concatenate([h, build.other(h, j)], h.ndim - 1 if j % 2 else axis)


def stack(build: Build, h: Any, i: int, j: int) -> Any:
    """A new axis, which is summed, kept or mixed with the channels."""
    made = jnp.stack([h, build.other(h, j)], pick((1, -1), i))
    match i // 2 % 4:
        case 0:
            return made if h.ndim < 4 else None
        case 1:
            return made.max(pick((1, -1), i))
        case 2:
            return made.reshape(*h.shape[:-1], -1) if i % 2 else made.reshape(len(h), -1)
        case _:
            return sum(jnp.unstack(made, axis=pick((1, -1), i)), start=jnp.zeros((), h.dtype))


def unstack(build: Build, h: Any, i: int, j: int) -> Any:
    """Some indices of an axis, each on its own."""
    axis = h.ndim - 1 if i % 3 == 0 else 1
    parts = jnp.unstack(h, axis=axis)
    first, last = pick(parts, i), pick(parts, j)
    return first + last if h.ndim > 2 else h * (first * last)[:, None]


def expand(build: Build, h: Any, i: int, j: int) -> Any:
    """An axis of length 1, left in, spread, or taken out again."""
    if h.ndim > 3:
        return None
    axis = 1 + i % h.ndim
    made = jnp.expand_dims(h, axis)
    match j % 3:
        case 0:
            return made
        case 1:
            return jnp.squeeze(jnp.tanh(made), axis)
        case _:
            return jnp.broadcast_to(made, (*h.shape[:axis], 3, *h.shape[axis:]))


def outer(build: Build, h: Any, i: int, j: int) -> Any:
    """Each channel (or position) with each other one."""
    if h.ndim > 3:
        return None
    axis = h.ndim if i % 2 else 2
    first, second = jnp.expand_dims(h, axis), jnp.expand_dims(h, axis - 1)
    return jnp.tanh(first + second) if j % 2 else first * second


STEPS = {
    "flatten": flatten,
    "cut": cut,
    "cut_and_reduce": cut_and_reduce,
    "channel_shuffle": channel_shuffle,
    "by_factor": by_factor,
    "pixel_shuffle": pixel_shuffle,
    "space_to_depth": space_to_depth,
    "transpose": transpose,
    "reverse": reverse,
    "part": part,
    "halves": halves,
    "rotary": rotary,
    "pad": pad,
    "repeat": repeat,
    "join": join,
    "stack": stack,
    "unstack": unstack,
    "expand": expand,
    "outer": outer,
}
