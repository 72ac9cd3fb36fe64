"""The spiking study, run as a user runs it, on a small part of the digits."""

import csv
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments import report
from experiments.common.desk import Desk
from experiments.common.options import changed
from experiments.common.run import path_of
from experiments.spiking import __main__ as spiking_study
from experiments.spiking.__main__ import Spiking, check, runs
from experiments.spiking.report import comparison
from experiments.spiking.run import CutNetwork, SpikingNetwork, load
from prunejax import masks, spiking

SMALL = changed(
    Spiking(),
    seeds=2,
    epochs=5,
    limit=200,
    sparsities=(0.8,),
    checkpoint_epochs=0,
    score_examples=64,
)


def go(config):
    console = Console(record=True, width=170)
    with jax.numpy_dtype_promotion("standard"):  # optax's own code mixes dtypes
        status = spiking_study.main(config, console)
    return status, console.export_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = changed(SMALL, results=tmp_path_factory.mktemp("results"))
    return config, *go(config)


def records(config):
    found = (config.running.results / "spiking").glob("*/record.json")
    return [json.loads(path.read_text()) for path in found]


def folder_of(config, model="spiking_mlp"):
    (folder,) = (config.running.results / "spiking").glob(f"digits-{model}-*")
    return folder


def test_a_run_from_start_to_figures(finished):
    config, status, text = finished
    assert status == 0
    assert "10 runs, 10 of them now" in text
    written = {path.name for path in folder_of(config).iterdir()}
    assert {f"{name}.png" for name in ("accuracy", "entropy", "layers", "neurons")} <= written
    assert {"spiking.csv", "comparison.csv", "report.md"} <= written
    assert "memory" in text, "what energies leave out is said"


def test_masks_are_exact_and_a_pruned_weight_is_0(finished):
    config, *_ = finished
    total = 64 * 256 + 256 * 256 + 256 * 10
    desk = Desk(config.running.results)
    for run in runs(config):
        loaded = load(run, desk)
        kept = total if run.method is None else total - round(0.8 * total)
        assert masks.count(loaded.masks) == kept
        for layer, of_layer in loaded.variables["params"].items():
            mask = np.asarray(loaded.masks[layer]["kernel"])
            assert not np.any(np.asarray(of_layer["kernel"])[~mask])


def test_tables_follow_from_the_records(finished):
    config, _, text = finished
    for row in csv.DictReader((folder_of(config) / "spiking.csv").read_text().splitlines()):
        part = [one for one in records(config) if one["config"]["rule"] == row["rule"]]
        for name in ("accuracy", "sops", "energy", "firing_rate"):
            mean = np.mean([one["metrics"][name] for one in part])
            assert float(row[name]) == pytest.approx(mean)
        assert f"{100 * float(row['accuracy']):.1f}" in text


