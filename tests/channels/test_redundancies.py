"""A whole network measured once, against the paper's algorithms on captured feature maps."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import masks
from prunejax.channels import (
    Measured,
    Redundancies,
    collecting,
    deciding_layer,
    measure,
    rank_redundant,
)
from prunejax.channels.redundancies import keep_representatives
from prunejax.network import trace
from tests.support import pruning_reference as reference
from tests.support.small_networks import case

NAMES = ("resnet", "chain")
TAUS = (0.55, 0.7, 0.75, 0.9)


@functools.cache
def found(name, group_source="shortcut"):
    _, variables, x, network = case(name)
    return measure(network, variables, x, group_source=group_source)


@functools.cache
def expected(name, group_source="shortcut"):
    """For each group similarity, entropies and L1 norms, from what the modules return."""
    model, variables, x, network = case(name)
    outputs = reference.intermediates(model, variables, x)
    made = {}
    for group in network.groups:
        layer = deciding_layer(network, group, group_source).name
        maps = outputs[layer]
        made[group] = (
            reference.similarity(maps),
            {"entropy": reference.entropies(maps), "l1": reference.l1(variables, layer)},
        )
    return made


def check(kept, name, tau, representative="entropy", group_source="shortcut", **options):
    for group, (matrix, worths) in expected(name, group_source).items():
        wanted = reference.select(matrix, worths[representative], tau, **options)
        np.testing.assert_array_equal(kept[group], wanted, err_msg=group)
    assert set(kept) == set(expected(name, group_source))


def count(kept):
    return sum(int(stays.sum()) for stays in kept.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_measured(name):
    for group, (matrix, worths) in expected(name).items():
        measured = found(name).evidence.groups[group]
        np.testing.assert_array_equal(measured.similarity, matrix, err_msg=group)
        np.testing.assert_allclose(measured.entropy, worths["entropy"], rtol=2e-3)
        np.testing.assert_allclose(measured.l1, worths["l1"], rtol=1e-5)
        assert measured.layer == deciding_layer(case(name).network, group).name
    assert found(name).evidence.skipped == ()


@pytest.mark.parametrize("group_source", ["shortcut", "main"])
@pytest.mark.parametrize("representative", ["entropy", "l1"])
@pytest.mark.parametrize("name", NAMES)
def test_kept_channels_are_those_of_algorithm_2(name, representative, group_source):
    counts = []
    for tau in TAUS:
        kept = found(name, group_source).keep(tau, representative=representative)
        check(kept, name, tau, representative, group_source)
        counts.append(count(kept))
    assert counts == sorted(counts)
    assert len(set(counts)) >= 3, "these thresholds do not tell much"


def test_the_sources_and_the_representatives_matter():
    kept = [
        found("resnet", group_source).keep(0.7, representative=representative)
        for group_source in ("shortcut", "main")
        for representative in ("entropy", "l1")
    ]
    rows = {tuple(np.concatenate([one[group] for group in kept[0]]).tolist()) for one in kept}
    assert len(rows) == 4


def test_random_representatives_come_from_the_key():
    draws = []
    for seed in (0, 0, 1, 2):
        kept = found("resnet").keep(0.7, representative="random", key=jax.random.key(seed))
        draws.append(np.concatenate(list(kept.values())).tolist())
        for group, (matrix, _) in expected("resnet").items():
            left = reference.graph(matrix, 0.7).subgraph(np.flatnonzero(kept[group]).tolist())
            assert left.number_of_edges() == 0
            assert kept[group].any()
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1
    # layers of one width draw apart: the same similarities, other representatives
    groups = found("chain").evidence.groups
    twin = groups["one"]
    alike = Redundancies({"one": twin, "two": twin})
    scores = dict.fromkeys(alike.groups, twin.entropy)
    kept = [
        keep_representatives(alike, scores, 0.7, representative="random", key=jax.random.key(seed))
        for seed in range(6)
    ]
    assert any(one["one"].tolist() != one["two"].tolist() for one in kept)


def test_an_equal_similarity_counts_if_it_is_said():
    matrix = expected("resnet")["stem"][0]
    tau = float(np.max(matrix[np.triu_indices(6, 1)]))
    check(found("resnet").keep(tau), "resnet", tau)
    check(found("resnet").keep(tau, inclusive=True), "resnet", tau, inclusive=True)
    assert found("resnet").keep(tau)["stem"].all()
    assert not found("resnet").keep(tau, inclusive=True)["stem"].all()


def test_later_layers_get_higher_thresholds():
    """tau + delta i / (L - 1), at most 1: for 6 groups in the order of the layers."""
    groups = list(case("resnet").network.groups)
    assert len(groups) == 6
    for tau, delta in ((0.6, 0.25), (0.5, 0.9)):
        kept = found("resnet").keep(tau, delta=delta)
        thresholds = [min(1.0, tau + delta * index / 5) for index in range(6)]
        for group, threshold in zip(groups, thresholds, strict=True):
            matrix, worths = expected("resnet")[group]
            wanted = reference.select(matrix, worths["entropy"], threshold)
            np.testing.assert_array_equal(kept[group], wanted, err_msg=group)
        plain = found("resnet").keep(tau)
        assert kept[groups[0]].tolist() == plain[groups[0]].tolist()
        assert kept[groups[-1]].sum() > plain[groups[-1]].sum()
    alone = measure(case("chain").network, case("chain").variables, case("chain").x, select="^two")
    assert alone.keep(0.7, delta=0.3)["two"].tolist() == found("chain").keep(0.7)["two"].tolist()


def test_the_last_layer_gets_the_whole_rise():
    """Pairs that resemble each other by .505, .515, ...: those above the threshold lose one."""
    levels = np.arange(0.505, 1.0, 0.01)
    matrix = np.eye(2 * len(levels), dtype=np.float32)
    for pair, level in enumerate(levels):
        matrix[2 * pair, 2 * pair + 1] = matrix[2 * pair + 1, 2 * pair] = level
    worth = jnp.arange(len(matrix), dtype=jnp.float32)
    ladder = Measured("one", jnp.asarray(matrix), worth, worth)
    groups = dict.fromkeys(("one", "two", "three", "four"), ladder)
    kept = keep_representatives(Redundancies(groups), dict.fromkeys(groups, worth), 0.6, delta=0.3)
    for group, threshold in zip(groups, (0.6, 0.7, 0.8, 0.9), strict=True):
        assert np.sum(~kept[group]) == np.sum(levels > threshold), group


def test_so_many_channels_stay_at_least():
    for least in (1, 3, 100):
        check(found("chain").keep(0.55, min_channels=least), "chain", 0.55, least=least)
    assert all(stays.all() for stays in found("chain").keep(0.55, min_channels=100).values())


def test_a_quota_holds_for_the_groups_that_match():
    tau, widths = 0.5, {"one": 8, "two": 10, "three": 7}
    quota = {"t(wo|hree)": 0.5, "^two$": 0.75}
    kept = found("chain").keep(tau, quota=quota, min_channels=2)
    for group, least in {"one": 2, "two": 8, "three": 4}.items():
        matrix, worths = expected("chain")[group]
        wanted = reference.select(matrix, worths["entropy"], tau, least=least)
        np.testing.assert_array_equal(kept[group], wanted)
        assert least <= widths[group]
    assert int(kept["two"].sum()) == 8
    assert int(found("chain").keep(tau, quota={"two": 0.0})["two"].sum()) < 8


def test_a_plan_keeps_them_and_rounds_up():
    kept, network = found("chain").keep(0.7), case("chain").network
    plan = found("chain").plan(0.7)
    assert all(np.array_equal(plan.keep[group], kept[group]) for group in kept)
    rounded = found("chain").plan(0.7, round_to=4)
    for group, stays in kept.items():
        width = network.groups[group].width
        assert rounded.keep[group].sum() == min(-(-int(stays.sum()) // 4) * 4, width)
        assert np.all(rounded.keep[group] >= stays)


def test_groups_that_are_not_selected_stay_whole():
    _, variables, x, network = case("resnet")
    told = []
    part = measure(network, variables, x, select="stage[23]", on_group=lambda *at: told.append(at))
    assert list(part.evidence.groups) == [
        name for name in network.groups if "stage1" not in name and name != "stem"
    ]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    plan = part.plan(0.5)
    assert plan.keep["stem"].all()
    assert not plan.keep["stage2_block1/conv1"].all()
    for group, stays in part.keep(0.7).items():
        assert stays.tolist() == found("resnet").keep(0.7)[group].tolist()


def test_another_hash_measures_another_similarity():
    _, variables, x, network = case("chain")
    other = measure(network, variables, x, hash="imagehash", select="one")
    assert not np.array_equal(
        other.evidence.groups["one"].similarity, found("chain").evidence.groups["one"].similarity
    )


@pytest.mark.parametrize("name", NAMES)
def test_in_pieces_as_at_once(name, monkeypatch):
    _, variables, x, network = case(name)
    recorded = []
    plain = type(network).record

    def counting(self, variables, x, layers):
        recorded.append(list(layers))
        return plain(self, variables, x, layers)

    monkeypatch.setattr(type(network), "record", counting)
    sizes = {
        group: 4 * len(x) * int(np.prod(deciding_layer(network, group).output_shape[1:]))
        for group in network.groups
    }
    monkeypatch.setattr(collecting, "CHUNK", max(sizes.values()))
    pieces = measure(network, variables, x)
    assert 1 < len(recorded) < len(sizes)
    by_layer = {deciding_layer(network, group).name: size for group, size in sizes.items()}
    assert [layer for part in recorded for layer in part] == list(by_layer)
    assert all(sum(by_layer[layer] for layer in part) <= max(sizes.values()) for part in recorded)
    recorded.clear()
    monkeypatch.setattr(collecting, "CHUNK", 1)
    one_by_one = measure(network, variables, x)
    assert [len(part) for part in recorded] == [1] * len(sizes)
    for group, measured in found(name).evidence.groups.items():
        for other in (pieces, one_by_one):
            jax.tree.map(np.testing.assert_array_equal, measured, other.evidence.groups[group])


def test_recorded_once_for_all_thresholds(monkeypatch):
    _, variables, x, network = case("chain")
    calls = []
    plain = type(network).record
    monkeypatch.setattr(type(network), "record", lambda *given: calls.append(1) or plain(*given))
    measured = measure(network, variables, x)
    assert calls == [1]
    for tau in np.linspace(0, 1, 11):
        measured.plan(float(tau), representative="l1")
    measured.level_for(0.3)
    assert calls == [1]


def equinox_network():
    keys = jax.random.split(jax.random.key(3), 4)
    layers = {
        "first": eqx.nn.Conv2d(2, 8, 3, padding=1, key=keys[0]),
        "second": eqx.nn.Conv2d(8, 8, 3, padding=1, use_bias=False, key=keys[1]),
        "third": eqx.nn.Conv2d(8, 6, 3, stride=2, key=keys[2]),
        "head": eqx.nn.Linear(6, 3, key=keys[3]),
    }
    variables, static = eqx.partition(layers, eqx.is_array)

    def one(layers, x):
        x = jax.nn.relu(layers["first"](x))
        x = jax.nn.relu(layers["second"](x) + x)
        x = jax.nn.relu(layers["third"](x))
        return layers["head"](x.mean(axis=(1, 2)))

    return layers, variables, lambda v, x: jax.vmap(lambda x: one(eqx.combine(v, static), x))(x)


def test_an_equinox_network_sliced_equals_masked():
    """Channels first, and a convolution that reads the channels that it makes."""
    layers, variables, forward = equinox_network()
    x = jax.random.normal(jax.random.key(4), (6, 2, 9, 9))
    network = trace(forward, variables, x[:1])
    shared = next(name for name, group in network.groups.items() if len(group.layers) == 2)
    for group_source, layer in (("shortcut", "first"), ("main", "second")):
        measured = measure(network, variables, x, group_source=group_source)
        weights = np.abs(np.asarray(layers[layer].weight, np.float64)).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(measured.evidence.groups[shared].l1, weights, rtol=1e-5)
        maps = jax.vmap(layers["first"])(x)
        if layer == "second":
            maps = jax.vmap(layers["second"])(jax.nn.relu(maps))
        last = np.moveaxis(np.asarray(maps), 1, -1)
        np.testing.assert_array_equal(
            measured.evidence.groups[shared].similarity, reference.similarity(last)
        )
        tau = 0.6
        plan = measured.plan(tau)
        wanted = reference.select(reference.similarity(last), reference.entropies(last), tau)
        np.testing.assert_array_equal(plan.keep[shared], wanted)
        assert not wanted.all()
        masked = forward(masks.apply(variables, plan.masks(variables)), x)
        sliced = plan.apply_fn(plan.slice(variables), x)
        np.testing.assert_allclose(sliced, masked, rtol=1e-5, atol=1e-6)
        assert float(jnp.abs(masked).max()) > 0.01


def test_lines_and_volumes_are_hashed_as_pictures():
    """[images, length] as a picture one pixel wide, [images, a, b, c] as one of b c columns."""
    for rank in (1, 3):
        random = np.random.default_rng(rank)
        kernel = jnp.asarray(random.normal(size=(3,) * rank + (1, 4)), jnp.float32)
        letters = "DHW"[-rank:]
        numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

        def forward(v, x, numbers=numbers, rank=rank):
            y = jax.lax.conv_general_dilated(
                x, v["w"], (1,) * rank, "SAME", dimension_numbers=numbers
            )
            return jnp.sum(jax.nn.relu(y), axis=tuple(range(1, rank + 1))) @ v["out"]

        variables = {"w": kernel, "out": jnp.ones((4, 2))}
        x = jax.random.normal(jax.random.key(0), (4, *(5, 4, 6)[:rank], 1))
        network = trace(forward, variables, x)
        (measured,) = measure(network, variables, x).evidence.groups.values()
        (group,) = network.groups
        output = np.asarray(network.record(variables, x, [group])[group])
        pictures = output.reshape(4, 5, -1, 4)
        np.testing.assert_array_equal(measured.similarity, reference.similarity(pictures))
        np.testing.assert_allclose(measured.entropy, reference.entropies(pictures), rtol=2e-3)


@pytest.mark.parametrize("representative", ["entropy", "l1", "random"])
def test_a_ranking_begins_with_the_channels_that_are_kept(representative):
    measured = found("chain")
    options = {"representative": representative, "key": jax.random.key(3), "delta": 0.1}
    kept, ranking = measured.keep(0.6, **options), rank_redundant(measured, 0.6, **options)
    assert list(ranking.scores) == list(kept)
    for group, stays in kept.items():
        scores = np.asarray(ranking.scores[group])
        np.testing.assert_array_equal(scores >= 1, stays)
        assert len(set(scores.tolist())) == len(scores)
        if representative != "random":
            worth = np.asarray(getattr(measured.evidence.groups[group], representative))
            for part in (stays, ~stays):
                by_score = worth[part][np.argsort(-scores[part])]
                assert (np.diff(by_score) <= 0).all()
    counts = {group: int(stays.sum()) for group, stays in kept.items()}
    for group, stays in ranking.keep(counts).items():
        np.testing.assert_array_equal(stays, kept[group])


def test_thresholds_rise_from_tau_by_delta():
    rising = found("chain").evidence.thresholds(0.6, delta=0.2)
    assert list(rising) == list(found("chain").evidence.groups)
    np.testing.assert_allclose(list(rising.values()), np.linspace(0.6, 0.8, len(rising)))
    assert set(found("chain").evidence.thresholds(0.9, delta=1.0).values()) <= {0.9, 1.0}


def test_a_network_traced_in_training_mode_is_warned_of():
    from prunejax import models

    model = models.build("resnet8", num_classes=3, stem_width=4, stage_widths=(4, 4, 4))
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    variables = model.init(jax.random.key(1), x)

    def forward(variables, x):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    with pytest.warns(UserWarning, match="traced in training mode"):
        measure(trace(forward, variables, x), variables, x)
