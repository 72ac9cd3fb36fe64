"""The k-core experiment, run as a user runs it, on a small part of the digits."""

import csv
import json
import math

import jax
import numpy as np
import pytest
import tyro
from rich.console import Console

from experiments.common.options import changed
from experiments.entropy_kcore import __main__ as entropy_kcore
from experiments.entropy_kcore.__main__ import EntropyKCore
from experiments.entropy_kcore.selection import Selection
from prunejax import data, models, network

SMALL = changed(
    EntropyKCore(),
    tau=(0.75, 0.65),
    at=0.65,
    criteria=("entropy_kcore", "l1", "bn_scale"),
    study=("tau", "criteria", "sample_size", "learning_rate"),
    seeds=1,
    images=30,
    epochs=2,
    fine_tune_epochs=1,
    limit=200,
    save_models=True,
)


def go(config):
    console = Console(record=True, width=150)
    with jax.numpy_dtype_promotion("standard"):  # optax's own code mixes dtypes
        status = entropy_kcore.main(config, console)
    return status, console.export_text()


def records(config, kind):
    found = {}
    if kind == "dense":
        paths = (config.running.results / "networks").glob("*/record.json")
        return {path: json.loads(path.read_text()) for path in paths}
    for path in (config.running.results / "entropy_kcore").glob("*/record.json"):
        record = json.loads(path.read_text())
        if record["config"]["kind"] == kind:
            found[path] = record
    return found


def matching(config, **wanted):
    for path, record in records(config, "pruned").items():
        wanted.setdefault("curve", False)
        given = {**record["config"], "rate": record["config"]["fine_tuning"]["learning_rate"]}
        if all(given[name] == value for name, value in wanted.items()):
            return path, record
    raise AssertionError(f"no run has {wanted}")


