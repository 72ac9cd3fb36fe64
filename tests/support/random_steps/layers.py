"""Steps that multiply by kernels: dense layers, convolutions, products of several values."""

from typing import Any

import jax
import jax.numpy as jnp

from tests.support.random_steps.building import WIDTHS, Build, factors, pick

# ------------------------------------------------------------------ dense


def dense(build: Build, h: Any, i: int, j: int) -> Any:
    made = h @ build.param(h.shape[-1], pick(WIDTHS, i))
    return made + build.param(made.shape[-1]) if j % 2 else made


def dense_relu(build: Build, h: Any, i: int, j: int) -> Any:
    return jax.nn.relu(dense(build, h, i, j))


def residual(build: Build, h: Any, i: int, j: int) -> Any:
    hidden = pick((jax.nn.relu, jax.nn.gelu, jnp.tanh), j)(dense(build, h, i, j))
    return h + hidden @ build.param(hidden.shape[-1], h.shape[-1])


def gated(build: Build, h: Any, i: int, j: int) -> Any:
    width = pick(WIDTHS, i)
    if j % 2:  # one kernel for both halves
        gate, up = jnp.split(h @ build.param(h.shape[-1], 2 * width), 2, -1)
    else:
        gate, up = h @ build.param(h.shape[-1], width), h @ build.param(h.shape[-1], width)
    return pick((jax.nn.silu, jax.nn.sigmoid, jax.nn.gelu), j)(gate) * up


def dense_first(build: Build, h: Any, i: int, j: int) -> Any:
    """Channels are the second axis."""
    made = jnp.einsum("oc,bc...->bo...", build.param(pick(WIDTHS, i), h.shape[1]), h)
    bias = build.param(made.shape[1]).reshape(-1, *[1] * (h.ndim - 2))
    return made + bias if j % 2 else made


def shared(build: Build, h: Any, i: int, j: int) -> Any:
    """A square kernel that all layers of this width use; sometimes transposed."""
    kernel = build.param(h.shape[-1], h.shape[-1], shared=True)
    return jnp.tanh(h @ (kernel.T if j % 2 else kernel))


def tied(build: Build, h: Any, i: int, j: int) -> Any:
    """The decoder is the encoder's transpose."""
    kernel = build.param(h.shape[-1], pick(WIDTHS, i))
    return jnp.tanh(h @ kernel) @ kernel.T


