"""The benchmark of accelerators in small, on whatever is at hand."""

import math

import pytest

from benchmarks import accelerators
from prunejax.training import stacking
from prunejax.training import together as engine


@pytest.fixture
def widest():
    yield
    engine.WIDEST = stacking.WIDEST


@pytest.mark.slow
@pytest.mark.usefixtures("optax_mixes_dtypes", "widest")
def test_every_row_is_a_rate(monkeypatch, capsys):
    monkeypatch.setenv("PRUNEJAX_BENCH_SECONDS", "600")
    rows = accelerators.run()
    assert {row["network"] for row in rows} == {"resnet20", "vgg16", "sparse_mlp"}
    assert {row["how"] for row in rows} >= {
        "plain loop", "plain scan", "fit, steps", "fit, epoch", "fit_many",
    }  # fmt: skip
    for row in rows:
        assert row["images / s"] > 0
        assert math.isfinite(row["x plain loop"])
    assert "masked / unmasked step" in capsys.readouterr().err


@pytest.mark.usefixtures("widest")
def test_no_row_is_begun_when_the_time_is_up(monkeypatch):
    monkeypatch.setenv("PRUNEJAX_BENCH_SECONDS", "0")
    assert accelerators.run() == []


@pytest.mark.slow
@pytest.mark.parametrize("multiple, ninth", [(1, 353), (32, 352)])
def test_half_is_about_half_of_the_multiply_adds(multiple, ninth):
    cut, left = accelerators.half(accelerators.case("vgg16", small=True), multiple)
    assert 0.44 < left < 0.52
    assert abs(cut.model.widths[8] - ninth) <= 1
    assert all(width % multiple == 0 for width in cut.model.widths)
