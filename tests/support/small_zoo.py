"""Every model of the zoo with few channels, and an image that is large enough for it."""

import jax
import pytest

from prunejax import models
from tests.support.slicing_checks import randomise

NARROW = {"stem_width": 4, "stage_widths": (4, 6, 8)}
SMALL = {
    "mlp": ({"hidden_widths": (7, 5)}, (6, 6, 1)),
    "lenet_300_100": ({}, (5, 5, 1)),
    "mlp_1000x3": ({"hidden_widths": (6, 7, 5)}, (6, 6, 1)),
    "lenet5": ({}, (14, 12, 2)),
    "conv6": ({"conv_widths": (4, 3, 4, 5, 6, 7), "hidden_widths": (5, 4)}, (8, 16, 2)),
    "vgg16": ({"widths": (4, 5, 6, 7, 8, 9, 8, 7, 9, 8, 7, 8, 9), "head_width": 6}, (32, 32, 1)),
    "resnet8": (
        {**NARROW, "shortcut": "pad", "shortcut_pads": ((2, 0), (0, 2))},
        (8, 8, 1),
    ),
    "resnet14": ({**NARROW, "block_widths": (3, 4, 5, 6, 7, 8)}, (8, 8, 1)),
    "resnet20": ({**NARROW, "depth": 14, "shortcut": "pad"}, (8, 8, 2)),
    "resnet32": ({**NARROW, "depth": 14, "shortcut": "conv1x1"}, (7, 8, 2)),
    "resnet56": ({**NARROW, "depth": 14}, (8, 8, 1)),
    "resnet110": ({**NARROW, "depth": 20}, (4, 4, 1)),
    "resnet50": ({"stem_width": 4, "stage_widths": (8, 12, 16, 20)}, (33, 32, 1)),
    "wide_resnet28_2": ({"stem_width": 4, "stage_widths": (4, 6, 8), "depth": 10}, (8, 8, 2)),
    "densenet40": ({"stem_width": 4, "growths": ((3, 2), (2, 3), (4,))}, (8, 8, 2)),
    "spiking_mlp": ({"hidden_widths": (7, 5), "timesteps": 3}, (6, 6, 1)),
    "spiking_conv": ({"widths": (4, 5), "head_width": 6, "timesteps": 3}, (8, 8, 2)),
    "spiking_vgg16": (
        {"widths": (4, 5, 6, 7, 8, 9, 8, 7, 9, 8, 7, 8, 9), "head_width": 6, "timesteps": 2},
        (32, 32, 1),
    ),
    "spiking_resnet19": ({**NARROW, "head_width": 5, "timesteps": 2}, (8, 8, 2)),
}


def each(names):
    """The names, those that repeat another one in greater depth marked as slow."""
    return [pytest.param(name, marks=pytest.mark.slow if name in DEEPER else ()) for name in names]


DEEPER = ("resnet14", "resnet32", "resnet56", "resnet110", "spiking_vgg16")


def made(name, batch=3):
    overrides, image = SMALL[name]
    model = models.build(name, num_classes=4, **overrides)
    x = jax.random.normal(jax.random.key(1), (batch, *image))
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    return model, randomise(shapes), x
