"""Networks from the papers, as Flax linen modules.

Every model is called as `model.apply(variables, x, train=...)` on images, (batch, height, width,
channels), and gives float32 logits, (batch, classes). Every number of channels or units that
pruning can change is a field, so that a physically smaller network is the same class with smaller
numbers.
"""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from prunejax.models.conv6 import Conv6
from prunejax.models.densenet import DenseNet
from prunejax.models.lenet import LeNet5
from prunejax.models.mlp import MLP
from prunejax.models.resnet import ResNet
from prunejax.models.resnet50 import ResNet50
from prunejax.models.vgg import VGG16
from prunejax.models.wide_resnet import WideResNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "lenet_300_100": functools.partial(MLP, hidden_widths=(300, 100)),
    "mlp_1000x3": functools.partial(MLP, hidden_widths=(1000, 1000, 1000)),
    "lenet5": LeNet5,
    "conv6": Conv6,
    "vgg16": VGG16,
    "resnet20": functools.partial(ResNet, depth=20),
    "resnet32": functools.partial(ResNet, depth=32),
    "resnet56": functools.partial(ResNet, depth=56),
    "resnet110": functools.partial(ResNet, depth=110),
    "resnet50": ResNet50,
    "wide_resnet28_2": functools.partial(WideResNet, depth=28, stage_widths=(32, 64, 128)),
    "densenet40": DenseNet,
}


def build(name: str, *, num_classes: int, **overrides: Any) -> nn.Module:
    """Construct a model by its name.

    >>> build("lenet_300_100", num_classes=10).hidden_widths
    (300, 100)

    Args:
        name: a key of `MODELS`.
        num_classes: the number of logits.
        **overrides: fields of the model to set, widths or `dtype` for example.

    Returns:
        The module, without parameters: `module.init(key, x)` makes them.

    Raises:
        ValueError: if there is no such model, if the model has no such field, or if the model
            refuses a field's value.
    """
    if name not in MODELS:
        raise ValueError(f"no model is named {name!r}; {_suggest(name, list(MODELS))}")
    constructor = MODELS[name]
    linen_only = ("parent", "name")
    fields = [
        field for field in inspect.signature(constructor).parameters if field not in linen_only
    ]
    for override in overrides:
        if override not in fields:
            raise ValueError(f"{name} has no field {override!r}; {_suggest(override, fields)}")
    return constructor(num_classes=num_classes, **overrides)


def _suggest(given: str, allowed: list[str]) -> str:
    closest = difflib.get_close_matches(given, allowed, n=1, cutoff=0.0)[0]
    return f"the closest is {closest!r}, allowed are {', '.join(allowed)}"
