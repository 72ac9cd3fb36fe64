"""Steps that loop, choose, or work on several rows at once."""

from typing import Any

import jax
import jax.numpy as jnp

from tests.support.random_steps.building import WIDTHS, Build, pick

FORWARD_ONLY = frozenset(("loop_until", "loop_traced"))


def rnn(build: Build, h: Any, i: int, j: int) -> Any:
    """Over positions, from zeros, from a parameter or from numbers."""
    if h.ndim != 3:
        return None
    width = pick(WIDTHS, i)
    read, again = build.param(h.shape[-1], width), build.param(width, width)
    start = jnp.zeros((len(h), width), h.dtype)
    if j % 3 == 1:
        start = start + build.param(width)
    elif j % 3 == 2:
        start = start + 0.5

    def step(carry: Any, row: Any) -> Any:
        carry = jnp.tanh(row @ read + carry @ again)
        return carry, carry if j % 2 else carry * 2

    last, rows = jax.lax.scan(step, start, h.swapaxes(0, 1), reverse=j % 4 == 3)
    return last if i % 2 else rows.swapaxes(0, 1)


def gru(build: Build, h: Any, i: int, j: int) -> Any:
    """Gates; the kernels of all gates in one, or apart."""
    if h.ndim != 3:
        return None
    width = pick((3, 4, 6), i)
    if j % 2:
        read, again = build.param(h.shape[-1], 3 * width), build.param(width, 3 * width)
    else:
        read, again = (
            jnp.concatenate([build.param(size, width) for _ in range(3)], 1)
            for size in (h.shape[-1], width)
        )

    def step(carry: Any, row: Any) -> Any:
        r, z, n = jnp.split(row @ read, 3, -1)
        r_, z_, n_ = jnp.split(carry @ again, 3, -1)
        z = jax.nn.sigmoid(z + z_)
        carry = (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + r_) * n_) + z * carry
        return carry, carry

    start = jnp.zeros((len(h), width), h.dtype)
    return jax.lax.scan(step, start, h.swapaxes(0, 1))[1].swapaxes(0, 1)


def layers(build: Build, h: Any, i: int, j: int) -> Any:
    """The same layer several times, its parameters stacked."""
    width, hidden = h.shape[-1], pick((3, 4, 6), i)
    up, down = build.param(2, width, hidden), build.param(2, hidden, width)
    biases = build.param(2, hidden) if j % 2 else jnp.zeros((2, hidden), h.dtype)

    def layer(carry: Any, kernels: Any) -> Any:
        up, down, bias = kernels
        carry = carry + jax.nn.relu(carry @ up + bias) @ down
        return carry, carry.sum(-1) if j % 3 == 0 else None

    body = jax.checkpoint(layer) if j % 4 == 3 else layer
    carry, sums = jax.lax.scan(body, h, (up, down, biases), unroll=1 + j % 2)
    return carry if sums is None else [carry, sums.mean(0)]


def loop(build: Build, h: Any, i: int, j: int) -> Any:
    """A number of times that is known; constants and the counter are used inside."""
    kernel = build.param(h.shape[-1], h.shape[-1])
    other = build.other(h, i)
    table = build.table((h.shape[-1],), j)

    def body(index: Any, carry: Any) -> Any:
        match j % 4:
            case 0:
                return jnp.tanh(carry @ kernel + other)
            case 1:
                return carry * 0.5 + other * table
            case 2:
                return jnp.tanh(carry + index.astype(h.dtype))
            case _:
                return jnp.roll(carry, 1, -1 if i % 2 else 1) * 0.9

    return jax.lax.fori_loop(0, 2, body, h)


