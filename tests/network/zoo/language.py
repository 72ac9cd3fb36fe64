"""Language models, each with the attention, the positions and the norms of its paper."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.network.zoo.entry import Entry, function, linen, linen_training, words

VOCABULARY = 11
HEADS, HEAD = 2, 6
WIDTH = HEADS * HEAD
TOKENS = words(2, 5, VOCABULARY)


def attend(q, k, v, bias=0.0, causal=True):
    """Attention over [batch, positions, heads, width]."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]).astype(np.float32) + bias
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -1e9)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


def heads_of(x, heads=HEADS):
    return x.reshape(*x.shape[:-1], heads, -1)


def joined(x):
    return x.reshape(*x.shape[:-2], -1)


def rms(x, scale=1.0):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale


def sinusoids(length, width):
    """Positions as the original transformer makes them."""
    angles = jnp.arange(length)[:, None] / 10000 ** (jnp.arange(0, width, 2) / width)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Original(nn.Module):
    """Norms after the branches; positions are made inside; input and output share their words."""

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(VOCABULARY, WIDTH)
        x = embed(tokens) * np.float32(np.sqrt(WIDTH)) + sinusoids(tokens.shape[1], WIDTH)
        for _ in range(2):
            x = nn.LayerNorm()(x + nn.MultiHeadDotProductAttention(HEADS)(x))
            x = nn.LayerNorm()(x + nn.Dense(WIDTH)(nn.relu(nn.Dense(20)(x))))
        return embed.attend(x)


class BERT(nn.Module):
    """Three embeddings, a pooler, and dropout in training."""

    train: bool = False

    @nn.compact
    def __call__(self, tokens):
        drop = nn.Dropout(0.1, deterministic=not self.train)
        positions = jnp.arange(tokens.shape[1])[None]
        x = nn.Embed(VOCABULARY, WIDTH)(tokens) + nn.Embed(8, WIDTH)(positions)
        x = drop(nn.LayerNorm()(x + nn.Embed(2, WIDTH)(jnp.zeros_like(tokens))))
        for _ in range(2):
            q, k, v = (nn.DenseGeneral((HEADS, HEAD))(x) for _ in range(3))
            y = nn.DenseGeneral(WIDTH, axis=(-2, -1))(attend(q, k, v, causal=False))
            x = nn.LayerNorm()(x + drop(y))
            y = nn.Dense(WIDTH)(nn.gelu(nn.Dense(20)(x), approximate=False))
            x = nn.LayerNorm()(x + drop(y))
        return nn.Dense(3)(drop(nn.tanh(nn.Dense(WIDTH)(x[:, 0]))))


class GPT2(nn.Module):
    """One projection for queries, keys and values, cut in three."""

    train: bool = False

    @nn.compact
    def __call__(self, tokens):
        drop = nn.Dropout(0.1, deterministic=not self.train)
        embed = nn.Embed(VOCABULARY, WIDTH)
        positions = self.param("positions", nn.initializers.normal(), (8, WIDTH))
        x = drop(embed(tokens) + positions[: tokens.shape[1]])
        for _ in range(2):
            fused = nn.Dense(3 * WIDTH)(nn.LayerNorm()(x))
            q, k, v = map(heads_of, jnp.split(fused, 3, axis=-1))
            x = x + drop(nn.Dense(WIDTH)(joined(attend(q, k, v))))
            y = nn.gelu(nn.Dense(20)(nn.LayerNorm()(x)))
            x = x + drop(nn.Dense(WIDTH)(y))
        return embed.attend(nn.LayerNorm()(x))


def rotated_pairs(x):
    """Rotary positions of RoFormer and GPT-J: neighbours turn together."""
    angles = jnp.arange(x.shape[1])[:, None] / 10000 ** (jnp.arange(0, HEAD, 2) / HEAD)
    angles = jnp.repeat(angles, 2, axis=-1)[:, None]
    turned = jnp.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
    return x * jnp.cos(angles) + turned * jnp.sin(angles)


class GPTJ(nn.Module):
    """Attention beside the feed-forward branch."""

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(VOCABULARY, WIDTH)(tokens)
        for _ in range(2):
            y = nn.LayerNorm()(x)
            q, k, v = (heads_of(nn.Dense(WIDTH, use_bias=False)(y)) for _ in range(3))
            attended = joined(attend(rotated_pairs(q), rotated_pairs(k), v))
            attended = nn.Dense(WIDTH, use_bias=False)(attended)
            x = x + attended + nn.Dense(WIDTH)(nn.gelu(nn.Dense(20)(y)))
        return nn.Dense(VOCABULARY)(nn.LayerNorm()(x))


def rotated_halves(x):
    """Rotary positions of Llama and Gemma: the halves of a head turn together."""
    half = x.shape[-1] // 2
    angles = jnp.arange(x.shape[1])[:, None, None] / 10000 ** (jnp.arange(half) / half)
    first, second = jnp.split(x, 2, axis=-1)
    sine, cosine = jnp.sin(angles), jnp.cos(angles)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.concatenate(turned, axis=-1)


def llama(variables, tokens):
    """Grouped queries: four heads share two keys and values."""
    x = variables["embed"][tokens]
    for layer in variables["layers"]:
        y = rms(x, layer["norm1"])
        q = rotated_halves(heads_of(y @ layer["q"], 4))
        k, v = rotated_halves(heads_of(y @ layer["k"])), heads_of(y @ layer["v"])
        k, v = (jnp.repeat(t, 2, axis=2) for t in (k, v))
        x = x + joined(attend(q, k, v)) @ layer["o"]
        y = rms(x, layer["norm2"])
        x = x + (jax.nn.silu(y @ layer["gate"]) * (y @ layer["up"])) @ layer["down"]
    return rms(x, variables["norm"]) @ variables["head"]


