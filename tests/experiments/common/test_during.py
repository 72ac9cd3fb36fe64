"""Methods that prune or rewire as networks train, in the comparison."""

import json

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.common import trained
from experiments.common.desk import Desk
from experiments.common.during import DURING, ENDS
from experiments.common.options import changed, setup_of
from experiments.common.trained import Pruning
from experiments.compare import __main__ as compare
from experiments.compare.__main__ import Compare
from prunejax import masks

SMALL = changed(
    Compare(), methods=("gmp",), sparsities=(0.9,), seeds=1, epochs=3, limit=200, batch_size=50
)
METHODS = sorted(DURING)


def go(config):
    console = Console(record=True, width=150)
    with jax.numpy_dtype_promotion("standard"):  # optax's own code mixes dtypes
        status = compare.main(config, console)
    return status, console.export_text()


def recorded(config):
    paths = (config.running.results / "compare").glob("*/record.json")
    found = [json.loads(path.read_text()) for path in paths]
    return {one["config"]["method"]: one for one in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = changed(SMALL, results=tmp_path_factory.mktemp("results"), methods=tuple(METHODS))
    return config, *go(config)


def test_each_is_trained_under_the_same_budget_and_keeps_its_number_of_weights(finished):
    config, status, text = finished
    assert status == 0
    records = recorded(config)
    weights = records["dense"]["metrics"]["weights"]
    for method in METHODS:
        record = records[method]
        assert len(record["history"]) == 3
        assert record["metrics"]["kept_weights"] == weights - round(0.9 * weights)
        assert record["metrics"]["empty_layers"] == []
        assert record["config"]["method_settings"]["ends"] == ENDS
        assert method in text


def test_the_same_seed_gives_the_same_network_and_another_seed_other_links(finished):
    config, *_ = finished
    desk = Desk(config.running.results)
    bench = setup_of(config).bench(desk)
    pruning = Pruning("set", 0.9, 64)
    with jax.numpy_dtype_promotion("standard"):
        first, again, other = (trained.train(bench, seed, pruning) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first.variables, again.variables)
    assert first.outcome.history == again.outcome.history
    assert first.outcome.history == recorded(config)["set"]["history"]
    same = [
        bool((one == two).all())
        for one, two in zip(*map(jax.tree.leaves, (first.masks, other.masks)), strict=True)
    ]
    assert not all(same)
    for path, mask in masks_by_path(first.masks).items():
        weights = masks_by_path(first.variables["params"])[path]
        assert not np.asarray(weights)[~np.asarray(mask)].any()


def masks_by_path(tree):
    return {masks.name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    config = changed(SMALL, results=tmp_path, methods=("rigl",), checkpoint_epochs=1)
    bench = setup_of(config).bench(Desk(tmp_path))
    pruning = Pruning("rigl", 0.9, 64)

    def stop(stage, done, of):
        if (stage, done) == ("training", 2):
            raise KeyboardInterrupt

    with jax.numpy_dtype_promotion("standard"):
        whole = trained.train(bench, 0, pruning)
        with pytest.raises(KeyboardInterrupt):
            trained.train(bench, 0, pruning, checkpoints=tmp_path / "saved", show=stop)
        resumed = trained.train(bench, 0, pruning, checkpoints=tmp_path / "saved")
    assert resumed.outcome.history == whole.outcome.history
    jax.tree.map(np.testing.assert_array_equal, resumed.variables, whole.variables)
    jax.tree.map(np.testing.assert_array_equal, resumed.masks, whole.masks)


def test_a_model_that_a_method_cannot_prune_is_refused_before_any_run(tmp_path):
    config = changed(SMALL, results=tmp_path, methods=("snip", "ch3_l3"), model="resnet8", epochs=1)
    status, text = go(config)
    assert status == 1
    assert "ch3_l3 at 0.9" in text
    assert "two axes, but" in text
    assert not list((tmp_path / "compare").glob("*/record.json"))
