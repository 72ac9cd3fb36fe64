"""What recorded runs claim, run again: minutes of training (`make test-slow`)."""

import pytest
from rich.console import Console

from experiments.common import study, trained
from experiments.common.bench import Setup, workbench
from experiments.common.desk import Desk
from experiments.common.options import changed
from experiments.common.protocol import protocol_for
from experiments.common.trained import Pruning
from experiments.compare import __main__ as compare
from prunejax import data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optax_mixes_dtypes")]


def test_digits_at_ninety_percent(tmp_path):
    """The default comparison: gradient-based criteria stay within 2 points of dense."""
    config = changed(compare.Compare(), sparsities=(0.9,), results=tmp_path)
    console = Console(quiet=True)
    found = {}
    done = study.conduct(compare.runs(config), config.running, console, Desk(tmp_path))
    for record in done.records.values():
        found.setdefault(record["config"]["method"], []).append(record["metrics"]["accuracy"])
    means = {method: sum(values) / len(values) for method, values in found.items()}
    assert means["dense"] >= 0.965
    for method in ("snip", "grasp", "synflow", "prospr"):
        assert means[method] >= means["dense"] - 0.02, method


@pytest.mark.parametrize("model, least", [("lenet_300_100", 0.98), ("lenet5", 0.989)])
def test_mnist_dense(model, least):
    try:
        data.load("mnist", "test", limit=10)
    except FileNotFoundError:
        pytest.skip("needs mnist: set TFDS_DATA_DIR")
    bench = workbench(Setup("mnist", model, protocol_for("mnist", model, quick=False)))
    assert trained.train(bench, 0).outcome.metrics["accuracy"] >= least


def test_resnet20_prunes_and_learns_on_digits():
    """Batch normalisation, the pad shortcut, step decay, and every criterion.

    (No crops: they shift by up to 4 pixels, half of a digit's 8.)
    """
    settings = protocol_for(
        "digits", "resnet20", quick=False, epochs=4, schedule="step", batch_size=32
    )
    options = (("shortcut", "pad"), ("stem_width", 8), ("stage_widths", (8, 16, 16)))
    bench = workbench(Setup("digits", "resnet20", settings, options))
    for method in ("snip", "grasp", "synflow", "prospr", "erk"):
        outcome = trained.train(bench, 0, Pruning(method, 0.8, settings.score_examples)).outcome
        assert outcome.metrics["empty_layers"] == []
        assert outcome.metrics["accuracy"] > 0.5, method
