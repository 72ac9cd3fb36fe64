"""Small networks with random weights, whose filters resemble each other in pairs."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from prunejax import models
from prunejax.network import Network, trace


class Case(NamedTuple):
    """A network with all that it takes to prune it."""

    model: nn.Module
    variables: dict
    x: jax.Array
    network: Network


ZOO = {
    "resnet": ("resnet8", {"stem_width": 6, "stage_widths": (6, 8, 10)}, (16, 16, 2)),
    "resnet14": ("resnet14", {"stem_width": 4, "stage_widths": (4, 6, 8)}, (8, 8, 2)),
    "conv1x1": (
        "resnet14",
        {"stem_width": 4, "stage_widths": (4, 6, 8), "shortcut": "conv1x1"},
        (8, 8, 2),
    ),
    "pad": (
        "resnet14",
        {"stem_width": 4, "stage_widths": (4, 7, 9), "shortcut": "pad"},
        (8, 8, 2),
    ),
    "resnet50": ("resnet50", {"stem_width": 4, "stage_widths": (8, 12, 16, 20)}, (33, 32, 1)),
    "wide_resnet": (
        "wide_resnet28_2",
        {"stem_width": 4, "stage_widths": (4, 6, 8), "depth": 16},
        (8, 8, 2),
    ),
    "vgg": ("vgg16", {"widths": (4, 5, 6) * 4 + (3,), "head_width": 6}, (32, 32, 1)),
    "densenet": ("densenet40", {"stem_width": 4, "growths": ((3, 2), (2, 3), (4,))}, (8, 8, 2)),
    "mlp": ("mlp", {"hidden_widths": (9, 7)}, (6, 2)),
}


class Chain(nn.Module):
    """Convolutions one after another, with and without bias and batch norm."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="one")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.Conv(10, (3, 3), use_bias=False, name="two")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="two_norm")(x))
        x = nn.tanh(nn.Conv(7, (3, 3), padding="VALID", name="three")(x))
        return nn.Dense(3, name="head")(jnp.mean(x, axis=(1, 2)))


def randomised(shapes, seed=0):
    """Random leaves; the second half of a kernel's outputs is the first with some noise."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        last = jax.tree_util.keystr(path[-1:], simple=True)
        if last == "var":
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        values = random.normal(size=leaf.shape)
        if last == "kernel":
            half = leaf.shape[-1] // 2
            values[..., -half:] = values[..., :half] + 0.4 * values[..., -half:]
            values *= np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(values if last in ("kernel", "scale") else 0.3 * values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def of(model, image, images=12):
    """A case; the network is traced with one image."""
    x = jax.random.normal(jax.random.key(1), (images, *image))
    one = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    variables = randomised(jax.eval_shape(lambda x: model.init(jax.random.key(0), x), one))
    return Case(model, variables, x, trace(model.apply, variables, one))


@functools.cache
def case(name):
    """A case by its name."""
    if name == "chain":
        return of(Chain(), (10, 12, 2))
    model, options, image = ZOO[name]
    return of(models.build(model, num_classes=3, **options), image)


def with_kernel(variables, layer, change):
    """The variables with a layer's kernel changed."""
    changed = jax.tree.map(lambda leaf: leaf, variables)
    tree = changed["params"]
    for part in layer.split("/"):
        tree = tree[part]
    tree["kernel"] = change(tree["kernel"])
    if "bias" in tree:
        tree["bias"] = change(tree["bias"])
    return changed
