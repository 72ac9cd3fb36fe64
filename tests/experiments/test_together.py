"""Runs whose networks are trained together give the records of runs that are done alone."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from experiments.common import together
from experiments.common.bench import Tools
from experiments.common.options import RunningOptions, changed
from experiments.common.protocol import Protocol
from experiments.compare import __main__ as compare
from experiments.compare.__main__ import Compare
from prunejax import training

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")

SMALL = {
    "methods": ("random", "snip", "set"), "sparsities": (0.5,), "seeds": 2, "epochs": 2,
    "limit": 200, "score_examples": 64, "formats": ("csv",),
}  # fmt: skip


def go(folder, **changes):
    config = changed(Compare(), results=folder, **SMALL | changes)
    console = Console(record=True, width=150)
    status = compare.main(config, console)
    paths = sorted(folder.glob("compare/*/record.json"))
    return status, console.export_text(), {p.parent.name: json.loads(p.read_text()) for p in paths}


@pytest.fixture
def counted(monkeypatch):
    """How many networks each call of ``fit_many`` is given."""
    real, sizes = training.fit_many, []

    def fit_many(states, *arguments, **settings):
        sizes.append(len(states))
        return real(states, *arguments, **settings)

    monkeypatch.setattr(training, "fit_many", fit_many)
    return sizes


def assert_same_records(alone, together):
    assert alone.keys() == together.keys()
    for name, record in alone.items():
        metrics, same = record["metrics"], together[name]["metrics"]
        assert metrics["accuracy"] == pytest.approx(same["accuracy"], abs=0.006)  # 2 of 360 images
        assert metrics["loss"] == pytest.approx(same["loss"], rel=1e-3)
        for exact in ("kept_weights", "layer_sparsity", "empty_layers", "diverged"):
            assert metrics[exact] == same[exact]
        assert record["config"] == together[name]["config"]
        assert record["seconds"].keys() == together[name]["seconds"].keys()
        for row, other in zip(record["history"], together[name]["history"], strict=True):
            assert row == pytest.approx(other, rel=1e-2)


@pytest.mark.parametrize(
    "changes, sizes",
    [
        # dense, random, snip, set per seed: three of one kind, and set with an optimiser of its own
        ({"together": 8}, [6, 2]),
        ({"together": 3}, [3, 2, 3]),
        ({"together": 8, "methods": ("random",), "when": "trained"}, [2, 2]),
    ],
)
def test_records_are_those_of_runs_that_are_done_alone(tmp_path, counted, changes, sizes):
    given = {name: value for name, value in changes.items() if name != "together"}
    status, _, alone = go(tmp_path / "alone", **given)
    assert (status, counted) == (0, [])
    status, text, made = go(tmp_path / "together", **changes)
    assert status == 0
    assert counted == sizes
    assert_same_records(alone, made)
    assert f"{len(made)} runs, {len(made)} of them now" in text
    assert not list((tmp_path / "together").glob("compare/*/checkpoints"))


def test_runs_of_workers_are_trained_together_too(tmp_path):
    alone = go(tmp_path / "alone", methods=("random",))[2]
    status, _, made = go(tmp_path / "together", methods=("random",), together=2, workers=2)
    assert status == 0
    assert_same_records(alone, made)


def test_a_run_that_fails_leaves_those_it_is_trained_with(tmp_path, monkeypatch):
    real = together.training.fit_many

    def refuse(states, *arguments, **settings):
        raise ValueError("not today")

    monkeypatch.setattr(training, "fit_many", refuse)
    alone = go(tmp_path / "alone", methods=("random",))[2]
    status, text, made = go(tmp_path / "refused", methods=("random",), together=4)
    assert status == 0
    assert "4 networks are trained one after the other: not today" in text
    assert_same_records(alone, made)
    monkeypatch.setattr(training, "fit_many", real)
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import jax.numpy as jnp\n\n"
        "def score(params, masks, batch, *, loss_fn, key):\n"
        '    raise ValueError("no scores here")\n'
    )
    status, text, made = go(tmp_path / "bad", methods=("random", f"{bad}:score"), together=8)
    assert status == 1
    assert "no scores here" in text
    assert len(made) == 4
    assert_same_records(alone, made)


def test_an_interrupted_group_goes_on(tmp_path, monkeypatch):
    given = {"methods": ("random",), "together": 4, "checkpoint_epochs": 1}
    whole = go(tmp_path / "whole", **given)[2]
    real = together.training.fit_many

    def stopped(states, *arguments, on_epoch, **settings):
        def stop(progress):
            if (progress.epoch, progress.network) == (1, 3):
                raise KeyboardInterrupt

        return real(states, *arguments, on_epoch=stop, **settings)

    monkeypatch.setattr(training, "fit_many", stopped)
    status, _, made = go(tmp_path / "stopped", **given)
    assert (status, made) == (130, {})
    assert len(list((tmp_path / "stopped").glob("compare/*/checkpoints"))) == 4
    monkeypatch.setattr(training, "fit_many", real)
    status, _, made = go(tmp_path / "stopped", **given)
    assert status == 0
    for name, record in whole.items():
        assert record["metrics"] == made[name]["metrics"]
        assert record["history"] == made[name]["history"]


def test_how_many_are_trained_together_follows_the_device(monkeypatch):
    assert RunningOptions().networks_together() == 1
    assert RunningOptions(together=5, workers=2).networks_together() == 5
    monkeypatch.setattr(training, "on_accelerator", lambda: True)
    assert RunningOptions().networks_together() == 8
    assert RunningOptions(workers=2).networks_together() == 1
    assert RunningOptions(scheduler="tcp://localhost:8786").networks_together() == 1
    with pytest.raises(ValueError, match="together must be at least 1, got 0"):
        RunningOptions(together=0).check()


@pytest.mark.parametrize("changes", [{}, {"together": 2}, {"epochs": 1}])
def test_a_trace_of_one_epoch_is_written_where_it_is_asked_for(tmp_path, changes):
    status, _, made = go(tmp_path, methods=("random",), profile=True, **changes)
    assert status == 0
    assert len(made) == 4
    (trace,) = tmp_path.glob("profile/**/*.xplane.pb")
    assert trace.stat().st_size > 1000
    with pytest.raises(ValueError, match="--profile goes with one worker"):
        RunningOptions(profile=True, workers=2).check()


def test_networks_whose_masks_have_other_leaves_are_of_another_kind():
    """Masks of neurons cover biases, those of weights do not: one program cannot have both."""
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    tx = training.masked(training.optimizer("sgd", 0.1))
    step, evaluation, bench = object(), object(), SimpleNamespace(train=object())

    def asked(seed, **leaves):
        made = {"kernel": jnp.ones((3, 2), bool), "bias": None} | leaves
        state = training.init_state(params, {}, tx, key=jax.random.key(seed), masks=made)
        tools = Tools(tx, step, evaluation)
        return together.Training(bench, state, tools, Protocol(), lambda _: None, None)

    with_bias = {"bias": jnp.ones(2, bool)}
    assert asked(0).kind == asked(1).kind
    assert asked(0).kind != asked(0, **with_bias).kind