def test_measures_are_those_of_the_recorded_network(finished):
    config, *_ = finished
    desk = Desk(config.running.results)
    run = next(run for run in runs(config) if run.method and run.method.growth == "criticality")
    loaded = load(run, desk)
    bench = run.setup.bench(desk)
    found = spiking.measure(bench.traced, loaded.variables, bench.test.images, loaded.masks)
    record = json.loads(path_of(run, config.running.results).read_text())
    assert record["metrics"]["sops"] == pytest.approx(found.sops)
    assert record["metrics"]["macs"] == pytest.approx(found.macs)
    logits = bench.model.apply(loaded.variables, jnp.asarray(bench.test.images))
    accuracy = np.mean(np.argmax(np.asarray(logits), -1) == bench.test.labels)
    assert record["metrics"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_nothing_is_done_twice_and_the_same_seed_gives_the_same(finished, tmp_path):
    config, *_ = finished
    assert "0 of them now" in go(config)[1]
    again = changed(config, results=tmp_path, seeds=1, rules=("criticality",))
    assert go(again)[0] == 0
    for run in runs(again):
        first, second = (
            json.loads(path_of(run, of.running.results).read_text()) for of in (config, again)
        )
        assert first["metrics"]["accuracy"] == second["metrics"]["accuracy"]
        assert first["metrics"]["sops"] == second["metrics"]["sops"]


def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(finished, tmp_path):
    """Masks have changed by then, which the checkpoint holds."""
    config, *_ = finished
    stopped = changed(config, results=tmp_path, seeds=1, checkpoint_epochs=1)
    run = next(run for run in runs(stopped) if run.method and run.method.growth == "criticality")

    class StopError(Exception):
        pass

    def show(what, done, of):
        del of
        if what.endswith("training") and done == 3:
            raise StopError

    with jax.numpy_dtype_promotion("standard"):
        with pytest.raises(StopError):
            run.do(Desk(tmp_path, show))
        folder = path_of(run, tmp_path).parent
        assert any(folder.rglob("*")), "a checkpoint is there"
        outcome = run.do(Desk(tmp_path))
    first = json.loads(path_of(run, config.running.results).read_text())
    assert outcome.metrics["accuracy"] == first["metrics"]["accuracy"]
    assert outcome.metrics["sops"] == first["metrics"]["sops"]
    assert len(outcome.history) == 5


def test_the_report_of_all_records_knows_them(finished):
    config, *_ = finished
    console = Console(record=True, width=170)
    assert report.main(report.Report(results=config.running.results), console) == 0
    text = console.export_text()
    assert "spiking: spiking_mlp on digits" in text
    assert re.search(r"0\.8 +criticality", text)


def test_the_comparison_by_hand():
    def record(rule, seed, accuracy):
        config = {"rule": rule, "sparsity": 0.9, "seed": seed}
        return {"config": config, "metrics": {"accuracy": accuracy}}

    ours = [record("criticality", seed, value) for seed, value in enumerate((0.95, 0.96, 0.97))]
    others = [record("none", seed, value) for seed, value in enumerate((0.94, 0.95, 0.959))]
    noisy = [record("random", seed, value) for seed, value in enumerate((0.99, 0.91, 0.97))]
    rows = {row["against"]: row for row in comparison([*ours, *others, *noisy]).frame.to_dicts()}
    assert rows["none"]["points"] == pytest.approx((1 + 1 + 1.1) / 3)
    # Student's t with 2 degrees of freedom: 4.303
    spread = np.std([1, 1, 1.1], ddof=1) / 3**0.5
    assert rows["none"]["reach"] == pytest.approx(4.3027 * spread, rel=1e-4)
    assert rows["none"]["verdict"] == "higher"
    assert rows["random"]["verdict"] == "cannot be told"
    assert comparison(ours[:1]) is None


@pytest.mark.slow
def test_channels_are_cut_and_tuned(tmp_path):
    config = changed(
        SMALL, results=tmp_path, structured=True, seeds=1, kept=(0.5,), tuned=1, epochs=2,
        rules=("criticality", "none", "random", "gradient"),
    )  # fmt: skip
    status, text = go(config)
    assert status == 0
    assert "5 runs, 5 of them now" in text
    cut = [one for one in records(config) if one["config"]["kind"] == "channels"]
    for one in cut:
        assert sum(one["metrics"]["widths"].values()) == (32 + 64 + 128) // 2
        assert one["metrics"]["parameters"] < one["metrics"]["parameters_before"]
    assert {"channels.csv", "accuracy.png", "report.md"} <= {
        path.name for path in folder_of(config, "spiking_conv").iterdir()
    }
    assert sum(isinstance(run, CutNetwork) for run in runs(config)) == 4
    assert all(run.l1 == config.l1 for run in runs(config) if isinstance(run, SpikingNetwork))


@pytest.mark.parametrize(
    "given, said",
    [
        ({"model": "mlp"}, "model must be a spiking one"),
        ({"rules": ()}, "at least one rule"),
        ({"sparsities": (1.0,)}, "sparsity"),
        ({"sparsities": (0.0,)}, "sparsities must be above 0"),
        ({"share": 1.0}, "share that grows"),
        ({"kept": (0.0,)}, "kept must be fractions"),
        ({"l1": -1.0}, "l1 must not be negative"),
        ({"tuned": 0}, "tuned must be at least 1"),
        ({"timesteps": 0}, "timesteps must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
    ids=str,
)
def test_bad_settings(given, said):
    with pytest.raises(ValueError, match=said):
        check(changed(SMALL, **given))


@pytest.mark.parametrize("method", ["snip", pytest.param("set", marks=pytest.mark.slow)])
def test_spiking_models_are_compared_as_any_other(method, tmp_path):
    from experiments.compare import __main__ as compare

    config = changed(
        compare.Compare(), model="spiking_mlp", methods=(method,), sparsities=(0.8,), seeds=1,
        epochs=2, limit=200, results=tmp_path,
    )  # fmt: skip
    with jax.numpy_dtype_promotion("standard"):
        assert compare.main(config, Console(record=True, width=150)) == 0
