"""The main job, run as a user runs it, on a small part of the digits."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tyro
from rich.console import Console

from experiments import report
from experiments.common import sources, trained
from experiments.common.bench import workbench
from experiments.common.desk import Desk
from experiments.common.methods import METHODS
from experiments.common.options import changed
from experiments.compare import __main__ as compare
from experiments.compare.__main__ import Compare
from prunejax import checkpoint, data, masks, training
from prunejax.criteria import CRITERIA

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


@pytest.fixture
def config(tmp_path):
    return changed(
        Compare(),
        methods=("random", "snip"),
        sparsities=(0.5, 0.9),
        seeds=2,
        epochs=1,
        limit=200,
        score_examples=64,
        results=tmp_path / "results",
    )


def go(config):
    console = Console(record=True, width=150)
    status = compare.main(config, console)
    return status, console.export_text()


def records(config):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in (config.running.results / "compare").glob("*/record.json")
    }


def test_a_sweep_from_start_to_figure(config):
    status, text = go(config)
    assert status == 0
    found = records(config)
    assert len(found) == 2 * (1 + 2 * 2)
    (folder,) = (config.running.results / "compare").glob("digits-mlp-*")
    for name in ("accuracy.csv", "accuracy.md", "accuracy.png"):
        assert (folder / name).stat().st_size > 0
        assert f"{folder / name}" in text
    for record in found.values():
        metrics, sparsity = record["metrics"], record["config"]["sparsity"]
        assert metrics["weights"] == 64 * 256 + 256 * 128 + 128 * 10
        kept = metrics["weights"] - round(sparsity * metrics["weights"])
        assert metrics["kept_weights"] == kept
        assert metrics["kept_parameters"] == kept + 256 + 128 + 10
        assert 0 <= metrics["accuracy"] <= 1
        assert len(record["history"]) == 1


@pytest.mark.filterwarnings("ignore:no rule for:UserWarning")
@pytest.mark.filterwarnings("ignore:no channel of this network:UserWarning")
def test_a_model_of_links_says_what_is_pruned(config):
    desk = Desk(config.running.results)
    with pytest.warns(UserWarning, match="hidden1/kernel, .* hold only links, which all stay"):
        compare.prepare(changed(config, model="sparse_mlp"), desk)


def test_methods_of_one_seed_share_everything_but_the_masks(config):
    """At sparsity 0 any method is the dense network."""
    go(changed(config, sparsities=(0.0,), seeds=1))
    losses = {record["metrics"]["loss"] for record in records(config).values()}
    assert len(records(config)) == 3
    assert len(losses) == 1


def test_finished_runs_are_not_done_again(config, monkeypatch):
    go(config)
    monkeypatch.setattr(
        trained, "training_of", lambda *_, **__: pytest.fail("a finished run was repeated")
    )
    status, text = go(config)
    assert status == 0
    assert "10 of 10 runs are recorded already" in text


def test_an_interrupted_sweep_keeps_what_is_finished_and_goes_on(config, monkeypatch):
    real, calls = trained.training_of, []

    def interrupted(*args, **kwargs):
        calls.append(args[1:3])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(trained, "training_of", interrupted)
    status, text = go(config)
    assert status == 130
    assert "Every finished run is recorded" in text
    assert len(records(config)) == 3
    status, text = go(config)
    assert status == 0
    assert "3 of 10 runs are recorded already" in text
    assert calls[4] == calls[3]
    assert len(calls) == 4 + 7


def test_the_same_command_gives_the_same_numbers(config, tmp_path):
    go(config)
    again = changed(config, results=tmp_path / "again")
    go(again)
    first, second = records(config), records(again)
    assert first.keys() == second.keys()
    for name, record in first.items():
        assert record["metrics"] == second[name]["metrics"]
        assert record["history"] == second[name]["history"]


def test_a_damaged_record_is_redone(config):
    go(config)
    name, record = next(iter(records(config).items()))
    path = config.running.results / "compare" / name / "record.json"
    path.write_text(path.read_text()[:100])
    status, text = go(config)
    assert status == 0
    assert "is damaged" in text
    assert "9 of 10 runs are recorded already" in text
    assert records(config)[name]["metrics"] == record["metrics"]


def test_a_full_disk_stops_with_a_message_and_loses_nothing(config, monkeypatch):
    real, written = os.fsync, []

    def full(handle):
        if len(written) == 3:  # the probe and two records
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(1)
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    status, text = go(config)
    assert status == 1
    assert "No space left on device" in text
    assert len(records(config)) == 2
    monkeypatch.undo()
    status, text = go(config)
    assert status == 0
    assert "2 of 10 runs are recorded already" in text


def test_a_folder_that_cannot_be_written_is_found_before_training(config, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(trained, "training_of", lambda *_, **__: pytest.fail("trained in vain"))
    status, text = go(changed(config, results=tmp_path / "file"))
    assert status == 1
    assert "cannot write" in text


def test_masks_are_kept_on_request(config):
    small = changed(config, seeds=1, methods=("snip",), sparsities=(0.9,))
    go(small)
    go(changed(small, save_masks=True))
    assert len(list((config.running.results / "compare").glob("*/masks.npz"))) == 2


def test_a_method_that_fails_stops_only_itself(config):
    status, text = go(changed(config, sparsities=(0.9, 0.99999), seeds=1))
    assert status == 1
    assert "random at 0.99999, seed 0 failed" in text
    assert "fewer than the 3 layers" in text
    assert "2 runs failed" in text
    assert {record["config"]["sparsity"] for record in records(config).values()} == {0.0, 0.9}


def test_a_method_of_another_meaning_is_run_again(config, monkeypatch):
    small = changed(config, seeds=1, methods=("snip",), sparsities=(0.9,))
    go(small)
    monkeypatch.setitem(METHODS, "snip", METHODS["magnitude"])
    go(small)
    assert len(records(config)) == 3


def test_settings_have_tables_of_their_own(config):
    go(config)
    go(changed(config, epochs=2))
    assert len(list((config.running.results / "compare").glob("digits-mlp-*/accuracy.png"))) == 2


def test_a_record_without_its_metrics_is_redone(config):
    go(config)
    name, record = next(iter(records(config).items()))
    path = config.running.results / "compare" / name / "record.json"
    path.write_text(json.dumps(record | {"metrics": {}}))
    status, text = go(config)
    assert status == 0
    assert "it lacks metrics/accuracy" in text


def test_augmented_training_standardises_after_cropping(config):
    augmented = changed(config, augment=True)
    bench = workbench(augmented.network.setup(augmented.protocol()))
    assert bench.train.images.dtype == np.uint8
    plain = data.load("digits", "train", limit=200)
    np.testing.assert_allclose(bench.prepare(bench.train.images), plain.images, atol=1e-6)
    status, _ = go(augmented)
    assert status == 0
    assert all(np.isfinite(record["metrics"]["loss"]) for record in records(config).values())


def test_checkpoints_change_nothing_and_are_cleared(config, tmp_path):
    small = changed(config, seeds=1, methods=("snip",), sparsities=(0.9,), epochs=2)
    go(small)
    saving = changed(small, checkpoint_epochs=1, results=tmp_path / "saving")
    go(saving)
    first, second = records(small), records(saving)
    assert [r["metrics"] for r in first.values()] == [second[name]["metrics"] for name in first]
    assert not list(tmp_path.glob("saving/compare/*/checkpoints"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sparsities": (0.9, 1.0)}, "in [0, 1), got 1.0"),
        ({"sparsities": (-0.5,)}, "in [0, 1), got -0.5"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"methods": ()}, "at least one method"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 5000}, "5000"),
        ({"limit": 10_000}, "10000"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
        ({"sparsities": ()}, "at least one sparsity"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"momentum": 2.0}, "momentum must be in [0, 1)"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"checkpoint_epochs": -1}, "checkpoint_epochs must not be negative"),
        ({"model": "lenet5"}, "12"),
        ({"shortcut": "pad"}, "unknown field of mlp 'shortcut'"),
        ({"dataset": "kmnist"}, "TFDS_DATA_DIR"),
    ],
)
def test_bad_input_gives_one_clear_line(config, changes, message, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    status, text = go(changed(config, **changes))
    assert status == 1
    assert "error:" in text
    assert message in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--dataset", "minst"], "mnist"),
        (["--model", "lenet"], "lenet5"),
        (["--sparsity", "0.5"], "--sparsities"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(arguments, named, capsys):
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(Compare, args=arguments)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err


def test_ctrl_c_in_the_middle(tmp_path):
    command = [sys.executable, "-m", "experiments.compare", "--results", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("compare/*/record.json"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Every finished run is recorded" in text
    assert "Traceback" not in text
    finished = list(tmp_path.glob("compare/*/record.json"))
    assert len(finished) >= 2
    for path in finished:
        json.loads(path.read_text())
    assert not list(tmp_path.glob("compare/**/.*"))


def test_runs_are_done_again_when_asked(config, monkeypatch):
    go(config)
    before = records(config)
    done = []
    real = trained.training_of

    def counting(bench, seed, pruning, **kwargs):
        done.append(pruning and pruning.method)
        return real(bench, seed, pruning, **kwargs)

    monkeypatch.setattr(trained, "training_of", counting)
    status, text = go(changed(config, redo=("snip",)))
    assert status == 0
    assert done == ["snip"] * 4
    assert "6 of 10 runs are recorded already" in text
    done.clear()
    assert go(changed(config, redo=("all",)))[0] == 0
    assert len(done) == 10
    for name, record in records(config).items():
        assert record["metrics"] == before[name]["metrics"]
    status, text = go(changed(config, redo=("snap",)))
    assert status == 1
    assert "redo takes 'all' or what is asked for (dense, random, snip), got 'snap'" in text


def test_a_method_whose_code_changed_is_run_again(config, monkeypatch):
    small = changed(config, seeds=1, methods=("random", "snip"), sparsities=(0.9,))
    go(small)
    criterion = CRITERIA["snip"].score
    monkeypatch.setattr(sources, "_file_of", lambda f: "edited" if f is criterion else "as it was")
    status, text = go(small)
    assert status == 0
    assert "1 of 3 runs are recorded already" in text
    found = [one for one in records(config).values() if one["config"]["method"] == "snip"]
    assert len(found) == 2
    monkeypatch.undo()
    console = Console(record=True, width=150)
    assert report.main(report.Report(results=config.running.results), console) == 0
    # Both would be averaged, one seed being two runs.
    assert "±" not in console.export_text().split("seeds", 1)[1]


def test_broken_runs_are_marked_in_record_table_and_on_screen(config):
    wild = changed(config, seeds=1, methods=("random",), sparsities=(0.5,), learning_rate=1e30)
    status, text = go(wild)
    assert status == 0
    assert "dense at 0.0, seed 0 diverged: its loss is not finite" in text
    assert text.count("(diverged)") == 2
    for record in records(wild).values():
        assert record["metrics"]["diverged"] is True
    (folder,) = (config.running.results / "compare").glob("digits-mlp-*")
    assert (folder / "accuracy.md").read_text().count("(diverged)") == 2
    whole = changed(wild, learning_rate=None)
    go(whole)
    assert sorted(one["metrics"]["diverged"] for one in records(whole).values()) == [
        False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"weight_decay": float("nan")}, "weight_decay must be a finite number, got nan"),
        ({"weight_decay": float("inf")}, "weight_decay must be a finite number, got inf"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"momentum": float("nan")}, r"momentum must be in [0, 1), got nan"),
        ({"label_smoothing": float("nan")}, r"label_smoothing must be in [0, 1), got nan"),
        ({"sparsities": (float("nan"),)}, "sparsity is the fraction of weights removed"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
    ],
)
def test_settings_that_are_no_numbers_are_refused(config, setting, message):
    status, text = go(changed(config, **setting))
    assert status == 1
    assert message in text
    assert not records(config)


def test_each_command_keeps_its_tables(config):
    small = changed(config, seeds=1, sparsities=(0.9,), methods=("random",))
    go(small)
    go(changed(small, methods=("snip",)))
    tables = [path.read_text() for path in config.running.results.glob("compare/*/accuracy.md")]
    assert sorted("snip" in text for text in tables) == [False, True]
    assert sorted("random" in text for text in tables) == [False, True]


def test_what_a_killed_process_left_beside_its_record_goes(config):
    small = changed(config, seeds=1, sparsities=(0.9,), methods=("random",))
    go(small)
    (first, *_) = (config.running.results / "compare").glob("*/record.json")
    first.parent.joinpath("checkpoints").mkdir()
    (first.parent.joinpath("checkpoints") / "1.npz").write_bytes(b"")
    go(small)
    assert not first.parent.joinpath("checkpoints").exists()


def test_a_checkpoint_that_began_otherwise_is_begun_anew(config, tmp_path):
    """Another machine's initial weights differ in their last bits."""
    small = changed(config, seeds=1, sparsities=(0.9,), methods=("random",), epochs=2)
    go(small)
    before = records(small)
    for name in before:
        path = small.running.results / "compare" / name / "record.json"
        path.unlink()
        bench = workbench(small.network.setup(small.protocol()))
        params, _ = training.init_variables(bench.model, jax.random.key(99), bench.train.images[:1])
        key = trained.keys(0).training
        state = training.init_state(params, {}, bench.tools.tx, key=key)
        training.fit(
            state, bench.tools.train_step, bench.train, epochs=1, batch_size=64,
            checkpoints=path.parent / "checkpoints",
        )  # fmt: skip
    status, text = go(changed(small, checkpoint_epochs=1))
    assert status == 0
    assert text.count("training begins anew") == 2
    assert {n: r["metrics"] for n, r in records(small).items()} == {
        n: r["metrics"] for n, r in before.items()
    }


