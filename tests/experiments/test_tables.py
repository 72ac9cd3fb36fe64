"""The published tables: commands that parse, the clock, what is written."""

import itertools
import re

import pytest
from rich.console import Console

from experiments import tables
from experiments.common import shell
from experiments.published import ORDER, TABLES, Published
from experiments.tables import Tables, beside, steps_of

pytestmark = pytest.mark.usefixtures("optax_mixes_dtypes")


def go(**settings):
    console = Console(record=True, width=200)
    status = tables.main(Tables(**settings), console)
    return status, console.export_text()


def test_every_command_is_one_that_its_study_takes():
    steps = steps_of(Tables())
    assert [(step.name, step.command) for step in steps] == [
        (name, TABLES[name].commands[number]) for name, number in ORDER
    ]
    assert all(step.runs for step in steps)
    # each command once
    assert sorted(ORDER) == sorted(
        (name, number) for name, table in TABLES.items() for number in range(len(table.commands))
    )
    for step in steps:
        settings = step.config.running
        assert not settings.quick
        assert step.said == f"prunejax {TABLES[step.name].study} {step.command}"
    first = steps[0]
    assert len(first.runs) == 8
    assert first.config.network.dtype == "bfloat16"
    # what a later command of a table asks for contains what an earlier one did
    for name in ("pai_resnet20", "kcore_vgg16", "kcore_resnet56"):
        own = [set(step.runs) for step in steps if step.name == name]
        assert all(before < after for before, after in itertools.pairwise(own))


def record(method, sparsity, accuracy):
    return {"config": {"method": method, "sparsity": sparsity}, "metrics": {"accuracy": accuracy}}


def test_ours_stand_beside_the_published():
    published = Published(
        "a", "b", "compare", (), "", {("snip", "0.9"): 87.0, ("er", "0.9"): 86.9},
        TABLES["pai_resnet20"].cells,
    )  # fmt: skip
    records = [record("snip", 0.9, 0.87), record("snip", 0.9, 0.89), record("own", 0.5, 0.5)]
    header, body = beside(published, records)
    assert header == ["", "0.9, ours", "0.9, published", "0.5, ours", "0.5, published"]
    assert body == [
        ["snip", "88.0 ± 1.4 (2)", "87", "", ""],
        ["er", "not run", "86.9", "", ""],
        ["own", "", "", "50.0 (1)", "-"],
    ]
    assert beside(published._replace(numbers={}), [])[1] == [["not run"]]


def test_the_tables_stop_by_the_clock_and_go_on(tmp_path):
    settings = {"quick": True, "tables": ("pai_resnet20",), "results": tmp_path}
    status, text = go(**settings)
    assert status == 0
    assert "0 of 3" in text
    assert "not run" in (tmp_path / "tables" / "pai_resnet20_quick.md").read_text()
    status, text = go(minutes=1e-6, **settings)
    assert status == 0
    assert "the time is up; 3 of 3 runs are left" in text
    status, text = go(minutes=5, **settings)
    assert status == 0
    assert "3 of 3" in text
    written = (tmp_path / "tables" / "pai_resnet20_quick.md").read_text()
    assert re.search(r"\| snip +\| .*\d\d\.\d \(1\)", written)
    assert "prunejax compare --quick --methods snip synflow" in written
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("compare/*/record.json")}
    assert len(before) == 3
    go(minutes=5, **settings)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_clock_stops_a_training_which_goes_on_from_where_it_was(tmp_path, monkeypatch):
    now, told = [0.0], []
    real = shell.Bars.show

    def show(bars, what, done, of):
        if "training" in what:
            told.append(done)
            now[0] = 1e9 if done == 2 else 0.0  # the time is up after the second epoch
        real(bars, what, done, of)

    monkeypatch.setattr(shell.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(shell.Bars, "show", show)
    quick = TABLES["pai_resnet20"].quick
    saving = TABLES["pai_resnet20"]._replace(quick=f"{quick} --checkpoint-epochs 100")
    monkeypatch.setitem(TABLES, "pai_resnet20", saving)
    settings = {"minutes": 1, "quick": True, "tables": ("pai_resnet20",), "results": tmp_path}
    _, text = go(**settings)
    assert "the time is up; 3 of 3 runs are left" in text
    assert told == [1, 2]
    assert len(list(tmp_path.glob("compare/*/checkpoints"))) == 1
    monkeypatch.setattr(shell.Bars, "show", lambda bars, what, done, of: told.append((what, done)))
    now[0] = 0.0
    _, text = go(**settings)
    assert "3 of 3" in text
    first = [done for what, done in told[2:] if what.startswith("dense") and "training" in what]
    assert first == [3]


def test_data_that_are_missing_are_said_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", f"{tmp_path}")
    status, text = go(minutes=1, tables=("adaptive",), results=tmp_path)
    assert status == 0
    for dataset in ("fashion_mnist", "kmnist", "emnist_letters"):
        assert f"adaptive: prunejax adaptive_topology --dataset {dataset}" in text
    assert "TFDS_DATA_DIR" in text


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"minutes": -1.0}, "minutes must be a number from 0 on, got -1"),
        ({"minutes": float("nan")}, "minutes must be a number from 0 on, got nan"),
        ({"tables": ("pai",)}, "table.*'pai'.*pai_resnet20"),
        ({"together": 0}, "together must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, settings, message):
    status, text = go(results=tmp_path, **settings)
    assert status == 1
    assert re.search(message, text)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TABLES if name != "pai_resnet20"])
def test_the_small_version_of_every_table_fills_it(tmp_path, name):
    status, text = go(minutes=10, quick=True, tables=(name,), results=tmp_path)
    assert status == 0, text
    written = (tmp_path / "tables" / f"{name}_quick.md").read_text()
    assert re.search(r"\d \(\d\)", written)
    assert "not run" not in written
