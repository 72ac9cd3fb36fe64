import numpy as np
import polars as pl
import pytest
from rich.console import Console

from experiments import report
from experiments.common import records
from experiments.compare import report as comparison

ACCURACIES = {
    ("dense", 0.0): [0.97, 0.98],
    ("snip", 0.9): [0.95, 0.96],
    ("snip", 0.98): [0.80, 0.90],
    ("random", 0.9): [0.90, 0.91],
    ("random", 0.98): [0.10, 0.12],
}


def record(method, sparsity, seed, accuracy):
    return {
        "config": {
            "dataset": "digits", "model": "mlp", "method": method, "sparsity": sparsity,
            "seed": seed, "protocol": {"epochs": 3},
        },
        "metrics": {
            "accuracy": accuracy, "kept_weights": round(1000 * (1 - sparsity)),
            "kept_parameters": round(1000 * (1 - sparsity)) + 10,
            "empty_layers": ["a/kernel"] if (method, sparsity) == ("random", 0.98) else [],
        },
        "seconds": {"scoring": 0.1 * (seed + 1), "training": 1.0},
        "history": [], "versions": {}, "device": "", "date": "",
    }  # fmt: skip


def save_two_seeds(folder):
    for seed in range(2):
        one = record("snip", 0.9, seed, 0.5)
        records.save(
            records.path_of(folder, "compare", one["config"]),
            **{key: one[key] for key in ("config", "metrics", "history", "seconds")},
        )


@pytest.fixture
def frame():
    return comparison.rows(
        [
            record(method, sparsity, seed, accuracy)
            for (method, sparsity), accuracies in ACCURACIES.items()
            for seed, accuracy in enumerate(accuracies)
        ]
    )


def test_summary_against_numpy(frame):
    table = comparison.summary(frame)
    for row in table.iter_rows(named=True):
        values = 100 * np.array(ACCURACIES[row["method"], row["sparsity"]])
        assert row["accuracy"] == pytest.approx(values.mean())
        assert row["spread"] == pytest.approx(values.std(ddof=1))
        assert (row["lowest"], row["highest"]) == (values.min(), values.max())
        assert row["seeds"] == 2
        assert row["scoring_seconds"] == pytest.approx(0.15)
    assert len(table) == len(ACCURACIES)


def test_runs_of_other_settings_are_not_averaged_together(frame):
    other = record("snip", 0.9, 0, 0.1)
    other["config"]["protocol"] = {"epochs": 99}
    both = pl.concat([frame, comparison.rows([other])])
    assert len(comparison.summary(both)) == len(ACCURACIES) + 1


def test_the_table_as_people_read_it(frame):
    assert comparison.markdown(comparison.summary(frame)).splitlines() == [
        "| method | 0.9 | 0.98 | scoring s |",
        "| --- | --- | --- | --- |",
        "| dense | 97.5 ± 0.7 |  |  |",
        "| snip | 95.5 ± 0.7 | 85.0 ± 7.1 | 0.15 |",
        "| random | 90.5 ± 0.7 | 11.0 ± 1.4 (empty layer) | 0.15 |",
        "| parameters kept | 110 | 30 |  |",
    ]


def test_one_seed_has_no_spread():
    frame = comparison.rows([record("snip", 0.9, 0, 0.5)])
    assert "| snip | 50.0 | 0.1 |" in comparison.markdown(comparison.summary(frame))


def test_files_are_written(frame, tmp_path):
    console = Console(record=True, width=120)
    files = comparison.write(frame, tmp_path / "deep", "a title", console)
    assert [file.name for file in files] == ["accuracy.csv", "accuracy.md", "accuracy.png"]
    assert pl.read_csv(files[0])["accuracy"].to_list() == pytest.approx(
        [100 * np.mean(values) for values in ACCURACIES.values()]
    )
    assert files[1].read_text().startswith("# a title\n\n| method | 0.9 | 0.98 |")
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert len(files[2].read_bytes()) > 10_000
    assert "95.5 ± 0.7" in console.export_text()


def test_the_command_gathers_records(tmp_path, capsys):
    console = Console(record=True, width=120)
    assert report.main(report.Report(results=tmp_path), console) == 1
    assert "nothing is recorded" in console.export_text()
    save_two_seeds(tmp_path)
    assert report.main(report.Report(results=tmp_path), console) == 0
    assert "50.0 ± 0.0" in console.export_text()
    (folder,) = tmp_path.glob("compare/digits-mlp-*")
    assert "Settings: epochs 3. jax " in (folder / "accuracy.md").read_text()


def test_copied_and_broken_records_are_left_out_and_left_alone(tmp_path):
    save_two_seeds(tmp_path)
    (original,) = list(tmp_path.glob("compare/*/record.json"))[:1]
    for name in ("copy", "torn", "folder"):
        (tmp_path / "compare" / name).mkdir()
    (tmp_path / "compare" / "copy" / "record.json").write_bytes(original.read_bytes())
    (tmp_path / "compare" / "torn" / "record.json").write_text("{")
    (tmp_path / "compare" / "folder" / "record.json").mkdir()
    console = Console(record=True, width=120)
    assert report.main(report.Report(results=tmp_path), console) == 0
    assert console.export_text(clear=False).count("is left out") == 2
    assert "50.0 ± 0.0" in console.export_text()
    assert (tmp_path / "compare" / "torn" / "record.json").exists()