def kept_networks(config):
    return {
        path.parent.name: (path, json.loads(path.read_text()))
        for path in config.running.results.glob("networks/*/record.json")
    }


def test_networks_are_kept_on_request_also_of_runs_that_are_recorded(config):
    small = changed(config, seeds=1, methods=("snip",), sparsities=(0.9,))
    go(small)
    assert not kept_networks(small)
    before = records(small)
    saving = changed(small, save_networks=True, save_masks=True)
    status, _ = go(saving)
    assert status == 0
    assert {name: one["metrics"] for name, one in records(small).items()} == {
        name: one["metrics"] for name, one in before.items()
    }
    networks = kept_networks(small)
    assert len(networks) == 2
    for path, record in networks.values():
        bench = workbench(small.network.setup(small.protocol()))
        template = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), bench.traced.variables
        )
        variables = checkpoint.restore(path.parent / "variables", template).tree
        tested = training.evaluate(bench.tools.eval_step, variables["params"], {}, bench.test)
        assert tested["accuracy"] == record["metrics"]["accuracy"]
        if record["config"]["pruning"] is None:
            continue
        made = masks.load(path.parent / "masks.npz", template["params"])
        assert masks.count(made) == record["metrics"]["kept_weights"]
        pruned = masks.apply(variables["params"], made)
        assert jax.tree.all(jax.tree.map(np.array_equal, pruned, variables["params"]))
        (beside,) = (
            folder
            for folder in small.running.results.glob("compare/*/masks.npz")
            if records(small)[folder.parent.name]["config"]["method"] == "snip"
        )
        assert beside.read_bytes() == (path.parent / "masks.npz").read_bytes()


