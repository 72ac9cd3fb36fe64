"""The example in docs/: a whole study in one file, run as its docstring says."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(results, *more):
    command = [sys.executable, "docs/one_shot.py", "--quick", "--seeds", "1", "--results", results]
    found = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_example_does_what_it_says(tmp_path):
    text = run(str(tmp_path))
    assert "6 runs, 6 of them now" in text
    (trained,) = [json.loads(p.read_text()) for p in tmp_path.glob("networks/*/record.json")]
    records = [json.loads(p.read_text()) for p in tmp_path.glob("one_shot/*/record.json")]
    accuracy = {one["config"]["sparsity"]: one["metrics"]["accuracy"] for one in records}
    assert accuracy[0.0] == trained["metrics"]["accuracy"]
    assert accuracy[0.98] < accuracy[0.8] <= accuracy[0.0]
    (folder,) = tmp_path.glob("one_shot/digits-mlp-*")
    for name in ("accuracy.csv", "accuracy.png"):
        assert (folder / name).stat().st_size > 0
    assert "6 of 6 runs are recorded already" in run(str(tmp_path), "--workers", "2")
    check_that_another_study_finds_the_network(tmp_path)


def check_that_another_study_finds_the_network(tmp_path):
    (before,) = tmp_path.glob("networks/*/record.json")
    written = before.stat().st_mtime_ns
    command = [sys.executable, "-m", "experiments.critical_neurons", "--quick", "--seeds", "1"]
    found = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert [*tmp_path.glob("networks/*/record.json")] == [before]
    assert before.stat().st_mtime_ns == written
    (solved,) = [json.loads(p.read_text()) for p in tmp_path.glob("critical_neurons/*/record.json")]
    assert solved["metrics"]["reference"] == json.loads(before.read_text())["metrics"]["accuracy"]


def test_studies_are_listed_one_line_each():
    found = subprocess.run(
        [sys.executable, "-m", "experiments"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = found.stdout.splitlines()
    for name in ("compare", "critical_neurons", "entropy_kcore", "report"):
        assert sum(line.startswith(f"prunejax {name} ") for line in lines) == 1
