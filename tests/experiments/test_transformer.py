"""The language model in docs/, small."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_layers_take_in_tells_more_than_magnitude(tmp_path):
    command = [sys.executable, "docs/transformer.py", "--quick", "--results", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    rows = pl.read_csv(tmp_path / "bits.csv", schema_overrides={"amount": pl.String})
    bits = {(row["method"], row["amount"]): row["bits"] for row in rows.iter_rows(named=True)}
    dense = bits["dense", "0.0"]
    assert dense < 4  # 7 bits tell 128 characters apart
    assert dense < bits["SparseGPT", "0.5"] < bits["SparseGPT", "0.7"]
    assert bits["SparseGPT", "0.7"] < bits["magnitude per output", "0.7"] - 0.2
    assert bits["Wanda, reconstructed", "0.7"] < bits["Wanda", "0.7"] - 0.1
    assert (tmp_path / "bits.png").stat().st_size > 0
