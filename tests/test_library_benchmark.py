"""The benchmark of our own lines against libraries: both compute the same."""

import pytest

from benchmarks import libraries
from benchmarks.__main__ import BENCHMARKS, table

COLUMNS = ("what", "size", "ours ms", "library ms", "library / ours", "difference")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(libraries, "CALLS", 1)
    monkeypatch.setattr(libraries, "BATCHES", (10,))
    monkeypatch.setattr(libraries, "PROBES", {(80, 20): 1, (30, 90): 1})
    monkeypatch.setattr(libraries, "SIDES", range(2, 9))


def test_ours_and_the_libraries_agree():
    rows = BENCHMARKS["libraries"]()
    assert [row["what"] for row in rows] == [
        "cross-entropy",
        "linear probe",
        "linear probe",
        "matrix of the DCT-II",
    ]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert row["ours ms"] > 0
        assert row["library ms"] > 0
        near = libraries.NEAR if row["what"] == "linear probe" else 1e-13
        assert abs(row["difference"]) <= near
    assert table(rows).count("\n") == 6
