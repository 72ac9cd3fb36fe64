"""Transformers of images and sounds, and what came of them without attention."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from tests.network.zoo.entry import Entry, equinox, image, linen, nnx_module, words
from tests.network.zoo.language import attend, heads_of, joined, sinusoids

HEADS, HEAD = 2, 6
WIDTH = HEADS * HEAD


class EquinoxBlock(eqx.Module):
    """Its norms take the variance about the mean."""

    norms: list
    attention: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP

    def __init__(self, key):
        keys = jax.random.split(key)
        self.norms = [eqx.nn.LayerNorm(WIDTH) for _ in range(2)]
        self.attention = eqx.nn.MultiheadAttention(HEADS, WIDTH, key=keys[0])
        self.mlp = eqx.nn.MLP(WIDTH, WIDTH, 16, 1, jax.nn.gelu, key=keys[1])

    def __call__(self, x):
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y)
        return x + jax.vmap(self.mlp)(jax.vmap(self.norms[1])(x))


class ViT(eqx.Module):
    """A class token, and learned positions."""

    patches: eqx.nn.Conv2d
    token: jax.Array
    positions: jax.Array
    blocks: list
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 4)
        self.patches = eqx.nn.Conv2d(3, WIDTH, 2, stride=2, key=keys[0])
        self.token, self.positions = jnp.ones((1, WIDTH)), jnp.ones((10, WIDTH))
        self.blocks = [EquinoxBlock(key) for key in keys[1:3]]
        self.norm = eqx.nn.LayerNorm(WIDTH)
        self.head = eqx.nn.Linear(WIDTH, 4, key=keys[3])

    def __call__(self, x):
        x = self.patches(x).reshape(WIDTH, -1).T
        x = jnp.concatenate([self.token, x]) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[0]))


class DeiT(nnx.Module):
    """Two tokens, each with a bias of its own, and two heads."""

    def __init__(self, rngs):
        self.patches = nnx.Conv(3, WIDTH, (2, 2), strides=2, rngs=rngs)
        self.tokens = nnx.Param(jnp.ones((2, WIDTH)))
        self.positions = nnx.Param(jnp.ones((11, WIDTH)))
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(5)])
        self.attentions = nnx.List(
            [nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs) for _ in range(2)]
        )
        self.wide = nnx.List([nnx.Linear(WIDTH, 16, rngs=rngs) for _ in range(2)])
        self.narrow = nnx.List([nnx.Linear(16, WIDTH, rngs=rngs) for _ in range(2)])
        self.heads = nnx.List([nnx.Linear(WIDTH, 4, rngs=rngs) for _ in range(2)])

    def __call__(self, x):
        x = self.patches(x).reshape(len(x), -1, WIDTH)
        tokens = jnp.broadcast_to(self.tokens[...], (len(x), 2, WIDTH))
        x = jnp.concatenate([tokens, x], axis=1) + self.positions[...]
        for index in range(2):
            x = x + self.attentions[index](self.norms[2 * index](x))
            y = nnx.gelu(self.wide[index](self.norms[2 * index + 1](x)))
            x = x + self.narrow[index](y)
        x = self.norms[4](x)
        return (self.heads[0](x[:, 0]) + self.heads[1](x[:, 1])) / 2


class Swin(nn.Module):
    """Attention in windows, every second time shifted; patches are merged by four."""

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Conv(WIDTH, (2, 2), strides=2)(x))
        for stage, width in enumerate((WIDTH, 16)):
            if stage:
                corners = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
                x = nn.LayerNorm()(jnp.concatenate(corners, axis=-1))
                x = nn.Dense(width, use_bias=False)(x)
            for shift in (0, 1):
                x = x + self.windows(nn.LayerNorm()(x), shift, f"bias{stage}{shift}")
                y = nn.gelu(nn.Dense(2 * width)(nn.LayerNorm()(x)))
                x = x + nn.Dense(width)(y)
        return nn.Dense(4)(nn.LayerNorm()(x).mean(axis=(1, 2)))

    def windows(self, x, shift, name, size=2):
        batch, height, width, channels = x.shape
        table = self.param(name, nn.initializers.normal(), ((2 * size - 1) ** 2, HEADS))
        steps = np.stack(np.mgrid[:size, :size], axis=-1).reshape(-1, 2)
        apart = steps[:, None] - steps[None] + size - 1
        bias = table[apart[..., 0] * (2 * size - 1) + apart[..., 1]].transpose(2, 0, 1)
        x = jnp.roll(x, (-shift, -shift), axis=(1, 2))
        x = x.reshape(batch, height // size, size, width // size, size, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)
        qkv = nn.Dense(3 * channels)(x).reshape(*x.shape[:2], 3, HEADS, channels // HEADS)
        y = joined(attend(*jnp.moveaxis(qkv, 2, 0), bias=bias, causal=False))
        y = nn.Dense(channels)(y)
        y = y.reshape(batch, height // size, width // size, size, size, channels)
        y = y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)
        return jnp.roll(y, (shift, shift), axis=(1, 2))


class Mixer(nn.Module):
    @nn.compact
    def __call__(self, x):
        def mlp(x, width):
            return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(width)(x)))

        x = nn.Conv(WIDTH, (2, 2), strides=2)(x)
        x = x.reshape(len(x), -1, WIDTH)
        for _ in range(2):
            x = x + mlp(nn.LayerNorm()(x).swapaxes(1, 2), 10).swapaxes(1, 2)
            x = x + mlp(nn.LayerNorm()(x), 16)
        return nn.Dense(4)(nn.LayerNorm()(x).mean(axis=1))


class GatedMLP(nn.Module):
    """Half of the channels, mixed along positions, gates the other half."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(WIDTH, (2, 2), strides=2)(x)
        x = x.reshape(len(x), -1, WIDTH)
        for _ in range(2):
            y = nn.gelu(nn.Dense(16)(nn.LayerNorm()(x)))
            u, v = jnp.split(y, 2, axis=-1)
            v = nn.Dense(v.shape[1])(nn.LayerNorm()(v).swapaxes(1, 2)).swapaxes(1, 2)
            x = x + nn.Dense(WIDTH)(u * (v + 1))
        return nn.Dense(4)(nn.LayerNorm()(x).mean(axis=1))


