"""The comparison after training, in shapes, and with criteria from outside."""

import json
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments import report
from experiments.common import plugins
from experiments.common.desk import Desk
from experiments.common.networks import load
from experiments.common.options import changed
from experiments.compare import __main__ as compare
from experiments.compare.__main__ import Compare
from prunejax import allocation, criteria, masks

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")

PLUGIN = """
import jax, jax.numpy as jnp

def smallest(params, masks, batch, *, loss_fn, key):
    return jax.tree.map(lambda mask, leaf: None if mask is None else -jnp.abs(leaf), masks, params,
                        is_leaf=lambda leaf: leaf is None)
"""


@pytest.fixture
def config(tmp_path):
    return changed(
        Compare(),
        methods=("magnitude",),
        sparsities=(0.8,),
        seeds=1,
        epochs=4,
        limit=400,
        results=tmp_path / "results",
    )


def go(config):
    console = Console(record=True, width=150)
    status = compare.main(config, console)
    return status, console.export_text()


def records(config):
    found = (config.running.results / "compare").glob("*/record.json")
    return {one["config"]["method"]: one for one in (json.loads(p.read_text()) for p in found)}


def saved_masks(config, method):
    for path in (config.running.results / "compare").glob("*/record.json"):
        if json.loads(path.read_text())["config"]["method"] == method:
            params = config.setup.bench(Desk(config.running.results)).traced.variables["params"]
            return masks.load(path.parent / "masks.npz", params)
    raise AssertionError(method)


