"""Networks that make images, and networks in training mode whose statistics come back."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from tests.network.zoo.entry import (
    Built,
    Entry,
    described,
    function,
    image,
    linen,
    linen_training,
    one_more,
    perturbed,
)
from tests.support.slicing_checks import randomise


class VAE(nn.Module):
    """A convolutional autoencoder whose code is drawn; it returns the image and the code's law."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3), strides=2)(x))
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(10)(x.reshape(len(x), -1)))
        mean, log_variance = nn.Dense(3)(x), nn.Dense(3)(x)
        noise = jax.random.normal(self.make_rng("dropout"), mean.shape)
        x = mean + jnp.exp(0.5 * log_variance) * noise
        x = nn.relu(nn.Dense(2 * 2 * 8)(nn.relu(nn.Dense(10)(x)))).reshape(len(x), 2, 2, 8)
        x = nn.relu(nn.ConvTranspose(6, (3, 3), strides=(2, 2))(x))
        return nn.ConvTranspose(2, (3, 3), strides=(2, 2))(x), mean, log_variance


class Generator(nn.Module):
    """DCGAN's."""

    train: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(2 * 2 * 8, use_bias=False)(x).reshape(len(x), 2, 2, 8)
        for width in (7, 6):
            x = nn.relu(nn.BatchNorm(use_running_average=not self.train)(x))
            x = nn.ConvTranspose(width, (4, 4), strides=(2, 2), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not self.train)(x))
        return nn.tanh(nn.Conv(3, (3, 3))(x))


class Diffusion(nn.Module):
    """A U-Net of residual blocks with group normalisation, told the time by sinusoids."""

    @nn.compact
    def __call__(self, x):
        pixels, time = x["pixels"], x["time"]
        angles = time[:, None] * jnp.exp(-jnp.arange(4) * 2.0)
        time = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        time = nn.Dense(10)(nn.swish(nn.Dense(9)(time)))
        x = nn.Conv(8, (3, 3))(pixels)
        top = self.block(x, time, 8)
        low = self.block(nn.Conv(8, (3, 3), strides=2)(top), time, 12)
        y = nn.GroupNorm(2)(low).reshape(len(low), -1, 12)
        low = low + nn.MultiHeadDotProductAttention(1)(y).reshape(low.shape)
        up = jax.image.resize(low, (*top.shape[:-1], 12), "nearest")
        x = self.block(jnp.concatenate([nn.Conv(8, (3, 3))(up), top], axis=-1), time, 8)
        return nn.Conv(3, (3, 3))(nn.swish(nn.GroupNorm(2)(x)))

    def block(self, x, time, width):
        y = nn.Conv(width, (3, 3))(nn.swish(nn.GroupNorm(2)(x)))
        y = y + nn.Dense(width)(nn.swish(time))[:, None, None]
        y = nn.Conv(width, (3, 3))(nn.swish(nn.GroupNorm(2)(y)))
        return y + (x if x.shape[-1] == width else nn.Conv(width, (1, 1))(x))


def coupling_layers(variables, x):
    """A normalising flow: half of the input moves the other half; it returns the density too."""
    density = 0.0
    for layer in variables["layers"]:
        still, moved = jnp.split(x, 2, axis=-1)
        hidden = jnp.tanh(jnp.tanh(still @ layer["a"] + layer["bias"]) @ layer["b"])
        log_scale, shift = jnp.split(hidden @ layer["c"], 2, axis=-1)
        moved = moved * jnp.exp(jnp.tanh(log_scale)) + shift
        density = density + jnp.tanh(log_scale).sum(axis=-1)
        x = jnp.concatenate([moved, still], axis=-1)
    return x, density


FLOW = {"layers": [{"a": (2, 8), "bias": (8,), "b": (8, 7), "c": (7, 4)} for _ in range(2)]}


class EquinoxNorm(eqx.Module):
    """A convolutional network; its batch statistics are a state."""

    convs: list
    norms: list
    head: eqx.nn.Linear

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 3)
        self.convs = [
            eqx.nn.Conv2d(2, 6, 3, key=keys[0]),
            eqx.nn.Conv2d(6, 8, 3, key=keys[1]),
        ]
        self.norms = [eqx.nn.BatchNorm(width, "batch", mode="ema") for width in (6, 8)]
        self.head = eqx.nn.Linear(8, 4, key=keys[2])

    def __call__(self, x, state):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x, state = norm(conv(x), state)
            x = jax.nn.relu(x)
        return self.head(x.mean(axis=(1, 2))), state


def equinox_norm():
    model, state = eqx.filter_eval_shape(eqx.nn.make_with_state(EquinoxNorm))
    arrays, static = eqx.partition(model, described)
    leaves, structure = jax.tree.flatten(state)
    # statistics of a state that has seen an example: its flags, of the first time, are off
    leaves = perturbed(
        [(jnp.zeros if leaf.dtype == bool else jnp.ones)(leaf.shape, leaf.dtype) for leaf in leaves]
    )
    x = image(3, 2, 6, 6)

    def apply_fn(variables, x):
        state = jax.tree.unflatten(structure, variables["state"])
        model = eqx.combine(variables["model"], static)
        run = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        y, state = run(x, state)
        return y, {"state": jax.tree.leaves(state)}

    variables = {"model": randomise(arrays), "state": leaves}
    return Built(apply_fn, variables, x, one_more(x))


class ModernNorm(nnx.Module):
    def __init__(self, rngs):
        self.convs = nnx.List(
            [nnx.Conv(2, 6, (3, 3), rngs=rngs), nnx.Conv(6, 8, (3, 3), rngs=rngs)]
        )
        self.norms = nnx.List([nnx.BatchNorm(width, rngs=rngs) for width in (6, 8)])
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nnx.relu(norm(conv(x)))
        return self.head(x.mean(axis=(1, 2)))


def nnx_norm():
    graph, state = nnx.split(nnx.eval_shape(lambda: ModernNorm(nnx.Rngs(0))))
    x = image(3, 6, 6, 2)

    def apply_fn(variables, x):
        filled = nnx.clone(state)
        nnx.replace_by_pure_dict(filled, variables)
        model = nnx.merge(graph, filled)
        return model(x), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return Built(apply_fn, randomise(nnx.to_pure_dict(state)), x, one_more(x))


def noise():
    return {"pixels": image(2, 4, 4, 3), "time": jnp.array([1.0, 7.0])}


def entry(name, build, returned=4, kind="generative", **details):
    return Entry(name, kind, build, returned=returned, **details)


def identity(outputs):
    return outputs


ENTRIES = (
    entry(
        "autoencoder",
        lambda: linen_training(VAE(), image(2, 8, 8, 2), mutable=()),
        2 + 3 + 3,
        training=True,
    ),
    entry("generator", lambda: linen(Generator(), image(2, 5)), 3),
    entry(
        "generator_training",
        lambda: linen_training(Generator(train=True), image(3, 5)),
        3,
        training=True,
        state=identity,
    ),
    entry("diffusion", lambda: linen(Diffusion(), noise()), 3, slow=True),
    entry("coupling_flow", lambda: function(coupling_layers, FLOW, image(3, 4)), 2 * 4),
    entry("batchnorm_equinox", equinox_norm, kind="training", training=True, state=identity),
    entry("batchnorm_nnx", nnx_norm, kind="training", training=True, state=identity),
)