def two_carries(build: Build, h: Any, i: int, j: int) -> Any:
    """Carries that swap, or feed each other, from one trip to the next."""
    kernel = build.param(h.shape[-1], h.shape[-1])

    def body(carry: Any, row: Any) -> Any:
        first, second, count = carry
        if j % 2:
            first, second = second, jnp.tanh(first)
        else:
            first, second = jnp.sin(first + second) * row, second @ kernel
        return (first, second, count + 1), first * count.astype(h.dtype)

    start = (h, build.other(h, i), jnp.int32(0))
    (first, second, _), rows = jax.lax.scan(body, start, build.table((3,), i))
    return [first + second, rows.sum(0)]


def loop_until(build: Build, h: Any, i: int, j: int) -> Any:
    """While a number that the carry gives is large; its test may read all channels."""
    kernel = build.param(h.shape[-1], h.shape[-1])

    def goes_on(carry: Any) -> Any:
        count, value = carry
        return (count < 3) & ((jnp.abs(value).sum() > 0.5) if j % 2 else True)

    def body(carry: Any) -> Any:
        count, value = carry
        return count + 1, jnp.tanh(value @ kernel) if i % 2 else jnp.cos(value)

    return jax.lax.while_loop(goes_on, body, (0, h))[1]


def loop_traced(build: Build, h: Any, i: int, j: int) -> Any:
    """A number of times that the input decides."""
    count = 1 + build.scalar().astype(jnp.int32) % 3
    other = build.other(h, i)
    return jax.lax.fori_loop(0, count, lambda _, carry: jnp.tanh(carry + other) * 1.1, h)


def each_row(build: Build, h: Any, i: int, j: int) -> Any:
    """One row after the other."""
    kernel = build.param(h.shape[-1], pick(WIDTHS, i))
    return jax.lax.map(lambda row: jax.nn.relu(row @ kernel), h, batch_size=pick((None, 1), j))


def nested(build: Build, h: Any, i: int, j: int) -> Any:
    kernel = build.param(2, h.shape[-1], h.shape[-1])

    def outer(carry: Any, kernel: Any) -> Any:
        def inner(carry: Any, factor: Any) -> Any:
            return jnp.tanh(carry @ kernel) * factor + h, None

        return jax.lax.scan(inner, carry, build.table((2,), i))[0], None

    return jax.lax.scan(outer, jnp.cos(h) if j % 2 else h, kernel)[0]


def choose(build: Build, h: Any, i: int, j: int) -> Any:
    """One of several branches, by a number that the input decides."""
    kernel, other = build.param(h.shape[-1], h.shape[-1]), build.other(h, j)
    branches = [
        lambda a, b: jax.nn.relu(a @ kernel),
        lambda a, b: a + b,
        lambda a, b: jnp.zeros_like(a),
        lambda a, b: jnp.cos(b),
        lambda a, b: b * build.table((a.shape[-1],), i),
        lambda a, b: jnp.roll(a, 1, -1),
    ]
    first, second = pick(branches, i), pick(branches, i + 1 + j % 5)
    if j % 2:
        return jax.lax.cond(build.scalar() > 0, first, second, h, other)
    index = build.scalar().astype(jnp.int32) % 3
    return jax.lax.switch(index, [first, second, branches[1]], h, other)


def _greatest(value: Any, name: str) -> Any:
    return jax.lax.pmax(jax.lax.stop_gradient(value), name)  # JAX does not differentiate it


def batched(build: Build, h: Any, i: int, j: int) -> Any:
    """Means over an axis that is mapped over, with its name."""
    reduce = pick((jax.lax.pmean, jax.lax.psum, _greatest), j)
    axis = 0 if i % 3 else h.ndim - 1

    def row(value: Any) -> Any:
        return jnp.tanh(value - reduce(value, "rows"))

    return jax.vmap(row, axis, axis, axis_name="rows")(h)


STEPS = {
    "rnn": rnn,
    "gru": gru,
    "layers": layers,
    "loop": loop,
    "two_carries": two_carries,
    "loop_until": loop_until,
    "loop_traced": loop_traced,
    "each_row": each_row,
    "nested": nested,
    "choose": choose,
    "batched": batched,
}
