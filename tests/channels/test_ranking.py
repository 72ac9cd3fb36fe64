"""Channels of a whole network ranked by any criterion."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.spatial.distance import cdist

from prunejax import filters, masks
from prunejax.channels import ChannelScores, deciding_layer, measure, rank
from prunejax.filters import FILTER_CRITERIA
from prunejax.network import trace
from tests.support import pruning_reference as reference
from tests.support.small_networks import case, of

IN_BLOCK, STAGE = "stage2_block1/conv1", "stage2_block1/conv2"
KEY = jax.random.key(5)


@functools.cache
def scores(criterion, name="resnet", **options):
    _, variables, x, network = case(name)
    reads = {"maps", "activations"}.intersection(FILTER_CRITERIA[criterion].needs)
    images = x if reads else None
    return rank(network, variables, images, criterion=criterion, key=KEY, **options).scores


@functools.cache
def captured(name="resnet"):
    return reference.intermediates(*case(name)[:3])


@pytest.mark.parametrize("criterion", FILTER_CRITERIA)
def test_every_criterion_scores_every_group(criterion):
    network = case("resnet").network
    found = scores(criterion)
    assert list(found) == list(network.groups)
    for group, of_group in found.items():
        assert of_group.shape == (network.groups[group].width,)
        assert np.all(np.isfinite(of_group))
        assert len(set(of_group.tolist())) > 1 or criterion == "hrank"


@pytest.mark.parametrize("prefer", ["shortcut", "main"])
def test_criteria_of_kernels_read_the_source(prefer):
    _, variables, _, network = case("resnet")
    for group in network.groups:
        layer = deciding_layer(network, group, prefer).name
        weights = reference.kernel(variables, layer)
        rows = weights.reshape(-1, weights.shape[-1]).T
        expected = {
            "l1": np.abs(rows).sum(axis=1),
            "l2": np.sqrt((rows**2).sum(axis=1)),
            "fpgm": cdist(rows, rows).sum(axis=1),
        }
        for criterion, wanted in expected.items():
            made = scores(criterion, group_source=prefer)[group]
            np.testing.assert_allclose(made, wanted, rtol=1e-5, err_msg=group)


def test_criteria_of_maps_read_them_before_the_norm():
    for group, layer in ((IN_BLOCK, IN_BLOCK), (STAGE, "stage2_block1/shortcut")):
        maps = captured()[layer]
        np.testing.assert_allclose(scores("entropy")[group], reference.entropies(maps), rtol=2e-3)
        ranks = np.linalg.matrix_rank(maps.transpose(0, 3, 1, 2)).mean(axis=0)
        np.testing.assert_allclose(scores("hrank")[group], ranks, rtol=1e-6)
        kept = reference.select(reference.similarity(maps), reference.entropies(maps), 0.7)
        np.testing.assert_array_equal(scores("entropy_kcore")[group] >= 1, kept)


def test_scales_are_those_of_the_norm_that_follows():
    norms = case("resnet").variables["params"]
    expected = {
        "stem": norms["stem_norm"]["scale"],
        IN_BLOCK: norms["stage2_block1"]["conv1_norm"]["scale"],
        STAGE: norms["stage2_block1"]["shortcut_norm"]["scale"],
    }
    for group, wanted in expected.items():
        np.testing.assert_array_equal(scores("bn_scale")[group], np.abs(wanted))
    main = scores("bn_scale", group_source="main")[STAGE]
    np.testing.assert_array_equal(main, np.abs(norms["stage2_block1"]["conv2_norm"]["scale"]))


def test_scales_of_concatenated_channels():
    """Of a DenseNet's norms the first that reads the channels, at their place in it."""
    params = case("densenet").variables["params"]
    first = np.abs(params["block1_layer1"]["norm"]["scale"])
    later = np.abs(params["transition1"]["norm"]["scale"])
    found = scores("bn_scale", "densenet")
    np.testing.assert_array_equal(found["stem"], first)
    np.testing.assert_array_equal(found["block1_layer2/conv"], later[7:9])


def test_activations_are_those_after_norm_and_sum():
    outputs = captured()
    inner = np.maximum(outputs[f"{IN_BLOCK}_norm"], 0)
    # a stage's channels pass the sum with the main path before they are activated
    stage = np.maximum(outputs["stage2_block1"], 0)
    for group, active in ((IN_BLOCK, inner), (STAGE, stage)):
        zeros = [np.mean(active[..., c] == 0) for c in range(active.shape[-1])]
        np.testing.assert_allclose(scores("apoz")[group], -np.array(zeros), rtol=1e-6)
        assert min(zeros) < max(zeros)


