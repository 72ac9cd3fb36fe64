"""Where a group's channels are in what a layer puts out, whatever the layout."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.network import trace
from tests.support.small_networks import case


def check(network, group, layer, axis, indices):
    place = network.place(group, layer)
    assert place.axis == axis
    assert place.indices.tolist() == list(indices)


def test_channels_last():
    network = case("chain").network
    for group, width in (("one", 8), ("two", 10), ("three", 7)):
        check(network, group, group, 3, range(width))
    check(network, "two", "two_norm", 3, range(10))
    dense = case("mlp").network
    check(dense, "hidden1", "hidden1", 1, range(9))
    check(dense, "hidden2", "relu_2", 1, range(7))


def test_concatenated_channels_come_after_the_earlier_ones():
    """Stem 4, then 3 and 2 in the first block; 9 from the transition, then 2 and 3."""
    network = case("densenet").network
    joined = [layer.name for layer in network.layers.values() if layer.kind == "concatenate"]
    check(network, "block1_layer2/conv", "block1_layer2/conv", 3, range(2))
    for layer in (joined[1], "transition1/norm"):
        check(network, "stem", layer, 3, range(4))
        check(network, "block1_layer1/conv", layer, 3, range(4, 7))
        check(network, "block1_layer2/conv", layer, 3, range(7, 9))
    check(network, "transition1/conv", joined[3], 3, range(9))
    check(network, "block2_layer1/conv", joined[2], 3, range(9, 11))
    check(network, "block2_layer2/conv", joined[3], 3, range(11, 14))
    with pytest.raises(ValueError, match="'block1_layer2/conv' are not in what 'concatenate_1'"):
        network.place("block1_layer2/conv", joined[0])


def test_a_padded_shortcut_puts_old_channels_in_the_middle():
    """Of 7 channels one new one is in front of the 4, two behind; of 9 one more on either side."""
    network = case("pad").network
    old, new, newest = (name for name, group in network.groups.items() if len(group.layers) > 1)
    for layer in ("stage2_block1/conv2", "stage2_block2/conv2", "stage2_block2/conv2_norm"):
        check(network, old, layer, 3, range(1, 5))
        check(network, new, layer, 3, [0, 5, 6])
    check(network, old, "stage3_block1/conv2", 3, range(2, 6))
    check(network, new, "stage3_block1/conv2", 3, [1, 6, 7])
    check(network, newest, "stage3_block1/conv2", 3, [0, 8])


@pytest.mark.parametrize("use_bias", [True, False])
def test_equinox_has_channels_first(use_bias):
    keys = jax.random.split(jax.random.key(0), 3)
    layers = (
        eqx.nn.Conv2d(2, 6, 3, use_bias=use_bias, key=keys[0]),
        eqx.nn.Conv1d(6, 5, 3, use_bias=use_bias, key=keys[1]),
        eqx.nn.Linear(5, 4, use_bias=use_bias, key=keys[2]),
        eqx.nn.Linear(4, 3, key=keys[2]),
    )
    variables, static = eqx.partition(layers, eqx.is_array)

    def one(layers, x):
        first, second, third, last = layers
        x = jax.nn.relu(first(x))
        x = jax.nn.relu(second(x.sum(axis=2)))
        return last(jax.nn.relu(third(x.mean(axis=1))))

    def batched(variables, x):
        return jax.vmap(lambda x: one(eqx.combine(variables, static), x))(x)

    x = jax.random.normal(jax.random.key(1), (3, 2, 7, 8))
    network = trace(batched, variables, x)
    first, second, third = network.groups.values()
    outputs = network.record(variables, x, [group.layers[0] for group in (first, second, third)])
    by_hand = jax.vmap(layers[0])(x)
    place = network.place(first.name, first.name)
    moved = np.moveaxis(np.asarray(outputs[first.name]), place.axis, 1)[:, place.indices]
    np.testing.assert_allclose(moved, by_hand, rtol=1e-5, atol=1e-6)
    assert place.axis == 1
    assert outputs[second.name].shape[network.place(second.name, second.name).axis] == 5
    # a product under vmap leaves the units in front of the examples
    place = network.place(third.name, third.name)
    assert outputs[third.name].shape[place.axis] == 4

    single = trace(lambda v, x: one(eqx.combine(v, static), x), variables, x[0])
    name = next(iter(single.groups))
    check(single, name, name, single.layers[name].output_shape.index(6), range(6))


def test_what_is_not_there_is_refused():
    network = case("chain").network
    with pytest.raises(ValueError, match="group 'one' are not in what 'three' puts out"):
        network.place("one", "three")
    with pytest.raises(ValueError, match="group 'one' are not in what 'four' puts out"):
        network.place("one", "four")
    with pytest.raises(ValueError, match="unknown group of channels 'four'; allowed are one"):
        network.place("four", "one")


def test_arrays_hold_the_channels_where_the_place_says():
    """Removing a channel changes exactly that slice."""
    network, variables, x = case("densenet").network, case("densenet").variables, case("densenet").x
    layer = "block2_layer2/norm"
    before = network.record(variables, x, [layer])[layer]
    for group in ("transition1/conv", "block2_layer1/conv"):
        keep = {group: np.arange(network.groups[group].width) != 1}
        masks = network.plan(keep).masks(variables)
        masked = jax.tree.map(
            lambda leaf, mask: leaf if mask is None else jnp.where(mask, leaf, 0),
            variables,
            masks,
            is_leaf=lambda leaf: leaf is None,
        )
        after = network.record(masked, x, [layer])[layer]
        place = network.place(group, layer)
        channels = np.moveaxis(np.asarray(after), place.axis, 0)
        # scale and shift of the removed channel are masked too
        assert np.all(channels[place.indices[1]] == 0)
        unchanged = np.moveaxis(np.asarray(before), place.axis, 0)[place.indices[0]]
        np.testing.assert_allclose(channels[place.indices[0]], unchanged, rtol=1e-5)
