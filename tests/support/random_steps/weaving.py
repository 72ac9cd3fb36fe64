"""Steps that read and write at places that are given: gathers, scatters, slices that move."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.support.random_steps.building import WIDTHS, Build, pick


def _places(build: Build, count: int, size: int, number: int) -> np.ndarray:
    return (build.table((count,), number) * 997).astype(np.int32) % size


def embedding(build: Build, h: Any, i: int, j: int) -> Any:
    """Rows of a table, looked up by whole numbers that the input gives."""
    tokens = (jnp.abs(build.pool[0].astype(h.dtype)) * 5).astype(jnp.int32) % 5
    tokens = tokens.reshape(len(tokens), -1)[:, :6]
    table = build.param(5, pick(WIDTHS, i))
    match j % 3:
        case 0:
            return jnp.asarray(table)[tokens]
        case 1:
            return jnp.take(table, tokens, axis=0)
        case _:
            return jax.nn.one_hot(tokens, 5, dtype=h.dtype) @ table


def take(build: Build, h: Any, i: int, j: int) -> Any:
    """Places along positions or channels, that are constant or come from the input."""
    axis = h.ndim - 1 if i % 3 == 0 else 1
    size = h.shape[axis]
    match j % 5:
        case 0:
            return jnp.take(h, _places(build, 3, size, i), axis)
        case 1:
            return jnp.take(h, np.random.default_rng(i).permutation(size), axis)
        case 2:
            return jnp.take(h, jnp.argsort(h.sum([a for a in range(h.ndim) if a != axis])), axis)
        case 3:
            ones = jnp.argmax(h, axis=axis, keepdims=True)
            return jnp.take_along_axis(h, ones, axis)
        case _:
            chosen = jax.vmap(lambda row, place: row[place])(
                h, jnp.asarray(_places(build, len(h), h.shape[1], i))
            )
            return chosen if h.ndim > 2 else None


def take_outside(build: Build, h: Any, i: int, j: int) -> Any:
    """Some places lie outside, where another number stands."""
    places = np.array([0, h.shape[1] + 3], np.int32)
    return h.at[:, places].get(mode="fill", fill_value=pick((0.0, 1.0), i)) + 1


def write(build: Build, h: Any, i: int, j: int) -> Any:
    """``.at[...]`` along positions or channels, with numbers, parameters or other values."""
    axis = h.ndim - 1 if i % 3 == 0 else 1
    places = np.unique(_places(build, 2, h.shape[axis], i))
    where = (slice(None),) * axis + (places,)
    reference = h.at[where]
    fresh = jnp.moveaxis(build.other(h, i), axis, 0)[: len(places)]
    news = pick((jnp.asarray(0.0, h.dtype), jnp.asarray(2.0, h.dtype), None, None), i)
    news = jnp.moveaxis(fresh, 0, axis) if news is None else news
    match j % 5:
        case 0 | 1:
            return reference.set(news)
        case 2:
            return reference.add(news)
        case 3:
            return reference.max(news)
        case _:
            return reference.multiply(news, unique_indices=True)


def segments(build: Build, h: Any, i: int, j: int) -> Any:
    """Messages along the links of a graph whose nodes are positions or rows."""
    nodes = h.shape[1] if h.ndim > 2 else len(h)
    source, target = _places(build, 5, nodes, i), _places(build, 5, nodes, i + 1)
    rows = jnp.moveaxis(h, 1, 0) if h.ndim > 2 else h
    function = pick((jax.ops.segment_sum, jax.ops.segment_max), j // 2)
    mixed = function(rows[source], target, nodes)
    mixed = jnp.where(jnp.isfinite(mixed), mixed, 0)
    mixed = jnp.moveaxis(mixed, 0, 1) if h.ndim > 2 else mixed
    return mixed if j % 2 else jnp.tanh(mixed) + h


def moving_slice(build: Build, h: Any, i: int, j: int) -> Any:
    """From a place that the input decides."""
    axis = h.ndim - 1 if i % 3 == 0 else 1
    start = build.scalar().astype(jnp.int32) % 2
    return jax.lax.dynamic_slice_in_dim(h, start, max(1, h.shape[axis] - 1), axis)


def moving_write(build: Build, h: Any, i: int, j: int) -> Any:
    """A cache, of zeros, of ones or of another value, into which a part is written."""
    axis = h.ndim - 1 if i % 3 == 0 else 1
    shape = list(h.shape)
    shape[axis] += 1
    cache = pick((jnp.zeros, jnp.ones), j)(shape, h.dtype)
    start = pick((1, build.scalar().astype(jnp.int32) % 2), i)
    if j % 3 == 2:
        cache, h = build.other(h, j), jax.lax.slice_in_dim(h, 0, 1, axis=axis)
    return jax.lax.dynamic_update_slice_in_dim(cache, h, start, axis)


def scatter_rows(build: Build, h: Any, i: int, j: int) -> Any:
    """Into zeros, at places that the input decides."""
    if h.ndim != 3:
        return None
    places = jnp.argsort(build.pool[0].reshape(len(h), -1)[:, : h.shape[1]], 1)
    if places.shape[1] < h.shape[1]:
        return None
    start = jnp.zeros_like(h)
    return jax.vmap(lambda cache, place, row: cache.at[place].add(row))(start, places, h)


STEPS = {
    "embedding": embedding,
    "take": take,
    "take_outside": take_outside,
    "write": write,
    "segments": segments,
    "moving_slice": moving_slice,
    "moving_write": moving_write,
    "scatter_rows": scatter_rows,
}
