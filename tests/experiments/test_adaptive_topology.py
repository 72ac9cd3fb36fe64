"""Adaptive topology, run as a user runs it, on a small part of the digits."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from rich.console import Console

from experiments import report
from experiments.adaptive_topology import __main__ as adaptive_topology
from experiments.adaptive_topology import claims, course
from experiments.adaptive_topology.__main__ import STRENGTHS, AdaptiveTopology, networks, runs
from experiments.adaptive_topology.claims import Measured
from experiments.adaptive_topology.course import layers_of
from experiments.adaptive_topology.run import load
from experiments.common.desk import Desk
from experiments.common.options import changed
from prunejax import channels, data, masks, models, network, robustness, sparse, topology
from prunejax import rewiring as rewiring_lib

SMALL = changed(AdaptiveTopology(), seeds=1, epochs=3, limit=200, repeats=2, checkpoint_epochs=0)


def go(config):
    console = Console(record=True, width=150)
    with jax.numpy_dtype_promotion("standard"):  # optax's own code mixes dtypes
        status = adaptive_topology.main(config, console)
    return status, console.export_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = changed(SMALL, results=tmp_path_factory.mktemp("results"))
    return config, *go(config)


def records(config, study):
    folder = config.running.results / study
    return [json.loads(path.read_text()) for path in folder.glob("*/record.json")]


def folder_of(config):
    (folder,) = (config.running.results / "adaptive_topology").glob("digits28-sparse_mlp-*")
    return folder


def state_of(config, position=0):
    return load(networks(config)[position], Desk(config.running.results))


def test_a_run_from_start_to_figures(finished):
    config, status, text = finished
    assert status == 0
    assert "12 runs, 12 of them now" in text
    assert len(records(config, "networks")) == 2
    assert len(records(config, "adaptive_topology")) == 10
    written = {path.name for path in folder_of(config).iterdir()}
    figures = {"update_time", "accuracy", "pruning", "weights", "magnitudes", "degrees"}
    tables = {"training", "perturbations", "claims"}
    assert {f"{name}.png" for name in figures} <= written
    assert {f"{name}.csv" for name in tables} <= written
    assert "report.md" in written
    for claim in claims.CLAIMS:
        escaped = claim.text.replace("|", "\\|")
        assert escaped in (folder_of(config) / "report.md").read_text()


def test_tables_follow_from_the_records(finished):
    config, _, text = finished
    accuracy = {
        record["config"]["rules"]["regrowth"]: record["metrics"]["accuracy"]
        for record in records(config, "networks")
    }
    rows = csv.DictReader((folder_of(config) / "training.csv").read_text().splitlines())
    for row in rows:
        assert float(row["accuracy"]) == accuracy[row["regrowth"]]
        assert f"{100 * accuracy[row['regrowth']]:.1f}" in text
    for record in records(config, "adaptive_topology"):
        curve = np.array(record["metrics"]["curve"])
        assert curve.shape[0] == len(STRENGTHS)
        rule = record["config"]["rule"]
        np.testing.assert_allclose(curve[0], accuracy[rule], atol=1e-6)


def test_links_are_exact_and_an_epoch_has_its_row(finished):
    config, _, _ = finished
    for position, run in enumerate(networks(config)):
        layers = layers_of(state_of(config, position))
        assert [len(links) for links in layers.values()] == [7840, 10000, 10000]
        for links in layers.values():
            assert len(set(np.asarray(links.numbers).tolist())) == len(links)
        (record,) = [
            one
            for one in records(config, "networks")
            if one["config"]["rules"]["regrowth"] == run.rules.regrowth
        ]
        assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
        degrees = record["metrics"]["in_degrees"]["hidden2"]
        assert sum(degrees) == 1000
        assert sum(degree * neurons for degree, neurons in enumerate(degrees)) == 10000
        assert record["history"][-1]["hub_hidden2"] == len(degrees) - 1
        assert record["history"][-1]["active_hidden2"] == 1000 - degrees[0]


def test_the_report_of_all_records_knows_them(finished):
    config, _, _ = finished
    console = Console(record=True, width=150)
    assert report.main(report.Report(results=config.running.results), console) == 0
    text = console.export_text()
    assert "adaptive_topology: sparse_mlp on digits28" in text
    for record in records(config, "adaptive_topology"):
        given = record["config"]
        start = f" {given['perturbation'].replace('_', ' ')} "
        (line,) = [
            line for line in text.splitlines()
            if line.startswith(start) and f" {given['rule']} " in line[len(start):]
        ]  # fmt: skip
        curve = np.mean(record["metrics"]["curve"], axis=1)
        assert f"{100 * curve[STRENGTHS.index(0.5)]:.1f}" in line


def test_nothing_is_done_twice(finished):
    config, _, before = finished
    status, text = go(config)
    assert status == 0
    assert "12 runs, 0 of them now" in text
    assert before.count("does not hold") == text.count("does not hold")


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    config = changed(
        SMALL, epochs=4, checkpoint_epochs=1, rules=("ch3_l3",), perturbations=(), settle_at=0.9
    )
    whole = changed(config, results=tmp_path / "whole")
    assert go(whole)[0] == 0
    stopped = changed(config, results=tmp_path / "stopped")
    real = course.Course.epoch

    def stopping(self, state, number, settled):
        if number == 2:
            raise KeyboardInterrupt
        return real(self, state, number, settled)

    monkeypatch.setattr(course.Course, "epoch", stopping)
    assert go(stopped)[0] == 130
    begun = []

    def counting(self, state, number, settled):
        begun.append(number)
        return real(self, state, number, settled)

    monkeypatch.setattr(course.Course, "epoch", counting)
    assert go(stopped)[0] == 0
    assert begun == [2, 3]
    first, second = state_of(whole), state_of(stopped)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)
    histories = [records(each, "networks")[0]["history"] for each in (whole, stopped)]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("rule", [pytest.param("gradient", marks=pytest.mark.slow), "ra_l3"])
def test_other_rules(tmp_path, rule):
    config = changed(
        SMALL,
        epochs=2,
        rules=(rule,),
        removal="by_sign",
        perturbations=("weight_order",),
        annealed=True,
        results=tmp_path,
    )
    status, text = go(config)
    assert status == 0
    assert rule in text
    (record,) = records(config, "networks")
    assert record["config"]["rules"]["removal"] == "by_sign"
    assert "came_back" in record["history"][0]
    assert [len(links) for links in layers_of(state_of(config)).values()] == [7840, 10000, 10000]


def test_grown_links_go_into_every_other_lens(finished, tmp_path):
    """Masks of links that CH3-L3 grew: traced, planned, saved, solved, and perturbed."""
    config, _, _ = finished
    state = state_of(config, 1)
    params, made = sparse.to_dense(state.params, state.topology)
    images, labels = map(jnp.asarray, data.load("digits28", "test"))
    model = models.build("mlp_1000x3", num_classes=10)
    sparse_model = models.build("sparse_mlp", num_classes=10)
    variables = {"params": state.params, "links": state.topology}
    logits = model.apply({"params": params}, images[:20])
    np.testing.assert_allclose(
        logits, sparse_model.apply(variables, images[:20]), rtol=1e-4, atol=1e-5
    )
    masks.save(tmp_path / "masks.npz", made)
    again = masks.load(tmp_path / "masks.npz", params)
    assert masks.count(again) == 27840
    assert float(masks.sparsity(again)) == pytest.approx(0.99, abs=1e-5)
    back, links = sparse.from_masks(params, made)
    np.testing.assert_array_equal(
        links["hidden2"]["kernel"].sources, state.topology["hidden2"]["kernel"].sources
    )
    np.testing.assert_array_equal(back["hidden1"]["kernel"], state.params["hidden1"]["kernel"])

    traced = network.trace(model.apply, {"params": params}, images[:1])
    degrees = state.topology["hidden1"]["kernel"].in_degrees()
    plan = traced.plan({"hidden1": np.asarray(degrees > 0)})
    sliced = plan.slice({"params": params})
    assert sliced["params"]["hidden1"]["kernel"].shape == (784, int((degrees > 0).sum()))

    graph = topology.encode(traced, made, params)
    assert graph.edges == masks.count(made) + 1000 * 10  # the read-out is dense
    local = topology.local(traced, made, params)
    np.testing.assert_array_equal(local.in_degree[784:1784], degrees)

    curve = robustness.curve(
        jax.random.key(0),
        lambda params, inputs: model.apply({"params": params}, inputs),
        params,
        made,
        (images, labels),
        "reverse_weight_order",
        [0.0, 0.5],
    )
    (record,) = [
        one
        for one in records(config, "adaptive_topology")
        if (one["config"]["rule"], one["config"]["perturbation"])
        == ("ch3_l3", "reverse_weight_order")
    ]
    at = STRENGTHS.index(0.5)
    expected = [record["metrics"]["curve"][0][0], record["metrics"]["curve"][at][0]]
    np.testing.assert_allclose(curve.accuracy[:, 0], expected, atol=2 / 360)


def test_grown_links_go_into_the_program():
    """A small network of links, rewired, and scored by the mixed-integer program."""
    model = models.build("sparse_mlp", num_classes=3, hidden_widths=(8, 8), sparsity=0.5)
    images, labels = map(jnp.asarray, data.load("digits"))
    chosen = np.flatnonzero(labels < 3)[:12]
    variables = model.init(jax.random.key(0), images[:1])
    params, links = variables["params"], variables["links"]
    topology = {name: {"bias": None, "kernel": None} | links.get(name, {}) for name in params}
    state = rewiring_lib.State(params, topology)
    state, _ = rewiring_lib.evolve(jax.random.key(1), state, regrowth="ch3_l3")
    dense, made = sparse.to_dense(state.params, state.topology)
    plain = models.build("mlp", num_classes=3, hidden_widths=(8, 8))
    traced = network.trace(plain.apply, {"params": dense}, images[:1])
    scored = channels.critical_neurons(
        traced, {"params": dense}, images[chosen], labels[chosen], time_limit=20
    )
    plan = scored.plan(0.5)
    kept = masks.combine(made, masks.restrict(plan.masks({"params": dense})["params"], made))
    assert 0 < masks.count(kept) <= masks.count(made)


BAD = [
    ({"zeta": 1.0}, "zeta is the share of links that go, in (0, 1), got 1.0"),
    ({"sparsity": 1.0}, "sparsity must be in [0, 1), got 1.0"),
    ({"model": "mlp"}, "model must be one of ('sparse_mlp',), got 'mlp'"),
    ({"rules": ()}, "name at least one rule"),
    ({"repeats": 0}, "repeats must be at least 1, got 0"),
    ({"temperature": 0.0}, "temperature must be positive"),
    ({"settle_at": 2.0}, "settle_at must be in (0, 1]"),
    ({"epochs": 0}, "epochs must be at least 1"),
]


@pytest.mark.parametrize("changes, message", BAD)
def test_bad_settings_are_one_clear_line(tmp_path, changes, message):
    status, text = go(changed(SMALL, results=tmp_path, **changes))
    assert status == 1
    assert message in text
    assert "Traceback" not in text


def test_a_sparsity_that_leaves_no_link_names_the_layer(tmp_path):
    status, text = go(changed(SMALL, results=tmp_path, sparsity=0.9999999))
    assert status == 1
    assert "no link is left of hidden1" in text


def test_flags_are_read():
    config = tyro.cli(
        AdaptiveTopology,
        args=["--dataset", "mnist", "--rules", "ra_l3", "--zeta", "0.2", "--backend", "coo"],
    )
    assert config.network.dataset == "mnist"
    (first, *_) = runs(config)
    assert (first.rules.regrowth, first.rules.zeta, first.backend) == ("ra_l3", 0.2, "coo")
    assert first.setup.protocol.epochs == 30


def measured(accuracy, final, weight, shape=lambda levels: 1 - levels):
    levels = np.linspace(0, 1, 11)
    names = ("random", "weight_order", "reverse_weight_order", "shuffling", "noise")
    return Measured(
        accuracy=np.array([final]),
        history=np.array(accuracy),
        update=0.01,
        strengths=dict.fromkeys(names, levels),
        curves=dict.fromkeys(names, final * shape(levels)[None]),
        magnitudes=[np.array([weight])],
    )


def test_claims_are_judged_by_the_numbers():
    slow, fast = measured([0.2, 0.4, 0.9], 0.9, 0.5), measured([0.5, 0.88, 0.9], 0.88, 0.1)
    said = {text.split(":")[0]: verdict for text, _, _, verdict in claims.tested(slow, fast)}
    assert said["CH3-L3 networks approach their accuracy in fewer epochs"] == claims.HOLDS
    assert said["both rules end at the same accuracy"] == claims.FAILS
    assert said["random regrowth has more links with 0.2 < |w| < 1"] == claims.HOLDS
    assert said["an update with random regrowth takes about half of CH3-L3's time"] == claims.FAILS
    assert said["noise"] == claims.CONTRADICTION
    said = {text: verdict for text, _, _, verdict in claims.tested(slow, fast)}
    resilient = [verdict for text, verdict in said.items() if "more resilient" in text]
    # both lose the same share of their accuracy, so that neither is the more resilient one
    assert set(resilient) == {claims.EQUAL, claims.CONTRADICTION}
    said = {text.split(":")[0]: verdict for text, _, _, verdict in claims.tested(fast, slow)}
    assert said["CH3-L3 networks approach their accuracy in fewer epochs"] == claims.FAILS
    assert said["random regrowth has more links with 0.2 < |w| < 1"] == claims.FAILS


def test_resilience_is_what_is_kept_of_the_accuracy():
    weak = measured([0.9], 0.9, 0.5, lambda levels: np.maximum(0, 1 - 2 * levels))
    strong = measured([0.8], 0.8, 0.5, lambda levels: np.maximum(0, 1 - levels))
    assert weak.kept("noise") == pytest.approx(0.25, abs=2e-3)
    assert strong.kept("noise") == pytest.approx(0.5, abs=2e-3)
    assert strong.at("noise", 0.25) == pytest.approx(0.8 * 0.75)
    assert (weak.lowest("noise"), strong.lowest("noise")) == (0.5, 1.0)
    said = {text: verdict for text, _, _, verdict in claims.tested(weak, strong)}
    verdicts = {text: said[text] for text in said if "resilient" in text}
    assert (
        verdicts["reverse weight order pruning: random regrowth is more resilient"] == claims.FAILS
    )
    of_random = "random pruning: CH3-L3 is more resilient (three of four data sets)"
    assert verdicts[of_random] == claims.HOLDS
    assert weak.first(0.9) == 1
    assert weak.first(0.95) == float("inf")


def test_differences_as_large_as_those_of_seeds_say_nothing():
    levels = np.linspace(0, 1, 11)
    steep, flat = 1 - levels, 1 - levels / 2
    mixed = measured([0.9], 0.9, 0.5)
    names = list(mixed.curves)
    one = mixed._replace(curves=dict.fromkeys(names, np.array([steep, flat])))
    other = mixed._replace(curves=dict.fromkeys(names, np.array([steep, flat * 0.9 + 0.1])))
    said = {text: verdict for text, _, _, verdict in claims.tested(one, other)}
    assert said["reverse weight order pruning: random regrowth is more resilient"] == claims.EQUAL


def test_shares_of_links_are_compared_seed_by_seed():
    claim = "random regrowth has more links with 0.2 < |w| < 1"
    one = measured([0.9], 0.9, 0.5)._replace(
        magnitudes=[np.array([0.1, 0.5, 2.0, 0.1]), np.array([0.5, 0.5, 0.1, 0.1])]
    )
    few = one._replace(magnitudes=[np.full(4, 0.1), np.array([0.5, 0.1, 0.1, 0.1])])
    near = one._replace(magnitudes=[np.full(4, 0.1), np.full(4, 0.5)])
    verdict = {
        other: claims.tested(one, rule)[-1][2:] for other, rule in (("few", few), ("near", near))
    }
    numbers, judged = verdict["few"]
    assert numbers == "links with 0.2 < |w| < 1: random 37.5 %, ch3_l3 12.5 %"
    assert judged == claims.HOLDS
    assert verdict["near"][1] == claims.EQUAL
    assert claims.tested(few, one)[-1] == (
        claim,
        "Fig. 6",
        "links with 0.2 < |w| < 1: random 12.5 %, ch3_l3 37.5 %",
        claims.FAILS,
    )