def made_kernel(build: Build, h: Any, i: int, j: int) -> Any:
    """A kernel that is computed from parameters."""
    width, read = pick(WIDTHS, i), h.shape[-1]
    match j % 8:
        case 0:
            kernel = jnp.tanh(build.param(read, width))
        case 1:
            kernel = jnp.concatenate([build.param(read, width), build.param(read, width)], 1)
        case 2:
            kernel = build.param(3, read, width)[i % 3]
        case 3:
            kernel = build.param(read, 2) @ build.param(2, width) + build.param(read, width)
        case 4:
            kernel = build.param(read * width).reshape(read, width)
        case 5:
            kernel = build.param(width, read)[::-1].T
        case 6:
            kernel = build.param(read, width) * build.table((read, width))
        case _:
            kernel = jnp.kron(build.param(read, 2), build.table((1, width // 2), 1) + 0.5)
    return h @ kernel


# ------------------------------------------------------------------ heads


def to_heads(build: Build, h: Any, i: int, j: int) -> Any:
    heads, width = pick((2, 3, 4), i), pick((2, 3, 4), j)
    return jnp.einsum("...d,dhk->...hk", h, build.param(h.shape[-1], heads, width))


def from_heads(build: Build, h: Any, i: int, j: int) -> Any:
    if h.ndim < 3:
        return None
    return jnp.einsum("...hk,hkd->...d", h, build.param(*h.shape[-2:], pick(WIDTHS, i)))


def by_head(build: Build, h: Any, i: int, j: int) -> Any:
    if h.ndim < 3:
        return None
    return jnp.einsum("...hk,hkm->...hm", h, build.param(*h.shape[-2:], pick(WIDTHS, i)))


def product(build: Build, h: Any, i: int, j: int) -> Any:
    """Products of two values that the input decides."""
    other = build.other(h, i)
    if h.ndim != 3:
        return h * other
    form = ("bpc,bqc->bpq", "bpc,bpd->bcd", "bpc,bpd->bdc", "bpc,bqc->bpc", "bpc,bpc->bp")
    return jnp.einsum(pick(form, j), h, other)


def ragged(build: Build, h: Any, i: int, j: int) -> Any:
    """A mixture of experts: rows in order of their expert."""
    rows = h.reshape(-1, h.shape[-1])
    first = len(rows) // 2
    sizes = jnp.array([first, len(rows) - first], jnp.int32)
    kernels = build.param(2, h.shape[-1], pick(WIDTHS, i))
    return jax.lax.ragged_dot(rows, kernels, sizes).reshape(*h.shape[:-1], -1)


# ------------------------------------------------------------------ convolutions


def convolution(build: Build, h: Any, i: int, j: int) -> Any:
    return _convolve(build, h, pick(WIDTHS, i), 1, j, first=False)


def convolution_first(build: Build, h: Any, i: int, j: int) -> Any:
    return _convolve(build, h, pick(WIDTHS, i), 1, j, first=True)


def grouped(build: Build, h: Any, i: int, j: int) -> Any:
    width = h.shape[1] if j % 2 else h.shape[-1]
    groups = [a for a, _ in factors(width)]
    if not groups:
        return None
    count = pick(groups, i)
    return _convolve(build, h, count * pick((2, 1, 3), i), count, j // 2, first=j % 2 == 1)


def depthwise(build: Build, h: Any, i: int, j: int) -> Any:
    width = h.shape[1] if j % 2 else h.shape[-1]
    return _convolve(build, h, width * pick((1, 2), i), width, j // 2, first=j % 2 == 1)


def transposed(build: Build, h: Any, i: int, j: int) -> Any:
    if h.ndim < 3:
        return None
    spatial = h.ndim - 2
    letters = "HW"[:spatial]
    kernel = build.param(*[2] * spatial, h.shape[-1], pick(WIDTHS, i))
    return jax.lax.conv_transpose(
        h,
        kernel,
        (2,) * spatial,
        pick(("SAME", "VALID"), j),
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )


def _convolve(build: Build, h: Any, out: int, groups: int, j: int, *, first: bool) -> Any:
    if h.ndim < 3:
        return None
    spatial = h.ndim - 2
    letters = "HW"[:spatial]
    read = h.shape[1] if first else h.shape[-1]
    window = [min(size, 2 + j % 2) for size in (h.shape[2:] if first else h.shape[1:-1])]
    if first:
        numbers = (f"NC{letters}", f"OI{letters}", f"NC{letters}")
        kernel = build.param(out, read // groups, *window)
    else:
        numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        kernel = build.param(*window, read // groups, out)
    stride, dilation = pick(((1, 1), (2, 1), (1, 2)), j // 2)
    return jax.lax.conv_general_dilated(
        h,
        kernel,
        (stride,) * spatial,
        "SAME",
        rhs_dilation=(dilation,) * spatial,
        dimension_numbers=numbers,
        feature_group_count=groups,
    )


STEPS = {
    "dense": dense,
    "dense_relu": dense_relu,
    "residual": residual,
    "gated": gated,
    "dense_first": dense_first,
    "shared": shared,
    "tied": tied,
    "made_kernel": made_kernel,
    "to_heads": to_heads,
    "from_heads": from_heads,
    "by_head": by_head,
    "product": product,
    "ragged": ragged,
    "convolution": convolution,
    "convolution_first": convolution_first,
    "grouped": grouped,
    "depthwise": depthwise,
    "transposed": transposed,
}
