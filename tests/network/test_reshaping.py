"""Dense layers whose units become an image: channels first or last, whatever reads it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.support.slicing_checks import check, randomise

LAST = ("NHWC", "HWIO", "NHWC")


def conv(h, kernel, last=False, **settings):
    if last:
        kernel, settings = kernel.transpose(2, 3, 1, 0), {**settings, "dimension_numbers": LAST}
    return lax.conv_general_dilated(h, kernel, (1, 1), "SAME", **settings)


def dense(v, x):
    return jax.nn.relu(x @ v["fc"] + v["bias"])


def channels_first(v, x):
    return conv(dense(v, x).reshape(-1, 6, 2, 2), v["conv"])


def channels_last(v, x):
    return conv(dense(v, x).reshape(-1, 2, 2, 6), v["conv"], last=True)


def turned(v, x):
    return conv(dense(v, x).reshape(-1, 6, 2, 2).transpose(0, 2, 3, 1), v["conv"], last=True)


def normalised(v, x):
    h = dense(v, x).reshape(-1, 6, 2, 2)
    h = jax.nn.relu(h * v["scale"][:, None, None] + v["shift"][:, None, None])
    return conv(h, v["conv"])


def enlarged(v, x):
    h = dense(v, x).reshape(-1, 6, 2, 2)
    h = jnp.repeat(jnp.repeat(h, 2, axis=2), 2, axis=3)
    return conv(h, v["conv"])


def transposed(v, x):
    h = dense(v, x).reshape(-1, 6, 2, 2)
    return lax.conv_general_dilated(h, v["conv"], (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2))


def two_branches(v, x):
    first = dense(v, x).reshape(-1, 6, 2, 2)
    second = jax.nn.silu(x @ v["other"]).reshape(-1, 6, 2, 2)
    return conv(first + second, v["conv"])


def padded_and_pooled(v, x):
    h = jnp.pad(dense(v, x).reshape(-1, 6, 2, 2), ((0, 0), (0, 0), (1, 1), (1, 1)))
    h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return conv(h, v["conv"])


NETWORKS = [
    channels_first,
    channels_last,
    turned,
    normalised,
    enlarged,
    transposed,
    two_branches,
    padded_and_pooled,
]
SHAPES = {
    "fc": (5, 24),
    "bias": (24,),
    "other": (5, 24),
    "scale": (6,),
    "shift": (6,),
    "conv": (3, 6, 3, 3),
}


@pytest.mark.parametrize("forward", NETWORKS)
def test_its_channels_are_those_of_the_image(forward):
    variables = randomise({k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in SHAPES.items()})
    x = jax.random.normal(jax.random.key(1), (2, 5))
    plan = check(forward, variables, x, removes=0.1, other_batch=jnp.concatenate([x, x + 1]))
    (group,) = plan.network.groups.values()
    assert group.width == 6
    member = next(each for each in group.members if each.path == "fc")
    last = forward in (channels_last,)
    for channel, indices in enumerate(member.indices.tolist()):
        wanted = range(channel, 24, 6) if last else range(4 * channel, 4 * channel + 4)
        assert indices == list(wanted)


def test_heads_and_the_places_in_them_are_groups_of_their_own():
    def forward(v, x):
        q, k = (jnp.reshape(x @ v[n], (2, 4, 3, 5)) for n in ("q", "k"))
        weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        return weights.sum(axis=1) @ x

    shapes = {"q": (6, 15), "k": (6, 15)}
    variables = randomise({k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()})
    plan = check(forward, variables, jax.random.normal(jax.random.key(1), (2, 4, 6)), removes=0.2)
    heads, places = plan.network.groups.values()
    assert (heads.width, places.width) == (3, 5)
    for member in heads.members:
        assert member.indices.tolist() == np.arange(15).reshape(3, 5).tolist()
    for member in places.members:
        assert member.indices.tolist() == np.arange(15).reshape(3, 5).T.tolist()