def ours(config, tau):
    return matching(config, tau=tau, method="entropy_kcore", images=30, rate=0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    jax.clear_caches()  # what other tests have compiled would add to the most that a process holds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy_kcore, "SAMPLE_SIZES", (25, 30))
        patch.setattr(entropy_kcore, "RATES", (0.1, 0.01))
        config = changed(SMALL, results=tmp_path_factory.mktemp("results"))
        yield config, *go(config)


def table(config, name):
    (folder,) = (config.running.results / "entropy_kcore").glob("digits-resnet8-*")
    return list(csv.DictReader((folder / name).read_text().splitlines()))


def test_a_run_from_start_to_figures(finished):
    config, status, text = finished
    assert status == 0
    # tau 0.65 on 30 images at rate 0.01 is part of three studies
    assert len(records(config, "pruned")) == 3 + 2 + 1 + 2
    assert len(records(config, "dense")) == 1
    assert len(records(config, "latency")) == 3
    (folder,) = (config.running.results / "entropy_kcore").glob("digits-resnet8-*")
    for study in SMALL.study:
        for kind in ("csv", "png"):
            assert (folder / f"{study}.{kind}").stat().st_size > 0
    for name in ("layers.csv", "degree_entropy.png", "graph.png", "report.md"):
        assert (folder / name).stat().st_size > 0
        assert str(folder / name) in text
    assert "fine-tuned" in (folder / "report.md").read_text()


def test_tables_follow_from_the_records(finished):
    config, _, _ = finished
    (dense,) = records(config, "dense").values()
    for row in table(config, "tau.csv"):
        _, record = ours(config, float(row["tau"]))
        metrics = record["metrics"]
        assert metrics["accuracy_dense"] == dense["metrics"]["accuracy"]
        assert float(row["drop"]) == pytest.approx(
            100 * (metrics["accuracy_dense"] - metrics["accuracy"])
        )
        assert float(row["parameter_reduction"]) == pytest.approx(
            100 * (1 - metrics["parameters"] / metrics["parameters_dense"])
        )
    for row in table(config, "learning_rate.csv"):
        _, record = matching(config, rate=float(row["rate"]), curve=True)
        tested = [epoch["test_accuracy"] for epoch in record["history"]]
        assert len(tested) == 1
        assert float(row["accuracy"]) == pytest.approx(100 * tested[-1])
    removed = {float(row["tau"]): float(row["flops_reduction"]) for row in table(config, "tau.csv")}
    assert removed[0.65] > removed[0.75] > removed[1.0] == 0


def test_costs_are_those_of_a_network_of_these_widths(finished):
    config, _, _ = finished
    for _, record in records(config, "pruned").items():
        metrics, kept = record["metrics"], record["metrics"]["channels"]
        inner = [kept[f"stage{stage}_block1/conv1"] for stage in (1, 2, 3)]
        outer = [kept["stem"], kept["stage2_block1/conv2"], kept["stage3_block1/conv2"]]
        # He et al.'s blocks by hand: two 3x3 convolutions, and one for the shortcut of stages 2, 3
        weights, norms = 9 * outer[0], outer[0]
        before = outer[0]
        for stage in range(3):
            weights += 9 * (before * inner[stage] + inner[stage] * outer[stage])
            norms += inner[stage] + outer[stage]
            if stage > 0:
                weights += 9 * before * outer[stage]
                norms += outer[stage]
            before = outer[stage]
        expected = weights + 2 * norms + before * 10 + 10
        assert metrics["parameters"] == expected


def test_the_layer_table_adds_up(finished):
    config, _, _ = finished
    rows = table(config, "layers.csv")
    _, record = ours(config, 0.65)
    channels = record["metrics"]["channels"]
    for row in rows:
        if row["group"]:
            assert int(row["kept"]) == channels[row["group"]]
    kernels = sum(int(row["kept_parameters"]) for row in rows)
    norms = record["metrics"]["parameters"] - kernels
    assert norms == 2 * sum(int(row["kept"]) for row in rows if row["layer"] != "classifier")


def test_peers_keep_as_many_channels_of_each_layer(finished):
    config, _, _ = finished
    _, expected = ours(config, 0.65)
    plans = []
    for method in ("l1", "bn_scale"):
        path, record = matching(config, tau=0.65, method=method)
        assert record["metrics"]["channels"] == expected["metrics"]["channels"]
        plans.append((path.parent / "plan.json").read_text())
    assert plans[0] != plans[1]


def test_a_saved_network_is_restored_without_the_original(finished):
    config, _, _ = finished
    images, labels = data.load("digits", "test")
    path, record = ours(config, 0.65)
    saved = network.load_sliced(path.parent / "sliced")
    logits = np.asarray(saved.apply_fn(saved.variables, images))
    assert np.mean(logits.argmax(-1) == labels) == pytest.approx(record["metrics"]["accuracy"])
    model = models.from_description(saved.description["model"])
    assert model.stage_widths[0] == record["metrics"]["channels"]["stem"]
    sizes = [leaf.size for path, leaf in saved.variables.items() if path.startswith("params/")]
    assert sum(sizes) == record["metrics"]["parameters"]


def test_nothing_is_done_twice_and_what_is_lost_comes_out_the_same(finished):
    config, _, _ = finished
    path, before = ours(config, 0.75)
    dense = next(iter(records(config, "dense")))
    untouched = dense.stat().st_mtime_ns
    path.unlink()
    status, text = go(config)
    assert status == 0
    assert "10 of 11 runs are recorded already" in text
    assert dense.stat().st_mtime_ns == untouched
    after = json.loads(path.read_text())
    assert after["metrics"] == before["metrics"]
    assert after["history"] == before["history"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tau": (1.5,)}, "tau must be in [0, 1], got 1.5"),
        ({"tau": ()}, "name at least one tau"),
        ({"at": -0.1}, "tau must be in [0, 1], got -0.1"),
        ({"delta": -1.0}, "delta must be in [0, 1], got -1.0"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"round_to": 0}, "round_to must be at least 1, got 0"),
        ({"fine_tune_epochs": 0}, "epochs must be at least 1, got 0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"learning_rate": 1e9}, "the dense network of seed 0 diverged"),
        ({"model": "conv6", "layer": "hidden1"}, "can be drawn of conv1, conv2"),
        ({"fine_tune_rate": 0.0}, "learning rates must be positive, got 0.0"),
        ({"model": "mlp"}, "no group of channels is made by a layer of kind conv"),
        ({"layer": "conv99"}, "can be drawn of stem, stage1_block1/conv1"),
        ({"images": 5000}, "feature maps can be taken of 1 to 200 images, not 5000"),
    ],
)
def test_bad_settings_are_one_clear_line(tmp_path, changes, message):
    config = changed(SMALL, results=tmp_path, epochs=1, **changes)
    status, text = go(config)
    assert status == 1
    assert message in text.replace("\n", " ")
    assert "Traceback" not in text
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.slow
def test_damaged_files_of_the_dense_network_are_said_or_made_again(tmp_path):
    config = changed(
        SMALL, results=tmp_path, study=("criteria",), criteria=("entropy_kcore",), save_models=False
    )
    assert go(config)[0] == 0
    ((dense, before),) = records(config, "dense").items()
    (pruned,) = records(config, "pruned")
    (pruned.parent / "plan.json").unlink()  # its run is incomplete, and is done again
    dense.write_text('{"bad":')
    status, text = go(config)
    assert status == 0
    assert "is damaged" in text
    assert records(config, "dense")[dense]["metrics"] == before["metrics"]
    assert (pruned.parent / "plan.json").exists()
    pruned.unlink()
    (dense.parent / "variables" / "0.npz").write_bytes(b"")
    status, text = go(config)
    assert status == 0
    assert "is trained again" in text.replace("\n", " ")
    assert records(config, "dense")[dense]["metrics"] == before["metrics"]
    assert pruned.exists()