def test_a_layer_keeps_its_own_channels_of_a_padded_sum():
    """Stage 2 makes the stem's channels too, in the middle; its own are the others."""
    network, variables = case("pad").network, case("pad").variables
    stages = [name for name, group in network.groups.items() if len(group.layers) > 1]
    weights = reference.l1(variables, "stage2_block1/conv2")
    np.testing.assert_allclose(scores("l1", "pad")[stages[1]], weights[[0, 5, 6]], rtol=1e-5)
    maps = captured("pad")["stage2_block1/conv2"][..., [0, 5, 6]]
    entropies = scores("entropy", "pad")[stages[1]]
    np.testing.assert_allclose(entropies, reference.entropies(maps), rtol=2e-3)
    active = captured("pad")["stage2_block1"]
    zeros = np.mean(active == 0, axis=(0, 1, 2))[[0, 5, 6]]
    np.testing.assert_allclose(scores("apoz", "pad")[stages[1]], -zeros, rtol=1e-6)


@pytest.mark.parametrize("how", ["plain", "cast", "scaled", "turned"])
def test_a_kernel_that_reads_the_channels_it_makes(how):
    """The outputs are the kernel's axis 0, as in PyTorch; its inputs, of the same group, axis 1."""

    def conv(w, x):
        numbers = ("NCHW", "OIHW", "NCHW")
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)

    def kernel(v):
        if how == "cast":
            return v["second"].astype(jnp.bfloat16).astype(jnp.float32)
        if how == "scaled":
            return jnp.full((5, 5, 3, 3), 2.0) * v["second"]
        return v["second"].transpose(3, 2, 0, 1) if how == "turned" else v["second"]

    def forward(v, x):
        x = jax.nn.relu(conv(v["first"], x))
        return jnp.mean(x + conv(kernel(v), x), axis=(2, 3)) @ v["head"]

    random = np.random.default_rng(0)
    shape = (3, 3, 5, 5) if how == "turned" else (5, 5, 3, 3)
    shapes = {"first": (5, 2, 3, 3), "second": shape, "head": (5, 2)}
    variables = {
        name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }
    network = trace(forward, variables, jnp.ones((1, 2, 6, 6)))
    (made,) = rank(network, variables, None, criterion="l1", group_source="main").scores.values()
    others = (0, 1, 2) if how == "turned" else (1, 2, 3)
    np.testing.assert_allclose(made, np.abs(variables["second"]).sum(axis=others), rtol=1e-5)


def test_keys_decide_what_is_drawn():
    _, variables, _, network = case("resnet")
    again = rank(network, variables, None, criterion="random", key=KEY).scores
    other = rank(network, variables, None, criterion="random", key=jax.random.key(6)).scores
    first = scores("random")
    assert all(np.array_equal(first[group], again[group]) for group in first)
    assert not any(np.array_equal(first[group], other[group]) for group in first)
    widths = {}
    for drawn in first.values():
        widths.setdefault(len(drawn), []).append(tuple(drawn.tolist()))
    assert all(len(set(draws)) == len(draws) for draws in widths.values())


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 0.99, 1.0])
def test_the_best_stay(fraction):
    _, variables, _, network = case("resnet")
    ranking = rank(network, variables, None, criterion="l1")
    for group, stays in ranking.keep(fraction).items():
        worth, width = ranking.scores[group], network.groups[group].width
        assert stays.sum() == max(1, round(fraction * width))
        assert np.asarray(worth)[stays].min() >= np.asarray(worth)[~stays].max(initial=-np.inf)


def test_ties_go_to_the_first_and_counts_are_by_group():
    network = case("chain").network
    tied = ChannelScores(
        network, {"one": jnp.asarray([1.0, 2, 2, 0, 2, 1, 1, 0]), "two": jnp.ones(10)}
    )
    kept = tied.keep({"one": 2, "two": 3})
    assert np.flatnonzero(kept["one"]).tolist() == [1, 2]
    assert np.flatnonzero(kept["two"]).tolist() == [0, 1, 2]
    assert np.flatnonzero(tied.keep({"one": 5, "two": 1})["one"]).tolist() == [0, 1, 2, 4, 5]
    assert {group: int(stays.sum()) for group, stays in tied.keep(0.1, min_channels=4).items()} == {
        "one": 4,
        "two": 4,
    }
    plan = tied.plan(0.3, round_to=4)
    assert [int(plan.keep[group].sum()) for group in ("one", "two", "three")] == [4, 4, 7]


