"""The experiment of critical neurons, run as a user runs it, on a small part of the digits."""

import csv
import json
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.common.bench import workbench
from experiments.common.options import changed
from experiments.common.together import alone
from experiments.critical_neurons import __main__ as critical_neurons
from experiments.critical_neurons import program, retraining, rivals, studies
from experiments.critical_neurons.__main__ import CriticalNeurons
from experiments.critical_neurons.retraining import Retrained, retraining_of
from prunejax.channels import sum_weights

STUDIES = get_args(studies.StudyName)
SMALL = changed(CriticalNeurons(), quick=True, gap=1e-2, epochs=2, study=STUDIES)


def go(config):
    console = Console(record=True, width=150)
    with jax.numpy_dtype_promotion("standard"):  # optax's own code mixes dtypes
        status = critical_neurons.main(config, console)
    return status, console.export_text()


def recorded(config, kind):
    found = {}
    for path in (config.running.results / "critical_neurons").glob("*/record.json"):
        record = json.loads(path.read_text())
        if record["config"]["kind"] == kind:
            found[path] = record
    return found


def first(config):
    """The record that the table is made of."""
    (record,) = (
        record
        for record in recorded(config, "solved").values()
        if (one := record["config"])["batch"] == 0
        and (one["loss_weight"], one["mode"], one["balanced"]) == (5.0, "paper", True)
    )
    return record


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "WEIGHTS", (5.0, 20.0))
        config = changed(SMALL, results=tmp_path_factory.mktemp("results"))
        yield config, *go(config)


def rows_of(config, study):
    (folder,) = (config.running.results / "critical_neurons").glob("digits-mlp-*")
    return list(csv.DictReader((folder / f"{study}.csv").read_text().splitlines()))


def test_a_run_from_start_to_figures(finished):
    config, status, text = finished
    assert status == 0
    # 3 batches, another lambda, another mode, an unbalanced batch
    assert len(recorded(config, "solved")) == 6
    # 5 sub-networks elsewhere (digits have no other data: on themselves), 3 from their own start
    assert len(recorded(config, "retrained")) == 8
    (folder,) = (config.running.results / "critical_neurons").glob("digits-mlp-*")
    figures = ("scores", "curve", "trajectory", "lambda", "batch-robustness", "transfer")
    for name in (*(f"{study}.csv" for study in STUDIES), *(f"{name}.png" for name in figures)):
        assert (folder / name).stat().st_size > 0
        assert str(folder / name) in text
    report = (folder / "report.md").read_text()
    for said in ("method: lowest", "3 batches of one network", "per_class", "SNIP, neurons"):
        assert said in report


def test_rivals_lose_as_many_neurons_of_each_layer(finished):
    config, _, _ = finished
    for record in recorded(config, "solved").values():
        rivals = record["metrics"]["rivals"]
        for name in ("random", "critical"):
            assert rivals[name]["neurons"] == rivals["method"]["neurons"]
            assert rivals[name]["parameters"] == pytest.approx(rivals["method"]["parameters"])
        scores = record["metrics"]["certificate"]["scores"]
        below = sum(sum(score < 0.1 for score in layer) for layer in scores.values())
        whole = sum(map(len, scores.values()))
        assert rivals["method"]["neurons"] == pytest.approx(below / whole)


def test_the_table_follows_from_the_records(finished):
    config, _, _ = finished
    rows, record = rows_of(config, "table"), first(config)
    assert [row["rival"] for row in rows] == list(rivals.RIVALS)
    for row in rows:
        expected = record["metrics"]["rivals"][row["rival"]]
        assert float(row["accuracy"]) == pytest.approx(100 * expected["accuracy"])
        assert float(row["fine_tuned"]) == pytest.approx(100 * expected["fine_tuned"])
    curve = record["metrics"]["curve"]
    assert curve["method"][0] == record["metrics"]["reference"]
    assert np.mean(curve["method"]) > np.mean(curve["random"]) > np.mean(curve["critical"])


def test_studies_vary_one_thing(finished):
    config, _, _ = finished
    for study, column, values in (
        ("batch-robustness", "batch", ["0", "1", "2"]),
        ("lambda", "loss_weight", ["5.0", "20.0"]),
        ("per-class", "mode", ["paper", "per_class"]),
        ("balance", "balanced", ["as many of each class", "any"]),
    ):
        rows = rows_of(config, study)
        assert list(dict.fromkeys(row[column] for row in rows)) == values
        assert len(rows) == len(values) * len(rivals.RIVALS)
        others = {"seed", "batch", "mode", "balanced", "loss_weight"} - {column}
        assert all(len({row[other] for row in rows}) == 1 for other in others)


def test_the_agreement_of_batches_is_that_of_their_pruned_neurons(finished):
    config, _, text = finished
    sets = []
    for record in recorded(config, "solved").values():
        one = record["config"]
        if one["mode"] == "paper" and one["balanced"] and one["loss_weight"] == 5.0:
            scores = record["metrics"]["certificate"]["scores"]
            sets.append(
                {(group, i) for group in scores for i, s in enumerate(scores[group]) if s < 0.1}
            )
    pairs = [(sets[0], sets[1]), (sets[0], sets[2]), (sets[1], sets[2])]
    share = np.mean([len(one & other) / len(one | other) for one, other in pairs])
    assert f"{100 * share:.1f} % are pruned by both" in text.replace("\n", " ")


