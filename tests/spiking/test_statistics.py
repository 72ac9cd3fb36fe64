"""Criticality, rates and entropies against their definitions, layer by layer in NumPy."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks, network, spiking
from prunejax.models import spiking as module
from tests.spiking.conftest import made

DEEP = pytest.param("resnet", marks=pytest.mark.slow)


def activity(name):
    """Spikes and potentials of each layer, as the model itself puts them out."""
    model, variables, x, _ = made(name)
    seen, original = [], module.lif

    def spy(currents, **settings):
        both = original(currents, **settings)
        seen.append([np.asarray(one, np.float64) for one in both])
        return both

    module.lif = spy
    try:
        model.apply(variables, x)
    finally:
        module.lif = original
    return seen


def window(d):
    return np.where(abs(d) <= 0.5, 3 / np.cosh(3 * d) ** 2 / (2 * np.tanh(1.5)), 0.0)


def raised(d):
    return (np.tanh(3 * np.clip(d, -0.5, 0.5)) + np.tanh(1.5)) / (2 * np.tanh(1.5))


@pytest.mark.parametrize("reading, function", [("derivative", window), ("primitive", raised)])
@pytest.mark.parametrize("name", ["mlp", "conv", "conv, no norm", DEEP])
def test_criticality_is_a_mean_of_maxima_of_means(name, reading, function):
    _, variables, x, traced = made(name)
    threshold = 0.2 if name == "conv, no norm" else 0.5
    found = spiking.criticality(traced, variables, np.asarray(x), reading=reading, batch_size=2)
    layers = activity(name)
    assert len(found) == len(layers)
    for scores, (_, membrane) in zip(found.values(), layers, strict=True):
        over_time = function(membrane - threshold).mean(axis=0)
        images = over_time.reshape(len(x), -1, over_time.shape[-1])
        np.testing.assert_allclose(scores, images.max(axis=1).mean(axis=0), rtol=1e-4, atol=1e-6)


def test_batches_of_any_size_give_one_mean():
    _, variables, x, traced = made("conv")
    statistic = spiking.streaming_criticality(traced)
    state = statistic.init()
    for part in (x[:1], x[1:4], x[4:]):
        state = statistic.update(state, variables, part)
    whole = spiking.criticality(traced, variables, np.asarray(x))
    for layer, scores in statistic.finalize(state).items():
        np.testing.assert_allclose(scores, whole[layer], rtol=1e-5)
    with pytest.raises(ValueError, match="there were no images"):
        statistic.finalize(statistic.init())


def test_another_reading(without_type_checks):
    *_, traced = made("mlp")
    with pytest.raises(ValueError, match="unknown reading 'slope'"):
        spiking.streaming_criticality(traced, "slope")


@pytest.mark.parametrize("name", ["mlp", "conv", DEEP])
def test_rates_entropies_and_counts(name):
    _, variables, x, traced = made(name)
    rates = spiking.firing_rates(traced, variables, np.asarray(x))
    entropies = spiking.feature_entropy(traced, variables, np.asarray(x))
    layers = activity(name)
    for layer, (spikes, _) in zip(rates, layers, strict=True):
        p = spikes.mean(axis=(0, 1)).reshape(-1, spikes.shape[-1])
        np.testing.assert_allclose(rates[layer], p, atol=1e-6)
        with np.errstate(divide="ignore", invalid="ignore"):
            h = np.nan_to_num(-p * np.log2(p)) + np.nan_to_num(-(1 - p) * np.log2(1 - p))
        np.testing.assert_allclose(entropies[layer], h.mean(axis=0), atol=1e-5)
    last = layers[-1][0]
    counts = spiking.firing_counts(traced, variables, np.asarray(x), batch_size=2)
    np.testing.assert_array_equal(
        counts, last.sum(axis=0).reshape(len(x), -1, last.shape[-1]).sum(1)
    )


def test_scores_of_weights_stand_along_their_outputs():
    _, variables, x, traced = made("conv")
    scores = spiking.criticality(traced, variables, np.asarray(x))
    tree = spiking.of_weights(traced, scores, masks.make(variables["params"]))
    assert tree["classifier"] == {"bias": None, "kernel": None}
    np.testing.assert_array_equal(tree["conv1"]["kernel"].ravel(), scores["lif_1"])
    np.testing.assert_array_equal(tree["conv2"]["kernel"].ravel(), scores["lif_2"])
    np.testing.assert_array_equal(tree["hidden"]["kernel"].ravel(), scores["lif_3"])
    assert tree["conv2"]["kernel"].shape == (1, 1, 1, 6)
    assert spiking.undriven(traced, variables["params"]) == ("classifier/kernel",)


def test_each_kernel_of_a_residual_network_has_the_neurons_that_it_drives():
    _, variables, x, traced = made("resnet")
    scores = spiking.criticality(traced, variables, np.asarray(x))
    tree = spiking.of_weights(traced, scores, variables["params"])
    drives = {
        "stem": "lif_1",
        "stage1_block1_conv1": "lif_2",
        "stage1_block1_conv2": "lif_3",
        "stage2_block1_shortcut": "lif_9",
        "stage2_block1_conv2": "lif_9",
        "stage3_block2_conv2": "lif_17",
        "hidden": "lif_18",
    }
    for layer, neurons in drives.items():
        np.testing.assert_array_equal(tree[layer]["kernel"].ravel(), scores[neurons])


class Plain:
    """Models that are not linen's: the same two layers on one set of numbers."""

    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(16, 6)).astype(np.float32), rng.normal(size=(6, 3))
    x = rng.normal(size=(7, 16)).astype(np.float32)


