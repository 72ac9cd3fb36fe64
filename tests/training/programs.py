"""A small network of convolutions, batch normalisation, dropout; for tests of how it is trained."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from prunejax import allocation, criteria, data, masks, training


class Net(nn.Module):
    """Convolution, batch normalisation, convolution of stride 2, classifier."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3), use_bias=False, name="first")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.relu(nn.Conv(6, (3, 3), strides=2, name="second")(x))
        x = nn.Dropout(0.1, deterministic=not train)(x)
        return nn.Dense(10, name="classifier")(x.mean((1, 2)))


MODEL = Net()
EPOCHS, BATCH = 3, 20
TX = training.masked(training.optimizer("sgd", 0.05, momentum=0.9, weight_decay=1e-4))


@contextlib.contextmanager
def in_float64():
    """Flax's layers mix widths there, which tests otherwise forbid."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def split(dtype=np.float64):
    """100 digits."""
    whole = data.load("digits")
    return data.Split(whole.images[:100].astype(dtype), whole.labels[:100])


def start(tx, seed, sparsity=0.5, dtype=jnp.float64):
    """A network of a seed, pruned at random."""
    key = jax.random.key(seed)
    params, stats = training.init_variables(MODEL, key, jnp.zeros((1, 8, 8, 1)))
    params, stats = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, stats))
    made = masks.make(params)
    scores = criteria.random(params, made, None, loss_fn=None, key=key)
    made = allocation.allocate(scores, sparsity)
    return training.init_state(params, stats, tx, key=key, masks=made)


def rewired(state, epochs):
    """Masks that change: other weights of the first layer, drawn from the key and the epoch."""
    mask = state.masks["first"]["kernel"]
    drawn = jax.random.permutation(jax.random.fold_in(state.key, epochs), mask.ravel())
    changed = {
        **state.masks,
        "first": {**state.masks["first"], "kernel": drawn.reshape(mask.shape)},
    }
    return state._replace(masks=changed, params=masks.apply(state.params, changed))


def largest_difference(one, other):
    """Between two states, over everything that they hold."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        gap = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
        worst = max(worst, float(gap.max(initial=0.0)))
    return worst


def one(**changes):
    """A network of seed 0 in float32, with other fields of its state."""
    return start(TX, 0, dtype=jnp.float32)._replace(**changes)