def test_sub_networks_have_the_sizes_that_they_are_compared_at(finished):
    config, _, _ = finished
    method = first(config)["metrics"]["rivals"]["method"]
    rows = rows_of(config, "transfer")
    assert [row["subnetwork"] for row in rows] == list(retraining.SUBNETWORKS)
    for row in rows:
        name, parameters = row["subnetwork"], float(row["parameters"])
        assert float(row["accuracy"]) > 60
        if name == "whole":
            assert parameters == 0
        elif name == "snip_weights":
            assert float(row["neurons"]) == 0
            # as many kernels' entries; their neurons' biases go too elsewhere
            assert parameters == pytest.approx(100 * method["parameters"], abs=0.5)
        else:
            assert float(row["neurons"]) == pytest.approx(100 * method["neurons"])
            assert parameters == pytest.approx(100 * method["parameters"])


def test_its_own_start_is_the_networks_own(finished):
    """Trained from its own initial weights, the whole network is the one that was trained first."""
    config, _, _ = finished
    rows = rows_of(config, "initialisation")
    (own,) = (row for row in rows if (row["subnetwork"], row["start"]) == ("whole", "same"))
    reference = first(config)["metrics"]["reference"]
    assert float(own["accuracy"]) == pytest.approx(100 * reference)
    starts = {row["start"]: row["accuracy"] for row in rows if row["subnetwork"] == "method"}
    assert set(starts) == {"new", "same"}


def test_nothing_is_done_twice_and_what_is_lost_comes_out_the_same(finished):
    config, _, _ = finished
    lost = [next(iter(recorded(config, kind).items())) for kind in ("solved", "retrained")]
    for path, _ in lost:
        path.unlink()
    status, text = go(config)
    assert status == 0
    assert "12 of 14 runs are recorded already" in text
    for path, before in lost:
        after = json.loads(path.read_text())["metrics"]
        if "certificate" in after:
            for one in (after, before["metrics"]):
                del one["certificate"]["seconds"], one["certificate"]["trajectory"]
        assert after == before["metrics"]


@pytest.mark.parametrize(
    "model, threshold, group",
    [("mlp", 0.1, "hidden1"), pytest.param("resnet8", 0.3, "stem", marks=pytest.mark.slow)],
)
def test_decoupled_scores_any_network(tmp_path, monkeypatch, model, threshold, group):
    monkeypatch.setattr(program, "EXAMPLES", 100)
    config = changed(
        SMALL, results=tmp_path, study=("table",), model=model, mode="decoupled", epochs=1
    )
    status, _ = go(changed(config, loss_weight=20.0, limit=200))
    assert status == 0
    (record,) = recorded(config, "solved").values()
    assert next(iter(record["metrics"]["certificate"]["scores"])) == group
    assert record["metrics"]["certificate"]["bound_scope"] == "probe"
    assert record["config"]["threshold"] == threshold


def test_sub_networks_need_data_with_their_own_neurons():
    solved = critical_neurons.first(SMALL)
    bench = workbench(solved.setup)
    with pytest.raises(ValueError, match="hidden1 256, hidden2 128, not hidden1 3"):
        alone(
            retraining_of(
                bench,
                Retrained(solved, solved.setup, "method", "new"),
                {"hidden1": np.ones(3)},
                None,
            )
        )


def test_snip_of_neurons_is_the_sum_over_their_weights():
    bench = workbench(critical_neurons.first(SMALL).setup)
    kernel = np.random.default_rng(0).uniform(size=(64, 256)).astype(np.float32)
    scores = {"hidden1": {"kernel": jnp.asarray(kernel), "bias": None}}
    worth = sum_weights(bench.traced, scores, ["hidden1"]).scores
    np.testing.assert_allclose(
        worth["hidden1"], [kernel[:, i].sum() for i in range(256)], rtol=1e-5
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": 0, "quick": False}, "seeds must be at least 1, got 0"),
        ({"loss_weight": -1.0}, "loss_weight must be a positive number, got -1.0"),
        ({"time_limit": -1.0}, "time_limit must be a number from 0 on, got -1.0"),
        ({"study": ()}, "name at least one study"),
        ({"threshold": 7.0}, "threshold must be in [0, 1], where scores are, got 7.0"),
        ({"max_prune": 0.5}, "max_prune is for mode 'exact' alone, not paper, per_class"),
        (
            {"max_prune": 1.5, "mode": "exact", "study": ("table",)},
            "max_prune must be in [0, 1], got 1.5",
        ),
        ({"solver_workers": 0}, "workers must be a whole number from 1 to 2**31 - 1, got 0"),
        ({"memory_mb": 0.0}, "memory_mb must be a positive number, got 0.0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"model": "resnet8"}, "the program holds chains of layers only"),
        ({"per_class": 5000}, "images, not 5000"),
    ],
)
def test_bad_settings_are_one_clear_line(tmp_path, changes, message):
    status, text = go(changed(SMALL, results=tmp_path, **changes))
    assert status == 1
    assert message in text.replace("\n", " ")
    assert "Traceback" not in text