def test_records_from_strangers_write_nowhere_else(tmp_path):
    """A record's data set and model name a folder."""
    outside = tmp_path / "outside"
    for dataset, model in (
        (str(outside / "digits"), "mlp"),
        ("digits", "../../outside"),
        (3, "mlp"),
    ):
        for method in ("dense", "snip"):
            one = record(method, 0.9, 0, 0.5)
            one["config"] |= {"dataset": dataset, "model": model}
            records.save(
                records.path_of(tmp_path / "r", "compare", one["config"]),
                **{key: one[key] for key in ("config", "metrics", "history", "seconds")},
            )
    console = Console(record=True, width=300)
    assert report.main(report.Report(results=tmp_path / "r"), console) == 1
    text = console.export_text()
    assert text.count("is left out: unknown") == 6
    assert "unknown model '../../outside'" in text
    assert not outside.exists()
    written = {path.name for path in (tmp_path / "r" / "compare").glob("*/*")}
    assert written == {"record.json"}


def test_filters_choose_what_is_reported(tmp_path):
    for dataset, method in (("digits", "snip"), ("digits", "random"), ("mnist", "snip")):
        one = record(method, 0.9, 0, 0.5)
        one["config"]["dataset"] = dataset
        records.save(
            records.path_of(tmp_path, "compare", one["config"]),
            **{key: one[key] for key in ("config", "metrics", "history", "seconds")},
        )

    def told(**filters):
        console = Console(record=True, width=120)
        status = report.main(report.Report(results=tmp_path, **filters), console)
        return status, console.export_text()

    status, text = told(dataset=("digits",), methods=("snip",), formats=("tex", "pdf"))
    assert status == 0
    assert "mlp on digits" in text
    assert "mnist" not in text
    assert "random" not in text
    written = {path.name for path in tmp_path.glob("compare/*-*/*")}
    assert written == {"accuracy.tex", "accuracy.pdf"}
    # A report of all stands beside that of a part.
    assert told()[0] == 0
    assert told(methods=("snip",))[0] == 0
    tables = [path.read_text() for path in tmp_path.glob("compare/digits-*/accuracy.md")]
    assert sorted("random" in table for table in tables) == [False, True]
    assert told(model=("lenet5",)) == (
        1,
        f"nothing of what was asked for is recorded under {tmp_path}; run prunejax compare first\n",
    )
    status, text = told(methods=("snap",))
    assert status == 1
    assert "no method 'snap'; there are" in text


@pytest.mark.parametrize(
    "change, said",
    [
        ({"config": {"dataset": "[/x]"}}, "unknown dataset '[/x]'"),
        ({"config": {"dataset": ["digits"]}}, "unknown dataset ['digits']"),
        ({"config": {"method": {"a": 1}}}, "unknown method {'a': 1}"),
        ({"config": {"method_settings": 3}}, "it cannot be read (TypeError"),
        ({"config": {"protocol": [1]}}, "it cannot be read (TypeError"),
        ({"seconds": {}}, "it cannot be read (KeyError: 'scoring')"),
        ({"metrics": {"empty_layers": 3}}, "it cannot be read (TypeError"),
    ],
)
def test_one_strange_record_costs_only_itself(tmp_path, change, said):
    save_two_seeds(tmp_path)
    one = record("random", 0.9, 0, 0.25)
    one["config"] |= change.get("config", {})
    one["metrics"] |= change.get("metrics", {})
    one["seconds"] = change.get("seconds", one["seconds"])
    records.save(
        records.path_of(tmp_path, "compare", one["config"]),
        **{key: one[key] for key in ("config", "metrics", "history", "seconds")},
    )
    console = Console(record=True, width=200)
    assert report.main(report.Report(results=tmp_path), console) == 0
    text = console.export_text()
    assert said in text
    assert "50.0 ± 0.0" in text
    assert "25.0" not in text


def test_the_dense_network_alone_has_a_table(tmp_path):
    """After an early Ctrl-C nothing else may be there."""
    one = record("dense", 0.0, 0, 0.5)
    records.save(
        records.path_of(tmp_path, "compare", one["config"]),
        **{key: one[key] for key in ("config", "metrics", "history", "seconds")},
    )
    console = Console(record=True, width=120)
    assert report.main(report.Report(results=tmp_path), console) == 0
    text = console.export_text()
    assert "dense (sparsity 0)" in text
    (folder,) = tmp_path.glob("compare/digits-mlp-*")
    assert "| dense | 50.0 |" in (folder / "accuracy.md").read_text()
    assert (folder / "accuracy.png").stat().st_size > 0


def test_cells_of_fewer_seeds_say_so():
    frame = comparison.rows(
        [record("snip", 0.9, seed, 0.5) for seed in range(3)] + [record("random", 0.9, 0, 0.25)]
    )
    text = comparison.markdown(comparison.summary(frame))
    assert "| snip | 50.0 ± 0.0 |" in text
    assert "| random | 25.0 (n=1) |" in text
