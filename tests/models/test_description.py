"""Models as JSON and back."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from prunejax.models import MODELS, build, describe, from_description

UNEVEN = {"stem_width": 2, "stage_widths": (2, 5, 8), "block_widths": (3, 4, 5)}


def again(model):
    return from_description(json.loads(json.dumps(describe(model))))


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name):
    model = build(name, num_classes=7)
    assert again(model) == model
    assert again(model) != build(name, num_classes=8)
    assert hash(again(model)) == hash(model)


@pytest.mark.parametrize(
    "name, fields",
    [
        ("resnet8", UNEVEN | {"shortcut": "pad", "shortcut_pads": ((0, 3), (2, 1))}),
        ("resnet8", UNEVEN | {"shortcut": "conv1x1", "dtype": jnp.bfloat16}),
        ("lenet5", {"pool": "avg", "dtype": np.float32}),
        ("lenet5", {"dtype": np.dtype("float16")}),
        ("mlp", {"hidden_widths": ()}),
        ("sparse_mlp", {"sparsity": (0.9, 0.95, 0.99), "fan_in": "links", "seed": 3}),
        ("resnet50", {"block_widths": ((1, 2),) * 16}),
        ("densenet40", {"growths": ((1, 2), (), (3,)), "transition_widths": (4, 5)}),
    ],
)
def test_every_field_there_and_back(name, fields):
    model = build(name, num_classes=3, **fields)
    assert again(model) == model != build(name, num_classes=3)


def test_a_dtype_given_as_a_string_comes_back_as_a_type():
    assert again(build("mlp", num_classes=3, dtype="bfloat16")).dtype is jnp.bfloat16


@pytest.mark.usefixtures("without_type_checks")
def test_widths_counted_with_numpy():
    model = build("mlp", num_classes=3, hidden_widths=(np.array([True, False, True]).sum(),))
    assert again(model) == model


def test_the_description_is_plain():
    model = build("resnet8", num_classes=3, dtype=jnp.bfloat16)
    assert describe(model) == {
        "class": "ResNet",
        "fields": {
            "num_classes": 3,
            "depth": 8,
            "stem_width": 16,
            "stage_widths": [16, 32, 64],
            "block_widths": None,
            "shortcut": "conv3x3",
            "shortcut_pads": None,
            "dtype": "bfloat16",
        },
    }


def test_a_field_left_out_has_its_default():
    described = {"class": "MLP", "fields": {"num_classes": 3}}
    assert from_description(described) == build("mlp", num_classes=3)


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


@pytest.mark.parametrize(
    "described, message",
    [
        ({"class": "MLP"}, "has the keys class and fields, got class"),
        ({"class": "MLP", "fields": {}, "depth": 8}, "got class, fields, depth"),
        (
            {"class": "ResNet56", "fields": {}},
            r"'ResNet56'; allowed are .*; did you mean 'ResNet50'",
        ),
        ({"class": None, "fields": {}}, "unknown class of model None"),
        (
            {"class": "VGG16", "fields": {"width": [1]}},
            r"unknown field of VGG16 'width'; allowed are .*; did you mean 'widths'",
        ),
        ({"class": "VGG16", "fields": {"parent": None}}, "unknown field of VGG16 'parent'"),
        ({"class": "MLP", "fields": [3]}, r"the fields must be a mapping, got \[3\]"),
        ({"class": "VGG16", "fields": {"widths": [1]}}, "widths must have 13 entries"),
        ({"class": "MLP", "fields": {"dtype": "float31"}}, "no dtype is named 'float31'"),
        ({"class": "MLP", "fields": {"dtype": "object"}}, "no dtype is named 'object'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_refuses_what_is_no_description(described, message):
    with pytest.raises(ValueError, match=message):
        from_description(described)


def test_refuses_to_describe_another_class():
    with pytest.raises(ValueError, match=r"Two is none of MLP, LeNet5, .* alone can be described"):
        describe(Two())
