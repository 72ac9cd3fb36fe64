"""Published networks with few channels, whose running statistics are not 0 and 1."""

import functools

import jax

from prunejax import models
from prunejax.network import trace

NETWORKS = {
    "mlp": ({"hidden_widths": (12, 9)}, (4, 4, 1)),
    "lenet5": ({"conv_widths": (3, 4), "hidden_widths": (8, 6)}, (12, 12, 1)),
    "conv6": ({"conv_widths": (3, 3, 4, 4, 5, 5), "hidden_widths": (7, 6)}, (8, 8, 2)),
    "resnet8": ({"stem_width": 4, "stage_widths": (4, 6, 8)}, (8, 8, 1)),
}
"""Name -> its widths, and the shape of its images. The first three are chains."""

CHAINS = ("mlp", "lenet5", "conv6")


@functools.cache
def made(name):
    """The model, its variables, eight images, and the traced network."""
    overrides, image = NETWORKS[name]
    model = models.build(name, num_classes=4, **overrides)
    x = jax.random.uniform(jax.random.key(0), (8, *image))
    variables = model.init(jax.random.key(1), x)
    if "batch_stats" in variables:
        _, state = model.apply(variables, 2 * x + 1, train=True, mutable=["batch_stats"])
        variables = {**variables, **state}
    return model, variables, x, trace(model.apply, variables, x[:1])