def plain_apply(variables, x):
    currents = jnp.broadcast_to(x @ variables["first"], (4, x.shape[0], 6))
    return spiking.lif(currents)[0].mean(axis=0) @ variables["last"]


def equinox_apply(variables, x):
    """One image, mapped over the batch; kernels are [outputs, inputs]."""

    def one(image):
        currents = jnp.broadcast_to(variables["first"] @ image, (4, 6))
        return variables["last"] @ spiking.lif(currents)[0].mean(axis=0)

    return jax.vmap(one)(x)


def test_any_function_can_be_read_also_one_that_is_mapped_over_its_batch():
    last = Plain.last.astype(np.float32)
    plain = {"first": jnp.asarray(Plain.first), "last": jnp.asarray(last)}
    turned = {"first": jnp.asarray(Plain.first.T), "last": jnp.asarray(last.T)}
    found = []
    for apply, variables in ((plain_apply, plain), (equinox_apply, turned)):
        traced = network.trace(apply, variables, Plain.x[:2])
        assert {group.width for group in traced.groups.values()} == {6}
        scores = spiking.criticality(traced, variables, Plain.x)
        measures = spiking.measure(traced, variables, Plain.x)
        weights = spiking.of_weights(traced, scores, variables)["first"]
        found.append((scores["lif_1"], measures.sops, measures.firing_rate, weights.ravel()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    assert found[0][1:3] == pytest.approx(found[1][1:3])
    np.testing.assert_allclose(found[0][3], found[0][0])
    np.testing.assert_allclose(found[1][3], found[1][0])


def test_frames_in_the_place_of_images():
    """What is coded in time goes in with time on the first axis; direct coding changes nothing."""
    model, variables, x, traced = made("conv")
    frames = spiking.encode(x, 3)
    np.testing.assert_allclose(model.apply(variables, frames), model.apply(variables, x), atol=1e-5)
    again = network.trace(model.apply, variables, frames)
    scores = spiking.streaming_criticality(again)
    state = scores.update(scores.init(), variables, frames)
    expected = spiking.criticality(traced, variables, np.asarray(x))
    for layer, value in scores.finalize(state).items():
        np.testing.assert_allclose(value, expected[layer], rtol=1e-4, atol=1e-6)


def test_frames_are_counted_as_images():
    """Not by their first axis, which is time, and never cut along it."""
    _, variables, x, traced = made("conv")
    frames = spiking.encode(x, 3)
    for batch_size in (2, 256):
        again = spiking.measure(traced, variables, frames, batch_size=batch_size)
        plain = spiking.measure(traced, variables, np.asarray(x))
        assert again.sops == pytest.approx(plain.sops)
        assert again.macs == pytest.approx(3 * plain.macs)  # they may differ from step to step
        counts = spiking.firing_counts(traced, variables, frames, batch_size=batch_size)
        np.testing.assert_array_equal(
            counts, spiking.firing_counts(traced, variables, np.asarray(x))
        )
        scores = spiking.criticality(traced, variables, frames, batch_size=batch_size)
        for layer, expected in spiking.criticality(traced, variables, np.asarray(x)).items():
            np.testing.assert_allclose(scores[layer], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function", [spiking.criticality, spiking.firing_counts, spiking.measure])
def test_no_images_and_no_batch(function):
    _, variables, x, traced = made("mlp")
    with pytest.raises(ValueError, match="there are no images"):
        function(traced, variables, np.asarray(x)[:0])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        function(traced, variables, np.asarray(x), batch_size=0)


def test_sums_of_half_precision_are_taken_in_float32():
    model, variables, _, _ = made("mlp")
    x = jax.random.normal(jax.random.key(3), (1500, 4, 4, 1))
    half = model.clone(dtype=jnp.bfloat16)
    traced = network.trace(half.apply, variables, x[:1])
    one = spiking.firing_rates(traced, variables, np.asarray(x), batch_size=1500)
    many = spiking.firing_rates(traced, variables, np.asarray(x), batch_size=4)
    for layer, rates in one.items():
        np.testing.assert_allclose(many[layer], rates, atol=1e-5)
    counts = spiking.firing_counts(traced, variables, np.asarray(x))
    np.testing.assert_array_equal(counts, np.round(counts))


def test_variables_may_stand_in_any_order():
    _, variables, x, traced = made("mlp")
    names = ("hidden2", "classifier", "hidden1")
    turned = {"params": collections.OrderedDict((n, variables["params"][n]) for n in names)}
    assert spiking.measure(traced, turned, np.asarray(x)).sops == pytest.approx(
        spiking.measure(traced, variables, np.asarray(x)).sops
    )
    other = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    with pytest.raises(ValueError, match=r"not the variables of the network: .*bfloat16"):
        spiking.criticality(traced, other, np.asarray(x))