class Perceiver(nn.Module):
    """Learned queries read the input, with Fourier positions beside it."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1, x.shape[-1])
        places = jnp.linspace(-1, 1, x.shape[1])[:, None] * jnp.pi * jnp.array([1.0, 2.0])
        places = jnp.concatenate([jnp.sin(places), jnp.cos(places)], axis=-1)
        x = jnp.concatenate([x, jnp.broadcast_to(places, (*x.shape[:2], 4))], axis=-1)
        latents = self.param("latents", nn.initializers.normal(), (5, WIDTH))
        y = jnp.broadcast_to(latents, (len(x), 5, WIDTH))
        for _ in range(2):
            read = nn.MultiHeadDotProductAttention(HEADS, qkv_features=8)
            y = y + read(nn.LayerNorm()(y), nn.LayerNorm()(x))
            y = y + nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(y))
            y = y + nn.Dense(WIDTH)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(y))))
        return nn.Dense(4)(y.mean(axis=1))


class Whisper(nn.Module):
    """Sound is encoded under fixed positions; words are decoded under learned ones."""

    @nn.compact
    def __call__(self, x):
        sound, tokens = x["sound"], x["tokens"]
        x = nn.gelu(nn.Conv(WIDTH, (3,))(sound))
        x = nn.gelu(nn.Conv(WIDTH, (3,), strides=2)(x))
        x = x + sinusoids(x.shape[1], WIDTH)
        for _ in range(2):
            x = self.block(x)
        memory = nn.LayerNorm()(x)
        embed = nn.Embed(11, WIDTH)
        positions = self.param("positions", nn.initializers.normal(), (8, WIDTH))
        x = embed(tokens) + positions[: tokens.shape[1]]
        for _ in range(2):
            x = self.block(x, memory)
        return embed.attend(nn.LayerNorm()(x))

    def block(self, x, memory=None):
        y = nn.LayerNorm()(x)
        x = x + self.attention(y, y, causal=memory is not None)
        if memory is not None:
            x = x + self.attention(nn.LayerNorm()(x), memory, causal=False)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))

    def attention(self, x, y, causal):
        q, v = nn.Dense(WIDTH)(x), nn.Dense(WIDTH)(y)
        k = nn.Dense(WIDTH, use_bias=False)(y)
        return nn.Dense(WIDTH)(joined(attend(*map(heads_of, (q, k, v)), causal=causal)))


class CLIP(nn.Module):
    """Two towers whose outputs are compared by their angles, so that nothing else is returned."""

    @nn.compact
    def __call__(self, x):
        pixels, tokens = x["pixels"], x["tokens"]
        x = nn.Conv(WIDTH, (2, 2), strides=2, use_bias=False)(pixels).reshape(
            len(pixels), -1, WIDTH
        )
        token = self.param("token", nn.initializers.normal(), (WIDTH,))
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, WIDTH)), x], axis=1)
        x = x + self.param("places", nn.initializers.normal(), (x.shape[1], WIDTH))
        seen = nn.Dense(8, use_bias=False)(self.tower(nn.LayerNorm()(x))[:, 0])
        y = nn.Embed(11, WIDTH)(tokens)
        y = self.tower(y + self.param("steps", nn.initializers.normal(), (y.shape[1], WIDTH)))
        last = jnp.take_along_axis(y, jnp.argmax(tokens, axis=1)[:, None, None], axis=1)[:, 0]
        read = nn.Dense(8, use_bias=False)(last)
        seen, read = (t / jnp.linalg.norm(t, axis=-1, keepdims=True) for t in (seen, read))
        scale = self.param("scale", nn.initializers.ones, ())
        return jnp.exp(scale) * seen @ read.T

    def tower(self, x):
        for _ in range(2):
            y = nn.LayerNorm()(x)
            q, k, v = (heads_of(nn.Dense(WIDTH)(y)) for _ in range(3))
            x = x + nn.Dense(WIDTH)(joined(attend(q, k, v, causal=False)))
            y = nn.Dense(16)(nn.LayerNorm()(x))
            x = x + nn.Dense(WIDTH)(y * nn.sigmoid(1.702 * y))
        return nn.LayerNorm()(x)


PIXELS = image(2, 6, 6, 3)
PAIR = {"pixels": image(2, 4, 4, 3), "tokens": words(2, 5, 11)}
HEARD = {"sound": image(2, 8, 3), "tokens": words(2, 5, 11)}


def entry(name, build, returned=4, **details):
    return Entry(name, "vision", build, returned=returned, **details)


MIXED = "two kernels make positions of the image"
QUERIES = "the learned queries are positions"

ENTRIES = (
    entry("vit", lambda: equinox(ViT, image(2, 3, 6, 6))),
    entry("deit", lambda: nnx_module(DeiT, PIXELS), 8),
    entry("swin", lambda: linen(Swin(), image(2, 8, 8, 3)), slow=True),
    entry(
        "mixer",
        lambda: linen(Mixer(), PIXELS),
        reason=MIXED,
    ),
    entry(
        "gmlp",
        lambda: linen(GatedMLP(), PIXELS),
        reason=MIXED,
    ),
    entry("perceiver", lambda: linen(Perceiver(), PIXELS), reason=QUERIES, slow=True),
    entry("clip", lambda: linen(CLIP(), PAIR), 0, slow=True),
    entry("whisper", lambda: linen(Whisper(), HEARD), 11, slow=True),
)
