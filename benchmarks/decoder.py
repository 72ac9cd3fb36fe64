"""A decoder like Llama's in plain JAX: what a language model of a billion parameters costs here."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Decoder:
    """RMSNorm, grouped-query attention with rotary positions, SwiGLU; as TinyLlama (1.1 billion).

    Attributes:
      layers: how many blocks.
      width: of the residual stream.
      heads: of the queries.
      groups: heads of keys and values.
      hidden: width of the feed-forward part.
      vocabulary: how many tokens there are.
    """

    layers: int = 22
    width: int = 2048
    heads: int = 32
    groups: int = 4
    hidden: int = 5632
    vocabulary: int = 32_000

    def shapes(self, dtype: Any = jnp.bfloat16) -> dict[str, Any]:
        """The parameters as shapes, nothing allocated."""
        width, head = self.width, self.width // self.heads
        block = {
            "attention_norm": (width,),
            "queries": (width, self.heads * head),
            "keys": (width, self.groups * head),
            "values": (width, self.groups * head),
            "out": (self.heads * head, width),
            "hidden_norm": (width,),
            "gate": (width, self.hidden),
            "up": (width, self.hidden),
            "down": (self.hidden, width),
        }
        whole = {
            "embedding": (self.vocabulary, width),
            **{f"block{number}": block for number in range(self.layers)},
            "norm": (width,),
            "logits": (width, self.vocabulary),
        }
        return jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, dtype),
            whole,
            is_leaf=lambda node: isinstance(node, tuple),
        )

    def apply(self, params: Any, tokens: Any) -> jax.Array:
        """Logits, [batch, sequence, vocabulary], of tokens, [batch, sequence]."""
        x = params["embedding"][tokens]
        for number in range(self.layers):
            block = params[f"block{number}"]
            x = x + self._attention(block, normalized(x, block["attention_norm"]))
            hidden = normalized(x, block["hidden_norm"])
            gated = jax.nn.silu(hidden @ block["gate"]) * (hidden @ block["up"])
            x = x + gated @ block["down"]
        return normalized(x, params["norm"]) @ params["logits"]

    def _attention(self, block: Any, x: jax.Array) -> jax.Array:
        batch, length, width = x.shape
        head = width // self.heads
        queries = (x @ block["queries"]).reshape(batch, length, self.heads, head)
        keys = (x @ block["keys"]).reshape(batch, length, self.groups, head)
        values = (x @ block["values"]).reshape(batch, length, self.groups, head)
        queries, keys = rotated(queries), rotated(keys)
        queries = queries.reshape(batch, length, self.groups, self.heads // self.groups, head)
        scores = jnp.einsum("bqghd,bkgd->bghqk", queries, keys) / math.sqrt(head)
        seen = jnp.tril(jnp.ones((length, length), bool))
        scores = jnp.where(seen, scores, -jnp.inf).astype(jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1).astype(x.dtype)
        mixed = jnp.einsum("bghqk,bkgd->bqghd", weights, values)
        return mixed.reshape(batch, length, width) @ block["out"]


def normalized(x: jax.Array, scale: jax.Array) -> jax.Array:
    """RMSNorm."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-5)
    return wide.astype(x.dtype) * scale


def rotated(x: jax.Array) -> jax.Array:
    """Rotary positions, [..., length, heads, d]: the halves of a head turn against each other."""
    length, half = x.shape[-3], x.shape[-1] // 2
    frequencies = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies
    cosine, sine = (part[:, None].astype(x.dtype) for part in (jnp.cos(angles), jnp.sin(angles)))
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)
