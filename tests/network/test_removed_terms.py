"""Sums that go on adding what the masked network adds where channels are gone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from prunejax import masks
from prunejax.network import trace
from tests.support.slicing_checks import check, randomise

SHAPES = {"a": (5, 12), "b": (12, 3), "t": (12,), "s": (4, 12)}
VARIABLES = randomise({name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in SHAPES.items()})
X = jax.random.normal(jax.random.key(0), (4, 5))
NWC = ("NWC", "WIO", "NWC")
TABLE = np.sin(np.arange(48.0, dtype=np.float32)).reshape(4, 12)


def normed(h):
    centred = h - h.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)


def grouped(h):
    h = h.reshape(len(h), 3, 4)
    centred = h - h.mean(-1, keepdims=True)
    return (centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)).reshape(len(h), 12)


CASES = {
    "norm_in_two_passes": lambda v, h: normed(h),
    "twice": lambda v, h: normed(normed(h) + h),
    "groups": lambda v, h: grouped(h),
    "a_table": lambda v, h: normed(h + TABLE),
    "a_table_made_inside": lambda v, h: normed(h + jnp.cos(jnp.arange(12.0)) * h.mean()),
    "softmax": lambda v, h: jax.nn.softmax(h + 1) * 12,
    "logsumexp": lambda v, h: h * jax.nn.logsumexp(h + TABLE, axis=-1, keepdims=True),
    "relu6": lambda v, h: h * jax.nn.relu6(h + 3).sum(-1, keepdims=True),
    "largest": lambda v, h: h - (h + TABLE - 2).max(-1, keepdims=True),
    "smallest": lambda v, h: h - (h * 2 + 1).min(-1, keepdims=True),
    "product": lambda v, h: h * (jnp.cos(h) + 1).prod(-1, keepdims=True) / 1e3,
    "product_of_matrices": lambda v, h: h + jnp.exp(h) @ TABLE.T @ TABLE,
    "both_sides": lambda v, h: h + (jnp.exp(h) @ jnp.cos(v["s"]).T) @ v["s"],
    "two_axes": lambda v, h: h * jnp.exp(h[:, :, None] + h[:, None, :]).sum((1, 2))[:, None] / 99,
    "turned": lambda v, h: h + jnp.exp(h)[:, ::-1].sum(-1, keepdims=True),
    "beside": lambda v, h: h + jnp.concatenate([jnp.exp(h), h + TABLE], -1).sum(-1, keepdims=True),
    "padded": lambda v, h: (
        h + jnp.pad(jnp.exp(h), ((0, 0), (1, 2)), constant_values=3).sum(-1)[:, None]
    ),
    "a_part": lambda v, h: h + jnp.exp(h)[:, 2:9].sum(-1, keepdims=True),
    "every_second": lambda v, h: h + jnp.exp(h)[:, 1::2].sum(-1, keepdims=True),
    "looked_up": lambda v, h: h + jnp.exp(h)[:, np.array([3, 1, 11, 3])].sum(-1, keepdims=True),
    "tiled": lambda v, h: h + jnp.tile(jnp.exp(h), (1, 2)).sum(-1, keepdims=True),
    "stacked": lambda v, h: h + jnp.stack([jnp.exp(h), jnp.cos(h)]).sum((0, 2))[:, None],
    "sorted_along_the_batch": lambda v, h: h + jnp.sort(jnp.exp(h) + TABLE, 0).sum(-1)[:, None],
    "running_sums": lambda v, h: h + jnp.cumsum(jnp.exp(h), 0).sum(-1, keepdims=True) / 9,
    "put_in_places": lambda v, h: h + jnp.exp(h).at[1].add(2.0).sum(-1, keepdims=True),
    "applied_in_places": lambda v, h: h + h.at[0].apply(jnp.cos).sum(-1, keepdims=True),
    "replaced": lambda v, h: (
        h + lax.dynamic_update_slice(jnp.exp(h), TABLE[:1], (1, 0)).sum(-1, keepdims=True)
    ),
    "windows_in_the_padding": lambda v, h: (
        h
        + jnp.exp(
            lax.reduce_window(h - 1, -jnp.inf, lax.max, (2, 1), (1, 1), ((2, 2), (0, 0)))
        ).sum()
    ),
    "chosen": lambda v, h: h + jnp.where(TABLE > 0, jnp.exp(h), 3).sum(-1, keepdims=True),
    "remembered": lambda v, h: (
        h + (jax.checkpoint(lambda h, t: h + jnp.sin(t))(h, v["t"] + 1) ** 2).sum(-1)[:, None]
    ),
    "a_function_of_jax": lambda v, h: h + jax.nn.silu(normed(h)).sum(-1, keepdims=True),
    "complex": lambda v, h: h + jnp.abs((jnp.exp(1j * h) + 1).sum(-1, keepdims=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_sliced_equals_masked(name):
    def forward(v, x):
        with jax.numpy_dtype_promotion("standard"):
            return CASES[name](v, x @ v["a"]) @ v["b"]

    slopes = name != "applied_in_places"  # JAX has no derivative for it
    plan = check(forward, VARIABLES, X, removes=0.1, gradients=slopes)
    assert plan.network.staying.share == 1


def test_a_reshape_that_permutes_first():
    """As a convolution with a kernel for each example becomes under `jax.vmap`."""

    def forward(v, x):
        h = normed((x @ v["a"]).reshape(-1, 3, 4))
        return lax.reshape(h, (len(x), 12), dimensions=(0, 2, 1)) @ v["b"]

    plan = check(forward, VARIABLES, X, removes=0.1, gradients=True)
    assert [group.width for group in plan.network.groups.values()] == [3, 4]


def test_a_kernel_for_each_example():
    def forward(v, x):
        def one(row, kernel):
            row = lax.conv_general_dilated(row[None], kernel, (1,), "SAME", dimension_numbers=NWC)
            return row[0].sum(0)

        return jax.vmap(one)(x @ v["w"], v["kernels"]) @ v["out"]

    shapes = {"w": (4, 8), "kernels": (2, 3, 8, 6), "out": (6, 3)}
    variables = randomise({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in shapes.items()})
    x = jax.random.normal(jax.random.key(0), (2, 5, 4))
    plan = check(forward, variables, x, removes=0.1, gradients=True)
    assert [group.width for group in plan.network.groups.values()] == [8, 6]


@pytest.mark.parametrize("kind", ["bool", "int8", "bfloat16"])
def test_of_each_type(kind):
    """Whole numbers wrap as XLA's sums do, and of truths it is asked whether there is any."""
    dtype = jnp.dtype(kind)

    def forward(v, x):
        whether = x @ v["a"] <= 0.5
        if kind == "bool":
            return lax.dot(whether, np.arange(900).reshape(300, 3) % 7 == 0)
        return lax.dot(whether.astype(dtype), jnp.ones((300, 2), dtype))

    variables = randomise({"a": jax.ShapeDtypeStruct((5, 300), jnp.float32)})
    network = trace(forward, variables, X)
    plan = network.plan({"a": np.arange(300) % 3 == 0})
    masked = masks.apply(variables, plan.masks(variables))
    ours, theirs = plan.apply_fn(plan.slice(variables), X), forward(masked, X)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(np.asarray(ours, np.float32), np.asarray(theirs, np.float32))


def test_inputs_of_another_structure_are_another_program():
    def forward(v, x):
        first, second = x
        h = jnp.cos(second @ v["a"]) if first is None else first @ v["a"]
        return h @ v["b"]

    network = trace(forward, VARIABLES, (X, None))
    plan = network.plan({"a": np.arange(12) < 5})
    masked, small = masks.apply(VARIABLES, plan.masks(VARIABLES)), plan.slice(VARIABLES)
    for x in ((X, None), (None, X)):
        np.testing.assert_allclose(plan.apply_fn(small, x), forward(masked, x), rtol=1e-5)
