"""The models by name."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from prunejax import names
from prunejax.models.checks import check_fields
from prunejax.models.conv6 import Conv6
from prunejax.models.densenet import DenseNet
from prunejax.models.lenet import LeNet5
from prunejax.models.mlp import MLP
from prunejax.models.resnet import ResNet
from prunejax.models.resnet50 import ResNet50
from prunejax.models.sparse_mlp import SparseMLP
from prunejax.models.spiking_conv import SpikingConv
from prunejax.models.spiking_mlp import SpikingMLP
from prunejax.models.spiking_resnet import SpikingResNet19
from prunejax.models.spiking_vgg import SpikingVGG16
from prunejax.models.vgg import VGG16
from prunejax.models.wide_resnet import WideResNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "lenet_300_100": functools.partial(MLP, hidden_widths=(300, 100)),
    "mlp_1000x3": functools.partial(MLP, hidden_widths=(1000, 1000, 1000)),
    "lenet5": LeNet5,
    "conv6": Conv6,
    "vgg16": VGG16,
    "resnet8": functools.partial(ResNet, depth=8),
    "resnet14": functools.partial(ResNet, depth=14),
    "resnet20": functools.partial(ResNet, depth=20),
    "resnet32": functools.partial(ResNet, depth=32),
    "resnet56": functools.partial(ResNet, depth=56),
    "resnet110": functools.partial(ResNet, depth=110),
    "resnet50": ResNet50,
    "wide_resnet28_2": functools.partial(WideResNet, depth=28, stage_widths=(32, 64, 128)),
    "densenet40": DenseNet,
    "sparse_mlp": SparseMLP,
    "spiking_mlp": SpikingMLP,
    "spiking_conv": SpikingConv,
    "spiking_vgg16": SpikingVGG16,
    "spiking_resnet19": SpikingResNet19,
}

CLASSES: dict[str, type[nn.Module]] = {
    model.__name__: model for model in (type(make()) for make in MODELS.values())
}
LINEN_FIELDS = ("parent", "name")


def build(name: str, *, num_classes: int, **overrides: Any) -> nn.Module:
    """Builds a model by its name.

    >>> build("lenet_300_100", num_classes=10).hidden_widths
    (300, 100)

    Args:
      name: a key of ``MODELS``.
      num_classes: the number of logits.
      **overrides: fields of the model to set, widths or ``dtype`` for example.

    Returns:
      The module, without parameters: ``module.init(key, x)`` makes them.

    Raises:
      ValueError: there is no such model, the model has no such field, or the model
        refuses a field's value.
    """
    constructor = MODELS[names.choose("model", name, MODELS)]
    fields = [
        field for field in inspect.signature(constructor).parameters if field not in LINEN_FIELDS
    ]
    check_fields(name, overrides, fields)
    return constructor(num_classes=num_classes, **overrides)
