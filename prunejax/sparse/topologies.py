"""Which links a layer begins with."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from prunejax.sparse.links import Links


def erdos_renyi(key: PRNGKeyArray, shape: tuple[int, int], count: int) -> Links:
    """Links drawn uniformly from all pairs of neurons, an exact number of them.

    Each set of ``count`` links is equally likely (an Erdos-Renyi graph of fixed size; Mocanu et al.
    2018, arXiv 1707.04780, draw each link by itself). Numbers are drawn until all are different,
    which takes memory of the order of the links; of a layer that is more than half full it is the
    missing links that are drawn.

    Args:
      key: a key from ``jax.random.key``.
      shape: (inputs, outputs) of the layer.
      count: how many links; static inside jit.

    Returns:
      The links.

    Raises:
      ValueError: ``count`` is below 1 or above inputs times outputs.

    >>> len(erdos_renyi(jax.random.key(0), (20, 30), 60))
    60
    """
    _check_count(count, shape)
    return _drawn(key, tuple(map(int, shape)), int(count))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _drawn(key: PRNGKeyArray, shape: tuple[int, int], count: int) -> Links:
    pairs = math.prod(shape)
    if 2 * count <= pairs:
        return Links.from_numbers(_different(key, pairs, count), shape)
    kept = jnp.ones(pairs, bool).at[_different(key, pairs, pairs - count)].set(False)
    return Links.from_numbers(jnp.flatnonzero(kept, size=count), shape)


def _different(key: PRNGKeyArray, below: int, count: int) -> Int[Array, " count"]:
    """Different numbers, each set of them equally likely, ascending."""

    def repeats(numbers: Array) -> Array:
        return jnp.concatenate([jnp.zeros(min(count, 1), bool), numbers[1:] == numbers[:-1]])

    def draw(key: PRNGKeyArray) -> Array:
        return jax.random.randint(key, (count,), 0, below, jnp.int32)

    # The numbers that are kept are a uniform set by symmetry: no step looks at more than whether
    # two of them are equal.
    def again(state: tuple[PRNGKeyArray, Array]) -> tuple[PRNGKeyArray, Array]:
        key, of_draw = jax.random.split(state[0])
        return key, jnp.sort(jnp.where(repeats(state[1]), draw(of_draw), state[1]))

    key, of_draw = jax.random.split(key)
    state = (key, jnp.sort(draw(of_draw)))
    return jax.lax.while_loop(lambda state: jnp.any(repeats(state[1])), again, state)[1]


def correlated(
    inputs: Num[Array | np.ndarray, "examples inputs"], outputs: int, count: int
) -> Links:
    """Links between input features that are correlated, for a first layer.

    The correlated sparse topological initialisation of Zhang et al. 2024 ("Epitopological learning
    and Cannistraci-Hebb network shape intelligence brain-inspired theory"): each output neuron
    stands for one input feature, and the ``count`` pairs of the highest absolute Pearson
    correlation are linked, an output with its own feature first. Where there are fewer outputs than
    features, outputs stand for those whose absolute correlations with all features sum up highest;
    where there are more, for all of them again, in the same order. A feature that never changes is
    correlated with nothing.

    Args:
      inputs: examples of what the layer will see, at least two; an array of JAX or NumPy.
      outputs: the number of output neurons.
      count: how many links; static inside jit, as ``outputs`` is.

    Returns:
      The links, in a layer of shape (features, outputs).

    Raises:
      ValueError: there are fewer than two examples, no outputs, or ``count`` is below 1 or above
        features times outputs.

    >>> examples = jnp.array([[0.0, 0.1, 1.0], [1.0, 1.2, 1.0], [2.0, 1.9, 0.0]])
    >>> correlated(examples, 3, 5).to_mask().astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    if inputs.ndim != 2 or len(inputs) < 2:
        raise ValueError(f"inputs must be [examples, features], two or more; got {inputs.shape}")
    if outputs < 1:
        raise ValueError(f"outputs must be at least 1, got {outputs}")
    _check_count(count, (inputs.shape[1], outputs))
    return _of_correlations(jnp.asarray(inputs), int(outputs), int(count))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _of_correlations(inputs: Array, outputs: int, count: int) -> Links:
    features = inputs.shape[1]
    correlations = _absolute_correlations(inputs)
    order = jnp.argsort(-jnp.sum(correlations, axis=0), stable=True)
    feature = order[jnp.arange(outputs) % features]
    # target * features + source, as links are numbered; a tie goes to the lower number
    scores = correlations[feature]
    return Links.from_numbers(jax.lax.top_k(scores.ravel(), count)[1], (features, outputs))


def _absolute_correlations(inputs: Array) -> Float[Array, "features features"]:
    if not jnp.issubdtype(inputs.dtype, jnp.floating) or jnp.finfo(inputs.dtype).bits < 32:
        inputs = inputs.astype(jnp.float32)
    centred = inputs - jnp.mean(inputs, axis=0)
    # a constant feature's differences from its rounded mean are noise
    constant = jnp.all(inputs == inputs[0], axis=0)
    length = jnp.linalg.norm(centred, axis=0)
    scaled = jnp.where(constant | (length == 0), 0, centred / jnp.where(length == 0, 1, length))
    found = jnp.abs(jnp.matmul(scaled.T, scaled, precision="highest"))
    # exactly 1, so that an output's own feature comes first
    own = jnp.where(jnp.any(scaled != 0, axis=0), jnp.ones((), found.dtype), 0)
    return jnp.minimum(found, 1).at[jnp.diag_indices(len(found))].set(own)


def _check_count(count: int, shape: tuple[int, int]) -> None:
    """Requires a number of links that a layer can have.

    Raises:
      ValueError: it cannot.
    """
    pairs = math.prod(shape)
    if min(shape) < 1 or not 1 <= count <= pairs:
        raise ValueError(f"a layer of shape {tuple(shape)} has 1 to {pairs} links, not {count}")
