"""Small spiking networks that fire, and how they are traced."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import models, network

NETS = {
    "mlp": ("spiking_mlp", {"hidden_widths": (9, 8)}, (4, 4, 1)),
    "conv": ("spiking_conv", {"widths": (5, 6), "head_width": 9}, (9, 8, 2)),
    "conv, no norm": (
        "spiking_conv",
        {"widths": (5, 6), "head_width": 9, "normalize": False, "threshold": 0.2},
        (8, 8, 1),
    ),
    "resnet": (
        "spiking_resnet19",
        {"stem_width": 4, "stage_widths": (4, 6, 8), "head_width": 9},
        (8, 7, 2),
    ),
}


@functools.cache
def made(name, timesteps=3):
    """A model, variables whose neurons fire, images, and the traced network."""
    kind, fields, image = NETS[name]
    model = models.build(kind, num_classes=4, timesteps=timesteps, **fields)
    x = jax.random.normal(jax.random.key(1), (5, *image))
    variables = model.init(jax.random.key(0), x)
    random = np.random.default_rng(0)

    def lively(path, leaf):
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(random.uniform(0.8, 1.5, leaf.shape), jnp.float32)
        if path[-1].key == "kernel":
            return 1.5 * leaf
        return jnp.asarray(0.2 * random.normal(size=leaf.shape), jnp.float32)

    variables = jax.tree_util.tree_map_with_path(lively, variables)
    return model, variables, x, network.trace(model.apply, variables, x[:1])


@pytest.fixture(params=list(NETS))
def net(request):
    return made(request.param)
