"""The experiment of critical neurons, run as a user runs it, on a small part of the digits."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments import critical_neurons, neuron_runs
from experiments.critical_neurons import CriticalNeurons

SMALL = CriticalNeurons(quick=True, gap=1e-2, study=("table", "loss_weight"))


def go(config):
    console = Console(record=True, width=150)
    with jax.numpy_dtype_promotion("standard"):  # optax's own code mixes dtypes
        status = critical_neurons.main(config, console)
    return status, console.export_text()


def solved(config):
    found = {}
    for path in (config.results / "critical_neurons").glob("*.json"):
        record = json.loads(path.read_text())
        if record["config"]["kind"] == "solved":
            found[path] = record
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(critical_neurons, "WEIGHTS", (5.0, 20.0))
        config = dataclasses.replace(SMALL, results=tmp_path_factory.mktemp("results"))
        yield config, *go(config)


def test_a_run_from_start_to_figures(finished):
    config, status, text = finished
    assert status == 0
    assert len(solved(config)) == 2
    (folder,) = (config.results / "critical_neurons").glob("digits-mlp-*")
    for name in ("table.csv", "loss_weight.csv", "scores.png", "curve.png", "trajectory.png"):
        assert (folder / name).stat().st_size > 0
        assert str(folder / name) in text
    assert (folder / "lambda.png").stat().st_size > 0
    assert "method: lowest scores" in (folder / "report.md").read_text()


def test_rivals_lose_as_many_neurons_of_each_layer(finished):
    config, _, _ = finished
    for record in solved(config).values():
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
    (folder,) = (config.results / "critical_neurons").glob("digits-mlp-*")
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    (record,) = (r for r in solved(config).values() if r["config"]["loss_weight"] == 5.0)
    assert [row["rival"] for row in rows] == list(neuron_runs.RIVALS)
    for row in rows:
        expected = record["metrics"]["rivals"][row["rival"]]
        assert float(row["accuracy"]) == pytest.approx(100 * expected["accuracy"])
        assert float(row["fine_tuned"]) == pytest.approx(100 * expected["fine_tuned"])
    curve = record["metrics"]["curve"]
    assert curve["method"][0] == record["metrics"]["reference"]
    assert np.mean(curve["method"]) > np.mean(curve["random"]) > np.mean(curve["critical"])


def test_nothing_is_done_twice_and_what_is_lost_comes_out_the_same(finished):
    config, _, _ = finished
    (path, before), *_ = solved(config).items()
    path.unlink()
    status, text = go(config)
    assert status == 0
    assert "of 2 runs are recorded already" in text or "recorded already" in text
    after = json.loads(path.read_text())["metrics"]
    assert after["rivals"] == before["metrics"]["rivals"]
    assert after["certificate"]["scores"] == before["metrics"]["certificate"]["scores"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": 0, "quick": False}, "seeds must be at least 1, got 0"),
        ({"loss_weight": -1.0}, "loss_weight must be positive, got -1.0"),
        ({"time_limit": -1.0}, "time_limit must not be negative, got -1.0"),
        ({"study": ()}, "name at least one study"),
        ({"model": "resnet8"}, "the program holds chains of layers only"),
        ({"per_class": 5000}, "images, not 5000"),
    ],
)
def test_bad_settings_are_one_clear_line(tmp_path, changes, message):
    status, text = go(dataclasses.replace(SMALL, results=tmp_path, **changes))
    assert status == 1
    assert message in text.replace("\n", " ")
    assert "Traceback" not in text