def test_a_selection_counts_the_groups_done():
    _, variables, _, network = case("resnet")
    told = []
    found = rank(
        network,
        variables,
        None,
        criterion="l2",
        select="block1/conv1",
        on_group=lambda *at: told.append(at),
    )
    assert list(found.scores) == [f"stage{stage}_block1/conv1" for stage in (1, 2, 3)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(found.scores[IN_BLOCK], scores("l2")[IN_BLOCK])


def test_units_of_dense_layers_if_they_are_asked_for():
    model, variables, x, network = case("mlp")
    found = scores("l1", "mlp", kinds=("dense",))
    assert list(found) == ["hidden1", "hidden2"]
    for layer, made in found.items():
        np.testing.assert_allclose(made, reference.l1(variables, layer), rtol=1e-5)
    active = np.maximum(captured("mlp")["hidden2"], 0)
    zeros = np.mean(active == 0, axis=0)
    np.testing.assert_allclose(
        scores("apoz", "mlp", kinds=("dense",))["hidden2"], -zeros, rtol=1e-6
    )
    plan = rank(network, variables, None, criterion="l1", kinds=("dense",)).plan(0.5)
    masked = model.apply(masks.apply(variables, plan.masks(variables)), x)
    np.testing.assert_allclose(plan.apply_fn(plan.slice(variables), x), masked, rtol=1e-5)
    both = scores("l1", "chain", kinds=("conv", "dense"))
    assert list(both) == ["one", "two", "three"]


def test_units_in_front_of_the_examples():
    """A product under vmap puts its units first, and so does the activation after it."""
    keys = jax.random.split(jax.random.key(0))
    layers = (eqx.nn.Linear(4, 7, key=keys[0]), eqx.nn.Linear(7, 3, key=keys[1]))
    variables, static = eqx.partition(layers, eqx.is_array)

    def forward(variables, x):
        first, last = eqx.combine(variables, static)
        return jax.vmap(lambda x: last(jax.nn.relu(first(x))))(x)

    x = jax.random.normal(KEY, (11, 4))
    network = trace(forward, variables, x[:1])
    active = np.maximum(np.asarray(x) @ layers[0].weight.T + layers[0].bias, 0)
    zeros = np.mean(active == 0, axis=0)
    (made,) = rank(network, variables, x, criterion="apoz", kinds=("dense",)).scores.values()
    np.testing.assert_allclose(made, -zeros, rtol=1e-6)


class Bare(nn.Module):
    """Nothing between its layers."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="plain")(x)
        return nn.Dense(2, name="head")(jnp.mean(x, axis=(1, 2)))


def test_what_a_criterion_lacks_is_named():
    _, variables, x, network = of(Bare(), (6, 6, 1))
    for criterion, missing in (("apoz", "activation"), ("bn_scale", "norm")):
        with pytest.raises(ValueError, match=f"no {missing} follows 'plain'"):
            rank(network, variables, x, criterion=criterion)
    with pytest.raises(ValueError, match="no norm follows 'one'"):
        scores("bn_scale", "chain")
    for criterion in ("random", "kcore_random"):
        _, variables, x, network = case("chain")
        with pytest.raises(ValueError, match=f"'one'.*'{criterion}' needs a key"):
            rank(network, variables, x, criterion=criterion)


class Unscaled(nn.Module):
    """A norm with a shift and no scale."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="plain")(x)
        x = nn.BatchNorm(use_running_average=True, use_scale=False, name="norm")(x)
        return nn.Dense(2, name="head")(jnp.mean(nn.relu(x), axis=(1, 2)))


def test_a_norm_without_a_scale_is_named():
    _, variables, x, network = of(Unscaled(), (6, 6, 1))
    with pytest.raises(ValueError, match="'norm' after 'plain' has no scale"):
        rank(network, variables, x, criterion="bn_scale")


@pytest.mark.parametrize("criterion", FILTER_CRITERIA)
def test_images_are_needed_where_maps_are_read(criterion):
    _, variables, _, network = case("resnet")
    if {"maps", "activations"}.intersection(FILTER_CRITERIA[criterion].needs):
        with pytest.raises(ValueError, match=f"'{criterion}' needs images"):
            rank(network, variables, None, criterion=criterion, key=KEY)
    else:
        assert rank(network, variables, None, criterion=criterion, key=KEY).scores


def test_an_unknown_criterion_is_refused():
    _, variables, x, network = case("resnet")
    there = ", ".join(FILTER_CRITERIA)
    with pytest.raises(
        ValueError, match=f"unknown criterion for channels 'best'; allowed are {there}"
    ):
        rank(network, variables, x, criterion="best")


def test_where_there_are_no_convolutions_the_groups_are_listed():
    _, variables, x, network = case("mlp")
    message = (
        r"kind conv or conv_transpose; there are: hidden1 \(dense\), hidden2 \(dense\) "
        r"\(kinds=\('dense',\) takes them\)$"
    )
    with pytest.raises(ValueError, match=message):
        rank(network, variables, x, criterion="l1")
    with pytest.raises(ValueError, match=message):
        measure(network, variables, x)
    with pytest.warns(UserWarning, match="no channel of this network can be removed"):
        logistic = trace(lambda v, x: x @ v, jnp.ones((3, 2)), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"there are: none$"):
        rank(logistic, jnp.ones((3, 2)), None, criterion="l1", kinds=("dense",))


@pytest.mark.parametrize(
    "fraction, message",
    [
        (1.01, r"must be in \[0, 1\], got 1.01"),
        (-0.1, r"must be in \[0, 1\], got -0.1"),
        (float("nan"), r"must be in \[0, 1\], got nan"),
        ({"one": 2, "two": 3}, "how many channels of 'three' stay"),
        ({"one": 2, "two": 11, "three": 1}, "of 'two' between 1 and 10 channels can stay, got 11"),
        ({"one": 0, "two": 1, "three": 1}, "of 'one' between 1 and 8 channels can stay, got 0"),
    ],
)
def test_a_wrong_fraction_is_refused(fraction, message):
    _, variables, _, network = case("chain")
    ranking = rank(network, variables, None, criterion="l1")
    with pytest.raises(ValueError, match=message):
        ranking.plan(fraction)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"one": np.full(8, np.nan)}, "8 of 8 scores of the channels of 'one' are NaN"),
        ({"one": np.array([1, 2, np.nan, 4, 5, 6, 7, 8])}, "1 of 8 scores .* are NaN"),
        (
            {"one": np.full(8, np.inf)},
            "8 of 8 scores .* NaN or infinite: scores must be finite",
        ),
        ({"one": np.array([1, 2, -np.inf, 4, 5, 6, 7, 8])}, "1 of 8 scores .* are NaN or infinite"),
        ({"one": np.ones(7)}, r"'one' needs one score per channel, 8 of them, got shape \[7\]"),
        ({"four": np.ones(8)}, "unknown group of channels 'four'; allowed are one, two, three"),
    ],
)
def test_scores_that_rank_nothing_are_refused(changed, message):
    """A stable sort would keep the first half without a word."""
    _, variables, _, network = case("chain")
    scored = rank(network, variables, None, criterion="l1").scores
    with pytest.raises(ValueError, match=message):
        ChannelScores(network, scored | changed)


