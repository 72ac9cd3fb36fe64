"""What the list of networks says of each, and how those of each library become functions."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.support.slicing_checks import randomise


class Built(NamedTuple):
    """A network that can be traced.

    Attributes:
      apply_fn: ``(variables, x) -> outputs``.
      variables: its variables, none of them trivial.
      x: an input.
      another_x: an input of another batch size.
    """

    apply_fn: Callable[..., Any]
    variables: Any
    x: Any
    another_x: Any


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network of the list.

    Attributes:
      name: its name.
      kind: what family it belongs to.
      build: makes it.
      returned: how many of its channels are what it returns, so that they cannot go.
      package: the package outside of the ``dev`` extra that it needs, or "".
      reason: why some channels stay all the same, a property of the network; "" if all can go.
      channels: how many channels it has where tracing does not see all, as inside of loops.
      state: gives ``(outputs, state)``: what the network returns without its updated state, and
        that state as a tree like the variables; None where it returns none.
      training: whether it runs in training mode.
      differentiable: whether gradients are compared; a loop of unknown length has none.
      double: whether it is compared in float64, its own rounding being too large in float32.
      quick: whether it is compared in every run of the tests; most are in the slow ones alone.
      slow: whether even its share is left to the slow tests.
    """

    name: str
    kind: str
    build: Callable[[], Built]
    returned: int = 0
    package: str = ""
    reason: str = ""
    channels: int | None = None
    state: Callable[[Any], tuple[Any, Any]] | None = None
    training: bool = False
    differentiable: bool = True
    double: bool = False
    quick: bool = False
    slow: bool = False


def image(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


def words(batch: int, length: int, vocabulary: int) -> jax.Array:
    return (jnp.arange(batch * length).reshape(batch, length) * 7 + 3) % vocabulary


def one_more(x: Any) -> Any:
    """The same batch with its first example once more."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), x)


def linen(module: Any, x: Any) -> Built:
    """A linen module that takes one input."""

    def apply_fn(variables, x):
        return module.apply(variables, x)

    return Built(apply_fn, linen_variables(module, x), x, one_more(x))


def linen_training(module: Any, x: Any, mutable: Sequence[str] = ("batch_stats",)) -> Built:
    """A linen module in training mode: it draws random numbers, and returns updated statistics."""

    def apply_fn(variables, x):
        rngs = {"dropout": jax.random.key(2)}
        if not mutable:
            return module.apply(variables, x, rngs=rngs)
        return module.apply(variables, x, rngs=rngs, mutable=list(mutable))

    return Built(apply_fn, linen_variables(module, x), x, one_more(x))


def linen_variables(module: Any, x: Any) -> Any:
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(2)}
    return randomise(jax.eval_shape(lambda x: module.init(rngs, x), x))


def equinox(make: Callable[[], Any], x: Any) -> Built:
    """An Equinox module that takes one example; only its shapes are made."""
    arrays, static = eqx.partition(eqx.filter_eval_shape(make), described)

    def apply_fn(variables, x):
        return jax.vmap(eqx.combine(variables, static))(x)

    return Built(apply_fn, randomise(arrays), x, one_more(x))


def described(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def nnx_module(make: Callable[[nnx.Rngs], Any], x: Any) -> Built:
    """An nnx module that takes a batch; only its shapes are made."""
    graph, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def apply_fn(variables, x):
        filled = nnx.clone(state)
        nnx.replace_by_pure_dict(filled, variables)
        return nnx.merge(graph, filled)(x)

    return Built(apply_fn, randomise(nnx.to_pure_dict(state)), x, one_more(x))


def function(forward: Callable[..., Any], shapes: Any, x: Any) -> Built:
    """A function written by hand; its variables are given by their shapes."""
    described = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    return Built(forward, randomise(described), x, one_more(x))


def perturbed(tree: Any, seed: int = 0) -> Any:
    """A library's own first values, changed so that none is trivial; positive ones stay so."""
    random = np.random.default_rng(seed)

    def change(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        drawn = leaf * random.uniform(0.5, 1.5, leaf.shape) + random.uniform(0.02, 0.1, leaf.shape)
        return jnp.asarray(drawn, leaf.dtype)

    return jax.tree.map(change, tree)
