"""Networks with loops: over time, over layers, over examples, and until something happens."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as nn

from tests.network.zoo.entry import Entry, equinox, function, image, linen, words
from tests.network.zoo.language import attend, heads_of, joined, rms

HIDDEN = 8


class LanguageModel(nn.Module):
    """Two recurrent layers over time."""

    cell: type

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 6)(tokens)
        x = nn.RNN(self.cell(HIDDEN))(x)
        x = nn.RNN(self.cell(7))(x)
        return nn.Dense(11)(x)


class Bidirectional(nn.Module):
    @nn.compact
    def __call__(self, x):
        forward, backward = nn.RNN(nn.GRUCell(HIDDEN)), nn.RNN(nn.GRUCell(HIDDEN))
        x = nn.Bidirectional(forward, backward)(nn.relu(nn.Dense(6)(x)))
        return nn.Dense(4)(nn.relu(nn.Dense(9)(x[:, -1])))


class EquinoxGRU(eqx.Module):
    """``lax.scan`` over a cell whose kernels make three gates at once."""

    cells: list
    head: eqx.nn.Linear

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 3)
        self.cells = [
            eqx.nn.GRUCell(3, HIDDEN, key=keys[0]),
            eqx.nn.GRUCell(HIDDEN, 7, key=keys[1]),
        ]
        self.head = eqx.nn.Linear(7, 4, key=keys[2])

    def __call__(self, x):
        for cell in self.cells:

            def step(state, x, cell=cell):
                state = cell(x, state)
                return state, state

            _, x = jax.lax.scan(step, jnp.zeros(cell.hidden_size), x)
        return self.head(x[-1])


class ConvLSTM(nn.Module):
    """Over the frames of a film."""

    @nn.compact
    def __call__(self, x):
        x = nn.RNN(nn.ConvLSTMCell(6, (3, 3)))(x)
        x = nn.relu(nn.Conv(5, (1, 3, 3))(x))
        return nn.Dense(4)(x.mean(axis=(1, 2, 3)))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        y = nn.LayerNorm()(x)
        q, k, v = (heads_of(nn.Dense(12)(y)) for _ in range(3))
        x = x + nn.Dense(12)(joined(attend(q, k, v)))
        return x + nn.Dense(12)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x)))), None


class ScannedLayers(nn.Module):
    """A transformer whose layers are one scan; their parameters are stacked."""

    @nn.compact
    def __call__(self, tokens):
        layers = nn.scan(
            nn.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        x, _ = layers()(nn.Embed(11, 12)(tokens), None)
        return nn.Dense(11)(nn.LayerNorm()(x))


def fori(variables, x):
    """Residual layers, the parameters of each taken from a stack by its number."""

    def layer(number, x):
        up, down, norm = (variables[name][number] for name in ("up", "down", "norm"))
        return x + jax.nn.gelu(rms(x, norm) @ up) @ down

    x = jax.lax.fori_loop(0, 3, layer, x @ variables["first"])
    return x @ variables["last"]


STACKED = {"first": (5, 8), "up": (3, 8, 10), "down": (3, 10, 8), "norm": (3, 8), "last": (8, 4)}


def mapped(variables, x):
    """Two layers in a loop over the examples, and two after it."""

    def one(x):
        return jax.nn.relu(jax.nn.relu(x @ variables["a"]) @ variables["b"])

    x = jax.lax.map(one, x)
    return jax.nn.relu(x @ variables["c"]) @ variables["d"]


MAPPED = {"a": (5, 8), "b": (8, 7), "c": (7, 6), "d": (6, 4)}


def equilibrium(variables, x):
    """A deep equilibrium: a layer is repeated until its output stays as it is."""
    x = jax.nn.relu(x @ variables["first"]) @ variables["injected"]

    def layer(z):
        hidden = jnp.tanh(z @ (0.3 * variables["up"]) + x)
        return jnp.tanh(hidden @ (0.3 * variables["down"]) + variables["bias"])

    def unfinished(state):
        count, z, before = state
        return (count < 50) & (jnp.abs(z - before).max() > 1e-7)

    def step(state):
        count, z, _ = state
        return count + 1, layer(z), z

    start = jnp.zeros((len(x), len(variables["bias"])))
    _, z, _ = jax.lax.while_loop(unfinished, step, (0, layer(start), start))
    return z @ variables["last"]


EQUILIBRIUM = {
    "first": (5, 9),
    "injected": (9, 8),
    "up": (6, 8),
    "down": (8, 6),
    "bias": (6,),
    "last": (6, 4),
}


def branching(variables, x):
    """The input decides which of two hidden layers is used, the second time the other way round."""
    x = jax.nn.relu(x @ variables["first"])
    for number, layer in enumerate(variables["layers"]):
        x = jax.lax.cond(
            (x.mean() > layer["threshold"]) == (number == 0),
            lambda x, layer: jax.nn.relu(x @ layer["up"]) @ layer["down"],
            lambda x, layer: jnp.tanh(x @ layer["other"]),
            x,
            layer,
        )
    return x @ variables["last"]


BRANCH = {"threshold": (), "up": (8, 10), "down": (10, 8), "other": (8, 8)}
BRANCHING = {"first": (5, 8), "layers": [BRANCH, BRANCH], "last": (8, 4)}


def entry(name, build, channels, returned=4, **details):
    return Entry(name, "loops", build, returned=returned, channels=channels, **details)


TOKENS = words(2, 4, 11)
SERIES = image(2, 5, 3)
ROWS = image(3, 5)

ENTRIES = (
    entry("lstm", lambda: linen(LanguageModel(nn.LSTMCell), TOKENS), 6 + 8 * (8 + 7) + 11, 11),
    entry(
        "lstm_fused",
        lambda: linen(LanguageModel(nn.OptimizedLSTMCell), TOKENS),
        6 + 8 * (8 + 7) + 11,
        11,
    ),
    entry("gru", lambda: linen(LanguageModel(nn.GRUCell), TOKENS), 6 + 6 * (8 + 7) + 11, 11),
    entry("gru_bidirectional", lambda: linen(Bidirectional(), SERIES), 6 + 2 * 6 * HIDDEN + 9 + 4),
    entry("gru_equinox", lambda: equinox(EquinoxGRU, SERIES), 6 * (HIDDEN + 7) + 4),
    entry("conv_lstm", lambda: linen(ConvLSTM(), image(2, 3, 4, 4, 2)), 2 * 4 * 6 + 5 + 4),
    entry("scanned_layers", lambda: linen(ScannedLayers(), TOKENS), 12 + 5 * 12 + 16 + 11, 11),
    entry("fori_loop", lambda: function(fori, STACKED, ROWS), 8 + 10 + 8 + 4, quick=True),
    entry("map", lambda: function(mapped, MAPPED, ROWS), 8 + 7 + 6 + 4, quick=True),
    entry(
        "deep_equilibrium",
        lambda: function(equilibrium, EQUILIBRIUM, ROWS),
        9 + 8 + 8 + 6 + 4,
        differentiable=False,
        double=True,
        quick=True,
    ),
    entry(
        "cond", lambda: function(branching, BRANCHING, ROWS), 8 + 2 * (10 + 8 + 8) + 4, quick=True
    ),
)