def test_none_at_least_is_refused():
    _, variables, _, network = case("chain")
    ranking = rank(network, variables, None, criterion="l1")
    for least in (0, -1):
        with pytest.raises(ValueError, match=f"min_channels must be at least 1, got {least}"):
            ranking.keep(0.5, min_channels=least)
    with pytest.raises(ValueError, match="round_to must be at least 1, got 0"):
        ranking.plan(0.5, round_to=0)


def test_scores_are_those_of_the_criterion_on_the_features():
    """The registry's functions are what is applied: CHIP on the captured maps."""
    maps = captured()[IN_BLOCK]
    wanted = filters.chip(filters.ChannelFeatures(maps=jnp.asarray(maps)))
    np.testing.assert_allclose(scores("chip")[IN_BLOCK], wanted, rtol=1e-3, atol=1e-4)


def test_a_criterion_may_be_a_function():
    _, variables, x, network = case("chain")
    named = rank(network, variables, x, criterion="l1").scores
    for given in (filters.l1, filters.FILTER_CRITERIA["l1"], functools.partial(filters.l1)):
        scores = rank(network, variables, None, criterion=given).scores
        for group in named:
            np.testing.assert_array_equal(scores[group], named[group])
    lower = functools.partial(filters.entropy_kcore, tau=0.6)
    scores = rank(network, variables, x, criterion=lower).scores
    expected = measure(network, variables, x).keep(0.6)
    for group, stays in expected.items():
        np.testing.assert_array_equal(scores[group] >= 1, stays)


def test_a_criterion_of_ones_own_reads_kernels_and_maps():
    _, variables, x, network = case("chain")

    def strength(features, *, key):
        return jnp.abs(features.kernel).sum(axis=(0, 1, 2)) * features.maps.std(axis=(0, 1, 2))

    scores = rank(network, variables, x, criterion=strength)
    assert list(scores.scores) == list(network.groups)
    with pytest.raises(ValueError, match="the criterion 'strength' needs images"):
        rank(network, variables, None, criterion=strength)

    def scale(features, *, key):
        raise ValueError("it does not like them")

    with pytest.raises(ValueError, match="scale cannot score the channels of 'one': it does not"):
        rank(network, variables, x, criterion=functools.partial(scale))


def test_inside_jit_it_says_that_it_runs_outside():
    def forward(variables, x):
        return jax.nn.relu(x @ variables["first"]) @ variables["last"]

    variables = {"first": jnp.ones((4, 3)), "last": jnp.ones((3, 2))}
    network = trace(forward, variables, jnp.ones((1, 4)))

    def score(variables):
        return rank(network, variables, None, criterion="l1", kinds=("dense",)).scores

    with pytest.raises(ValueError, match=r"outside of jax\.jit"):
        jax.jit(score)(variables)
