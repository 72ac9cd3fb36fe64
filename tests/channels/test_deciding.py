"""Which layer stands for a group: the rules of Yang et al. 2025, Section 3.5.2, by structure."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from prunejax.channels import deciding_layer
from prunejax.network import trace
from tests.support.small_networks import case

STAGES = (1, 2, 3)


def chosen(name, prefer):
    network = case(name).network
    return {group: deciding_layer(network, group, prefer).name for group in network.groups}


def check_residual(name, stages, prefer, blocks):
    """Convolutions inside blocks stand for themselves; for a stage the layer in `stages` does."""
    groups, found = case(name).network.groups, chosen(name, prefer)
    shared = [group for group in groups if len(groups[group].layers) > 1]
    assert [found[group] for group in shared] == stages
    assert all(found[group] == group for group in groups if group not in shared)
    assert {f"{block}/conv1" for block in blocks} <= set(found)


def blocks(*counts):
    return [
        f"stage{stage}_block{block}"
        for stage, count in enumerate(counts, start=1)
        for block in range(1, count + 1)
    ]


@pytest.mark.parametrize("name", ["resnet14", "conv1x1"])
def test_cifar_resnets(name):
    shortcuts = ["stem", "stage2_block1/shortcut", "stage3_block1/shortcut"]
    check_residual(name, shortcuts, "shortcut", blocks(2, 2, 2))
    main = [f"stage{stage}_block1/conv2" for stage in STAGES]
    check_residual(name, main, "main", blocks(2, 2, 2))


def test_a_padded_shortcut_has_none_of_the_new_channels():
    new = ["stage2_block1/conv2", "stage3_block1/conv2"]
    check_residual("pad", ["stem", *new], "shortcut", blocks(2, 2, 2))
    main = ["stage1_block1/conv2", *new]
    check_residual("pad", main, "main", blocks(2, 2, 2))


def test_resnet50_projects_in_every_stage():
    firsts = [f"stage{stage}_block1" for stage in (1, 2, 3, 4)]
    every = blocks(3, 4, 6, 3)
    for prefer, end in (("shortcut", "shortcut"), ("main", "conv3")):
        stages = [f"{first}/{end}" for first in firsts]
        check_residual("resnet50", stages, prefer, every)
        found = chosen("resnet50", prefer)
        assert {f"{block}/conv2" for block in every} <= set(found)
        assert found["stem"] == "stem"


def test_wide_resnets_project_in_every_stage():
    for prefer, end in (("shortcut", "shortcut"), ("main", "conv2")):
        stages = [f"stage{stage}_block1/{end}" for stage in STAGES]
        check_residual("wide_resnet", stages, prefer, blocks(2, 2, 2))


@pytest.mark.parametrize("prefer", ["shortcut", "main"])
def test_where_nothing_is_added_each_layer_stands_for_itself(prefer):
    convolutions = [f"conv{position}" for position in range(1, 14)]
    assert chosen("vgg", prefer) == {name: name for name in [*convolutions, "hidden"]}
    found = chosen("densenet", prefer)
    assert all(group == layer for group, layer in found.items())
    assert [group for group in found if group.startswith("transition")] == [
        "transition1/conv",
        "transition2/conv",
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_rules_come_from_the_structure_and_not_from_names(turned):
    """Names say the contrary, and the operands of sums are given either way round."""

    def conv(w, x, stride=1):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), "SAME", dimension_numbers=numbers
        )

    def add(main, shortcut):
        return shortcut + main if turned else main + shortcut

    def forward(v, x):
        x = jax.nn.relu(conv(v["main"], x))
        x = jax.nn.relu(add(conv(v["e"], jax.nn.relu(conv(v["f"], x))), x))
        main = conv(v["shortcut"], jax.nn.relu(conv(v["g"], x, 2)))
        x = jax.nn.relu(add(main, conv(v["a"], x, 2)))
        x = jax.nn.relu(add(conv(v["c"], jax.nn.relu(conv(v["b"], x))), x))
        return jnp.mean(x, axis=(1, 2)) @ v["d"]

    widths = {
        "main": (2, 4),
        "f": (4, 3),
        "e": (3, 4),
        "g": (4, 5),
        "shortcut": (5, 6),
        "a": (4, 6),
        "b": (6, 5),
        "c": (5, 6),
    }
    variables = {
        name: jax.ShapeDtypeStruct((3, 3, *pair), jnp.float32) for name, pair in widths.items()
    }
    variables["d"] = jax.ShapeDtypeStruct((6, 2), jnp.float32)
    network = trace(forward, variables, jax.ShapeDtypeStruct((1, 6, 6, 2), jnp.float32))

    def read(prefer):
        """The parameters of the sources of groups that several layers make."""
        return [
            deciding_layer(network, name, prefer).parameters
            for name, group in network.groups.items()
            if len(group.layers) > 1
        ]

    assert read("shortcut") == [("main",), ("a",)]
    assert read("main") == [("e",), ("shortcut",)]


def test_a_sum_with_the_same_layer_pooled_is_no_block():
    def forward(v, x):
        first = x @ v["first"]
        first = first + jax.lax.reduce_window(
            first, -jnp.inf, jax.lax.max, (1, 2, 1), (1, 1, 1), "SAME"
        )
        return jnp.sum(first + jax.nn.relu(first @ v["second"]), axis=1) @ v["out"]

    shapes = {"first": (2, 4), "second": (4, 4), "out": (4, 3)}
    variables = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
    network = trace(forward, variables, jax.ShapeDtypeStruct((2, 3, 2), jnp.float32))
    (group,) = network.groups
    assert deciding_layer(network, group).parameters == ("first",)
    assert deciding_layer(network, group, "main").parameters == ("second",)


def test_another_word_or_an_unknown_group_is_refused():
    network = case("resnet").network
    with pytest.raises(ValueError, match="unknown group_source 'best'; allowed are shortcut, main"):
        inspect.unwrap(deciding_layer)(network, "stem", "best")
    with pytest.raises(
        ValueError, match="unknown group of channels 'stam'; allowed are stem, stage1_block1/conv1"
    ):
        deciding_layer(network, "stam")