LLAMA_LAYER = {
    "norm1": (WIDTH,),
    "q": (WIDTH, 4 * HEAD),
    "k": (WIDTH, 2 * HEAD),
    "v": (WIDTH, 2 * HEAD),
    "o": (4 * HEAD, WIDTH),
    "norm2": (WIDTH,),
    "gate": (WIDTH, 16),
    "up": (WIDTH, 16),
    "down": (16, WIDTH),
}
LLAMA = {
    "embed": (VOCABULARY, WIDTH),
    "layers": [LLAMA_LAYER, LLAMA_LAYER],
    "norm": (WIDTH,),
    "head": (WIDTH, VOCABULARY),
}


def gemma(variables, tokens):
    """Multi-query attention, scales of one more, capped scores and logits, shared words."""

    def cap(x):
        return jnp.tanh(x / 30) * 30

    x = variables["embed"][tokens] * np.float32(np.sqrt(WIDTH))
    causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    for layer in variables["layers"]:
        y = rms(x, 1 + layer["norm1"])
        q = rotated_halves(jnp.einsum("btd,ndh->btnh", y, layer["q"]))
        k, v = jnp.einsum("btd,cndh->cbtnh", y, layer["kv"])
        k = rotated_halves(k)
        batch, length, heads, width = q.shape
        q = q.reshape(batch, length, k.shape[2], heads // k.shape[2], width)
        scores = cap(jnp.einsum("btkgh,bskh->btkgs", q * width**-0.5, k))
        weights = jax.nn.softmax(jnp.where(causal[:, None, None, :], scores, -2e38))
        y = jnp.einsum("btkgs,bskh->btkgh", weights, v).reshape(batch, length, heads, width)
        y = jnp.einsum("btnh,nhd->btd", y, layer["o"])
        x = x + rms(y, 1 + layer["after1"])
        gate, up = jnp.einsum("btd,cdf->cbtf", rms(x, 1 + layer["norm2"]), layer["gating"])
        x = x + rms((jax.nn.gelu(gate) * up) @ layer["down"], 1 + layer["after2"])
    return cap(rms(x, 1 + variables["norm"]) @ variables["embed"].T)


GEMMA_LAYER = {
    **dict.fromkeys(("norm1", "norm2", "after1", "after2"), (WIDTH,)),
    "q": (4, WIDTH, HEAD),
    "kv": (2, 2, WIDTH, HEAD),
    "o": (4, HEAD, WIDTH),
    "gating": (2, WIDTH, 16),
    "down": (16, WIDTH),
}
GEMMA = {"embed": (VOCABULARY, WIDTH), "layers": [GEMMA_LAYER, GEMMA_LAYER], "norm": (WIDTH,)}


def bucket(distance, buckets=8, furthest=16):
    """T5's buckets of relative positions: half of them exact, the rest in powers."""
    distance = jnp.maximum(-distance, 0)
    exact = buckets // 2
    ratio = jnp.log(distance.astype(jnp.float32) / exact + 1e-6) / np.log(furthest / exact)
    far = jnp.minimum(exact + (ratio * (buckets - exact)).astype(jnp.int32), buckets - 1)
    return jnp.where(distance < exact, distance, far)


class T5(nn.Module):
    """An encoder and a decoder with relative positions, made once for all layers."""

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(VOCABULARY, WIDTH)
        norm = functools.partial(nn.RMSNorm, epsilon=1e-6)
        dense = functools.partial(nn.Dense, use_bias=False)
        steps = jnp.arange(tokens.shape[1])
        where = bucket(steps[None, :] - steps[:, None])

        def attention(x, y, **settings):
            q, k, v = (heads_of(dense(WIDTH)(t)) for t in (x, y, y))
            return dense(WIDTH)(joined(attend(q * np.float32(np.sqrt(HEAD)), k, v, **settings)))

        def stack(x, memory):
            table = self.param(f"bias{memory is None}", nn.initializers.normal(), (8, HEADS))
            bias = table[where].transpose(2, 0, 1)
            for _ in range(2):
                y = norm()(x)
                x = x + attention(y, y, bias=bias, causal=memory is not None)
                if memory is not None:
                    x = x + attention(norm()(x), memory, causal=False)
                y = norm()(x)
                x = x + dense(WIDTH)(nn.gelu(dense(16)(y)) * dense(16)(y))
            return norm()(x)

        x = embed(tokens)
        x = stack(x, stack(x, None))
        return embed.attend(x * np.float32(WIDTH**-0.5))


def entry(name, module, returned=VOCABULARY, **details):
    return Entry(name, "language", lambda: linen(module, TOKENS), returned=returned, **details)


def training(name, module, returned):
    def build():
        return linen_training(module, TOKENS, mutable=())

    return Entry(name, "language", build, returned=returned, training=True)


ENTRIES = (
    entry("transformer", Original()),
    entry("bert", BERT(), 3),
    training("bert_training", BERT(train=True), 3),
    entry("gpt2", GPT2()),
    training("gpt2_training", GPT2(train=True), VOCABULARY),
    entry("gptj", GPTJ()),
    Entry("llama", "language", lambda: function(llama, LLAMA, TOKENS), returned=VOCABULARY),
    Entry(
        "gemma",
        "language",
        lambda: function(gemma, GEMMA, TOKENS),
        returned=VOCABULARY,
        reason="keys and values, gate and unit, are told apart by an axis of two",
    ),
    entry("t5", T5(), slow=True),
)
