"""Mixtures of experts, and other transformers that do more than attend."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from tests.network.zoo.entry import Entry, function, image, linen, linen_training, words
from tests.network.zoo.language import attend, heads_of, joined, rms

WIDTH, HEADS = 12, 2


def routed(x, layer):
    """Each token goes to the best two of four experts; all are computed, and two are weighed."""
    gates = jax.nn.softmax(x @ layer["router"])
    best, which = jax.lax.top_k(gates, 2)
    weights = (jax.nn.one_hot(which, gates.shape[-1]) * best[..., None]).sum(axis=-2)
    y = jax.nn.silu(jnp.einsum("nd,edf->nef", x, layer["up"]))
    return jnp.einsum("nef,efd,ne->nd", y, layer["down"], weights)


def ragged(x, layer):
    """Each token goes to its best expert; tokens are sorted by expert."""
    gates = jax.nn.softmax(x @ layer["router"])
    expert = jnp.argmax(gates, axis=-1)
    order = jnp.argsort(expert)
    sizes = jnp.bincount(expert, length=gates.shape[-1]).astype(jnp.int32)
    y = jax.nn.silu(jax.lax.ragged_dot(x[order], layer["up"], sizes))
    y = jax.lax.ragged_dot(y, layer["down"], sizes)[jnp.argsort(order)]
    return y * gates.max(axis=-1, keepdims=True)


def mixture(experts):
    def forward(variables, tokens):
        x = variables["embed"][tokens]
        for layer in variables["layers"]:
            y = rms(x, layer["norm1"])
            q, k, v = (heads_of(y @ layer[name]) for name in "qkv")
            x = x + joined(attend(q, k, v)) @ layer["o"]
            y = rms(x, layer["norm2"]).reshape(-1, WIDTH)
            x = x + experts(y, layer).reshape(x.shape)
        return rms(x, variables["norm"]) @ variables["head"]

    return forward


EXPERTS = {
    "embed": (11, WIDTH),
    "layers": [
        dict.fromkeys("qkvo", (WIDTH, WIDTH))
        | dict.fromkeys(("norm1", "norm2"), (WIDTH,))
        | {"router": (WIDTH, 4), "up": (4, WIDTH, 16), "down": (4, 16, WIDTH)}
        for _ in range(2)
    ],
    "norm": (WIDTH,),
    "head": (WIDTH, 11),
}


class Stochastic(nn.Module):
    """Stochastic depth and dropout in a transformer over vectors."""

    @nn.compact
    def __call__(self, x):
        def drop(x):
            x = nn.Dropout(0.1, deterministic=False)(x)
            return nn.Dropout(0.3, broadcast_dims=(1, 2), deterministic=False)(x)

        x = nn.Dense(WIDTH)(x)
        for _ in range(2):
            y = nn.MultiHeadDotProductAttention(
                HEADS, dropout_rate=0.1, deterministic=False, broadcast_dropout=False
            )(nn.LayerNorm()(x))
            x = x + drop(y)
            x = x + drop(nn.Dense(WIDTH)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x)))))
        return nn.Dense(4)(nn.LayerNorm()(x).mean(axis=1))


def named(variables, x):
    """A residual network that is computed again backwards but for what has a name."""

    def block(layer, x):
        y = checkpoint_name(jax.nn.gelu(rms(x, layer["norm"]) @ layer["up"]), "hidden")
        return x + checkpoint_name(y @ layer["down"], "branch")

    policy = jax.checkpoint_policies.save_only_these_names("hidden")
    x = checkpoint_name(x @ variables["first"], "stream")
    for layer in variables["layers"]:
        x = jax.checkpoint(block, policy=policy)(layer, x)
    return x @ variables["last"]


def printed(variables, x):
    """A residual network that is watched while it runs."""
    x = x @ variables["first"]
    for layer in variables["layers"]:
        y = jax.nn.gelu(rms(x, layer["norm"]) @ layer["up"])
        jax.debug.callback(lambda largest: None, jnp.abs(y).max())
        jax.debug.callback(lambda hidden: None, y)
        x = x + y @ layer["down"]
    return x @ variables["last"]


RESIDUAL = {
    "first": (5, WIDTH),
    "layers": [{"norm": (WIDTH,), "up": (WIDTH, 16), "down": (16, WIDTH)} for _ in range(2)],
    "last": (WIDTH, 3),
}


def cached(variables, x):
    """One step of decoding: keys and values of the new token are written into a cache."""
    tokens, position = x["tokens"], 3
    x = variables["embed"][tokens]
    for layer in variables["layers"]:
        y = rms(x, layer["norm1"])
        q, k, v = (heads_of(y @ layer[name]) for name in "qkv")
        past = jnp.zeros((len(x), 8, *k.shape[2:]))
        k, v = (jax.lax.dynamic_update_slice(past, t, (0, position, 0, 0)) for t in (k, v))
        bias = jnp.where(jnp.arange(8) < position + x.shape[1], 0.0, -1e9)
        x = x + joined(attend(q, k, v, bias=bias, causal=False)) @ layer["o"]
        y = rms(x, layer["norm2"])
        x = x + jax.nn.silu(y @ layer["up"]) @ layer["down"]
    return rms(x, variables["norm"]) @ variables["head"]


CACHED = EXPERTS | {
    "layers": [
        dict.fromkeys("qkvo", (WIDTH, WIDTH))
        | dict.fromkeys(("norm1", "norm2"), (WIDTH,))
        | {"up": (WIDTH, 16), "down": (16, WIDTH)}
        for _ in range(2)
    ]
}


class Slots(nn.Module):
    """Slot attention: slots compete for the input by a softmax over the slots."""

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.relu(nn.Dense(10)(x)))
        k, v, query = nn.Dense(8)(x), nn.Dense(8)(x), nn.Dense(8)
        update, wide, narrow = nn.GRUCell(8), nn.Dense(9), nn.Dense(8)
        start = self.param("slots", nn.initializers.normal(), (3, 8))
        slots = jnp.broadcast_to(start, (len(x), 3, 8))
        for _ in range(2):
            scores = jnp.einsum("bsd,bnd->bsn", query(slots), k) / np.float32(np.sqrt(8))
            weights = jax.nn.softmax(scores, axis=1)
            weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-6)
            slots, _ = update(slots, jnp.einsum("bsn,bnd->bsd", weights, v))
            slots = slots + narrow(nn.relu(wide(slots)))
        return nn.Dense(4)(slots)


TOKENS = words(2, 5, 11)


def entry(name, build, returned, kind="experts", **details):
    return Entry(name, kind, build, returned=returned, **details)


VECTORS = image(2, 6, 5)
ENTRIES = (
    entry(
        "experts_dense",
        lambda: function(mixture(routed), EXPERTS, TOKENS),
        11,
        reason="experts compete in a softmax",
    ),
    entry(
        "experts_ragged",
        lambda: function(mixture(ragged), EXPERTS, TOKENS),
        11,
        channels=WIDTH + 2 * (4 * WIDTH + 4 + 16 + WIDTH) + 11,
        reason="experts compete in a softmax",
    ),
    entry(
        "stochastic_depth",
        lambda: linen_training(Stochastic(), image(3, 5, 3), mutable=()),
        4,
        "transformer",
        training=True,
        slow=True,
    ),
    entry("checkpoint_names", lambda: function(named, RESIDUAL, VECTORS), 3, "transformer"),
    entry("debug_print", lambda: function(printed, RESIDUAL, VECTORS), 3, "transformer"),
    entry(
        "key_value_cache",
        lambda: function(cached, CACHED, {"tokens": words(2, 1, 11)}),
        11,
        "transformer",
    ),
    entry(
        "slot_attention",
        lambda: linen(Slots(), VECTORS),
        4,
        "transformer",
        reason="slots compete in a softmax",
    ),
)