def test_networks_of_runs_that_are_done_again_are_trained_again(config):
    small = changed(config, seeds=1, methods=("snip",), sparsities=(0.9,), save_networks=True)
    go(small)
    before = {name: path.stat().st_mtime_ns for name, (path, _) in kept_networks(small).items()}
    status, text = go(changed(small, redo=("snip",)))
    assert status == 0
    assert "1 of them now" in text
    after = {name: path.stat().st_mtime_ns for name, (path, _) in kept_networks(small).items()}
    assert sum(after[name] != before[name] for name in before) == 1


@pytest.mark.slow  # of toy runs: tests/experiments/common/test_study.py
def test_workers_and_a_cluster_make_the_records_of_one_process(config, tmp_path):
    distributed = pytest.importorskip("distributed")
    small = changed(config, seeds=1, methods=("snip",), sparsities=(0.9,))
    go(small)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        for where in ({"workers": 2}, {"scheduler": cluster.scheduler_address}):
            elsewhere = changed(small, results=tmp_path / next(iter(where)), **where)
            status, text = go(elsewhere)
            assert status == 0, text
            ours, theirs = records(small), records(elsewhere)
            assert ours.keys() == theirs.keys()
            for name in ours:
                for part in ("config", "metrics", "history", "versions", "device"):
                    assert ours[name][part] == theirs[name][part]