@pytest.mark.slow
def test_a_peer_that_fails_stops_only_itself(tmp_path, monkeypatch):
    plan = Selection.plan

    def failing(self, method, tau):
        if method == "l1":
            raise ValueError("l1 cannot score the channels of 'stem'")
        return plan(self, method, tau)

    monkeypatch.setattr(Selection, "plan", failing)
    config = changed(
        SMALL,
        results=tmp_path,
        study=("criteria",),
        criteria=("entropy_kcore", "l1"),
        save_models=False,
    )
    status, text = go(config)
    assert status == 1
    assert "l1 failed: l1 cannot score the channels of 'stem'" in text
    assert "1 runs failed" in text
    assert [row["method"] for row in table(config, "criteria.csv")] == ["entropy_kcore"]


def test_the_papers_protocol_is_cifars_default():
    dense, tuning = changed(EntropyKCore(), dataset="cifar10", model="vgg16").protocols()
    assert (dense.epochs, dense.batch_size, dense.learning_rate) == (200, 256, 0.1)
    assert (dense.momentum, dense.weight_decay, dense.augment) == (0.9, 5e-4, True)
    assert (tuning.epochs, tuning.batch_size, tuning.learning_rate) == (70, 256, 0.01)
    from prunejax import training

    for protocol, every, drops in ((dense, 50, 3), (tuning, 30, 2)):
        steps = 100 * protocol.epochs
        rate = training.learning_rate(protocol.schedule, protocol.learning_rate, steps)
        for drop in range(drops):
            epoch = every * (drop + 1)
            assert float(rate(100 * epoch - 1)) == pytest.approx(protocol.learning_rate / 10**drop)
            assert float(rate(100 * epoch + 1)) == pytest.approx(
                protocol.learning_rate / 10 ** (drop + 1)
            )


def test_flags_are_read():
    config = tyro.cli(EntropyKCore, args=["--model", "vgg16", "--tau", "0.7", "--study", "tau"])
    assert config.tau == (0.7,)
    assert entropy_kcore.chosen_tau(config) == 0.7
    assert entropy_kcore.chosen_tau(changed(config, tau=(0.9, 0.8, 0.6))) == 0.8
    assert math.isclose(entropy_kcore.shortened(changed(EntropyKCore(), quick=True)).tau[-1], 0.6)