def test_after_training_the_trained_weights_are_scored(config):
    config = changed(config, when="trained", fine_tune_epochs=2, save_masks=True)
    status, text = go(config)
    assert status == 0
    assert "mlp on digits, pruned after training" in text
    found = records(config)
    dense, pruned = found["dense"]["metrics"], found["magnitude"]["metrics"]
    (network,) = compare.runs(config)[0].needs
    desk = Desk(config.running.results)
    trained = load(network, desk)
    assert dense["accuracy"] == trained.accuracy
    assert len(found["dense"]["history"]) == 4
    assert len(found["magnitude"]["history"]) == 2
    params = jax.tree.map(np.asarray, trained.variables["params"])
    expected = allocation.allocate(criteria.magnitude(params, masks.make(params)), 0.8)
    for one, other in zip(
        jax.tree.leaves(saved_masks(config, "magnitude")), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    bench = config.setup.bench(desk)
    logits = bench.model.apply(
        {**trained.variables, "params": masks.apply(params, expected)},
        jnp.asarray(bench.test.images),
    )
    right = float(np.mean(np.argmax(logits, 1) == bench.test.labels))
    assert pruned["accuracy_pruned"] == pytest.approx(right)
    assert pruned["sparsity"] == pytest.approx(0.8, abs=1e-4)
    # a second command trains nothing anew
    assert "2 of 2 runs are recorded already" in go(config)[1]


def test_both_orders_have_records_and_tables_of_their_own(config):
    go(config)
    before = {*(config.running.results / "compare").glob("*/record.json")}
    folders = {*(config.running.results / "compare").glob("digits-mlp-*")}
    go(changed(config, when="trained", fine_tune_epochs=1))
    assert len({*(config.running.results / "compare").glob("*/record.json")} - before) == 2
    assert len({*(config.running.results / "compare").glob("digits-mlp-*")} - folders) == 1


@pytest.mark.slow
def test_synflow_after_training_uses_the_networks_own_statistics(config):
    config = changed(
        config, methods=("synflow",), when="trained", model="resnet8", epochs=1, limit=100,
        fine_tune_epochs=1,
    )  # fmt: skip
    bench = config.setup.bench(Desk(config.running.results))
    (network,) = compare.runs(config)[0].needs
    go(config)
    stats = load(network, Desk(config.running.results)).variables["batch_stats"]
    image = jnp.asarray(bench.test.images[:3])
    params = load(network, Desk(config.running.results)).variables["params"]
    _, logits = bench.losses_of(stats)["evaluation_loss"](params, (image, bench.test.labels[:3]))
    expected = bench.model.apply({"params": params, "batch_stats": stats}, image, train=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    assert bench.losses_of({}) is bench.losses


def test_patterns_exclusions_and_layers(config):
    config = changed(config, sparsities=None, save_masks=True, epochs=1)
    status, text = go(changed(config, pattern="2:4", exclude=("classifier",)))
    assert status == 0
    assert "then trained, pattern 2:4, exclude classifier" in text
    made = saved_masks(config, "magnitude")
    assert masks.sparsities(made)["classifier/kernel"] == 0
    groups = np.asarray(made["hidden1"]["kernel"]).reshape(
        -1, 4, made["hidden1"]["kernel"].shape[1]
    )
    np.testing.assert_array_equal(groups.sum(axis=1), 2)


def test_layers_with_a_sparsity_of_their_own(config):
    config = changed(config, layer_sparsities=("hidden1=0.25",), epochs=1)
    assert go(config)[0] == 0
    of = records(config)["magnitude"]["metrics"]["layer_sparsity"]
    assert of["hidden1/kernel"] == pytest.approx(0.25, abs=1e-3)
    sizes = {"hidden2/kernel": 256 * 128, "classifier/kernel": 128 * 10}
    pruned = sum(of[name] * size for name, size in sizes.items())
    assert pruned == pytest.approx(round(0.8 * sum(sizes.values())), abs=0.5)


def test_a_criterion_from_outside_in_this_process_and_in_others(config, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    method = f"{tmp_path / 'mine.py'}:smallest"
    config = changed(config, methods=("magnitude", method), save_masks=True, epochs=1)
    status, text = go(config)
    assert status == 0, text
    kept = np.asarray(saved_masks(config, method)["hidden1"]["kernel"])
    assert not (kept & np.asarray(saved_masks(config, "magnitude")["hidden1"]["kernel"])).any()
    check_that_a_report_never_loads_it(config, tmp_path, method)
    before = records(config)
    elsewhere = changed(config, results=tmp_path / "others", workers=2)
    assert go(elsewhere)[0] == 0
    after = records(elsewhere)
    for name, record in before.items():
        assert after[name]["metrics"]["kept_weights"] == record["metrics"]["kept_weights"]
        assert after[name]["config"] == record["config"]


def check_that_a_report_never_loads_it(config, tmp_path, method):
    """A record may come from anybody, and so may the name of a file in it."""
    source = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text("raise SystemExit('it was loaded')")
    plugins.load.cache_clear()
    console = Console(record=True, width=150)
    assert report.main(report.Report(results=config.running.results), console) == 0
    assert method in console.export_text()
    (tmp_path / "mine.py").write_text(source)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"methods": ("snp",)}, "unknown method 'snp'; .*did you mean 'snip'"),
        ({"methods": ("nothing.py:score",)}, "there is no file nothing.py"),
        ({"methods": ("gmp",), "when": "trained"}, "gmp prunes while the network trains"),
        ({"methods": ("gmp",), "pattern": "2:4", "sparsities": None}, "not gmp"),
        ({"methods": ("channels_l1",), "exclude": ("hidden1",)}, "not channels_l1"),
        ({"pattern": "2:4"}, "--pattern 2:4 is a sparsity of 0.5: give no other one"),
        ({"pattern": "2:4", "sparsities": None, "layer_sparsities": ("hidden1=0.5",)}, "no other"),
        ({"pattern": "3:7", "sparsities": None}, "multiple of 7"),
        ({"pattern": "two"}, "unknown pattern 'two'"),
        ({"exclude": ("hiden1",)}, "exclude: the pattern 'hiden1' matches no leaf; did you mean"),
        ({"layer_sparsities": ("hidden9=0.5",)}, "the pattern 'hidden9' matches no leaf"),
        ({"layer_sparsities": ("hidden1",)}, "PATTERN=NUMBER"),
        ({"fine_tune_epochs": 2}, "go with --when trained"),
        ({"when": "trained", "fine_tune_rate": -1.0}, "learning_rate must be positive"),
        ({"when": "trained", "fine_tune_epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_bad_input_gives_one_clear_line(config, changes, message):
    status, text = go(changed(config, **changes))
    assert status == 1
    assert "Traceback" not in text
    assert re.search(message, " ".join(text.split())), text
    assert not records(config)


AS_A_COMMAND = "from experiments import entry; raise SystemExit(entry.main(['compare', '--quick']))"


@pytest.mark.parametrize("after", [0.3, 0.7, 1.2])
@pytest.mark.parametrize(
    "command", [["-m", "experiments.compare", "--quick"], ["-c", AS_A_COMMAND]], ids=["-m", "entry"]
)
def test_ctrl_c_while_modules_load_is_one_line(command, after, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        if line.split("|")[-1].strip() == "jax":
            break
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in told.splitlines() if line and not line.startswith("import time:")]
    assert lines == ["stopped before anything began"]
