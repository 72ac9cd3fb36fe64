"""The benchmark of programs, on its smallest case."""

import json

import numpy as np
import pytest

from benchmarks import programs
from benchmarks.__main__ import BENCHMARKS, table
from solvers.critical_neurons import Problem
from solvers.network import probes

SMALLEST = "64-32-16, paper, batch 10"
COLUMNS = (
    "case",
    "batch",
    "mode",
    "build s",
    "solve s",
    "in all s",
    "wanted s",
    "status",
    "gap",
    "rows",
    "columns",
    "MiB before",
    "MiB peak",
)


@pytest.fixture(scope="module")
def learnt():
    return programs.trained(programs.NETWORKS["64-32-16"]._replace(epochs=10))


@pytest.fixture(scope="module")
def given(learnt):
    return programs.Given(learnt[0], programs.balanced(learnt[1], 10))


def check(row):
    assert tuple(row) == COLUMNS
    assert (row["case"], row["batch"], row["mode"]) == ("64-32-16", 10, "paper")
    assert row["status"] == "optimal"
    assert 0 <= row["gap"] <= 1e-4
    assert row["build s"] > 0
    assert row["solve s"] > 0
    assert row["in all s"] >= row["build s"] + row["solve s"]
    assert row["wanted s"] == 3
    # a score for each neuron, a loss for each image, and the penalty
    assert row["columns"] >= 48 + 10 + 1
    assert row["rows"] >= 10


def test_a_row_of_this_process(given):
    row = programs.measured(SMALLEST, given)
    check(row)
    assert row["MiB peak"] >= row["MiB before"] > 0


def test_a_row_of_a_process_of_its_own(given):
    row = programs.measured_apart(SMALLEST, given)
    check(row)
    assert row["MiB peak"] > row["MiB before"] > 0
    # this process has JAX in memory, and that one must not have begun at its peak
    assert row["MiB before"] < programs.peak_mib() / 2
    assert json.loads(json.dumps(row)) == row
    again = programs.measured_apart(SMALLEST, given)
    for same in ("status", "gap", "rows", "columns"):
        assert again[same] == row[same]


def test_the_batch_is_the_first_image_of_each_class(learnt):
    images = learnt[1]
    batch = programs.balanced(images, 10)
    np.testing.assert_array_equal(np.bincount(batch.labels), 1)
    assert (batch.inputs.min(), batch.inputs.max()) == (0, 1)
    for image, label in zip(*batch, strict=True):
        np.testing.assert_array_equal(image, images.inputs[images.labels == label][0])
    with pytest.raises(ValueError, match="15 images cannot be drawn evenly from 10"):
        programs.balanced(images, 15)


def test_random_channels_are_what_the_layer_puts_out():
    layers, batch, _ = programs.random_channels(10)
    problem = Problem(layers, *batch)
    (values,) = probes.representations(problem.chain, batch.inputs)
    np.testing.assert_array_equal(values, np.maximum(batch.inputs.reshape(10, 4, 512), 0))
    (gate,) = problem.chain.gates
    assert (gate.neurons, gate.size) == (512, 512)
    row = programs.measured(
        "512 random channels, decoupled, batch 10", programs.Given(layers, batch)
    )
    assert row["status"] == "optimal"
    assert row["gap"] <= 1e-4
    assert row["columns"] == 512 + 10 + 1


def test_an_unknown_case_is_refused(given):
    for solve in (programs.measured, programs.measured_apart):
        with pytest.raises(ValueError, match=f"no case is named 'no such'.*{SMALLEST}"):
            solve("no such", given)


def test_every_case_has_a_network_and_a_name_of_its_own():
    networks = {case.network for case in programs.CASES.values()}
    assert networks == {*programs.NETWORKS, programs.RANDOM}
    for name, case in programs.CASES.items():
        assert programs.find(name) is case


def test_without_its_data_a_network_is_left_out(learnt, monkeypatch, capsys):
    def trained(network, place):
        assert place in range(network.networks)
        if network.dataset != "digits":
            raise FileNotFoundError("no such data")
        return learnt

    monkeypatch.setattr(programs, "trained", trained)
    monkeypatch.setattr(
        programs,
        "measured_apart",
        lambda name, given: {"case": name, "s": len(given.batch.labels), "solve s": 1.0},
    )
    rows = BENCHMARKS["programs"]()
    assert [row["s"] for row in rows[:3]] == [10, 20, 50]
    assert not any("784" in row["case"] or "LeNet" in row["case"] for row in rows)
    printed = capsys.readouterr().out
    assert "784-300-100 is left out: no such data" in printed
    assert "LeNet-5, max pools is left out" in printed
    assert SMALLEST in table(rows)


def test_every_case_is_run_and_probes_are_fitted_to_512_channels(learnt, monkeypatch):
    seen = {}
    monkeypatch.setattr(programs, "trained", lambda *_: learnt)
    monkeypatch.setattr(
        programs,
        "measured_apart",
        lambda name, given: seen.setdefault(name, given) and {"solve s": 1.0},
    )
    rows = programs.run()
    assert [row["networks"] for row in rows[:3]] == [5, 5, 5]
    assert set(seen) == set(programs.CASES)
    assert {name for name, given in seen.items() if given.examples is not None} == {
        "512 channels, decoupled, batch 10",
        "512 channels, decoupled, batch 100",
    }


def test_a_row_is_that_of_the_slowest_of_several_networks(monkeypatch):
    """Each of the networks of a kind is another one, and solved."""
    asked = []

    def trained(network, place):
        asked.append(place)
        return [place], programs.Images(np.zeros((10, 1)), np.arange(10))

    def apart(name, given):
        return {"case": name, "solve s": [3.0, 9.0, 5.0][given.layers[0]]}

    monkeypatch.setattr(programs, "trained", trained)
    monkeypatch.setattr(programs, "measured_apart", apart)
    network = programs.NETWORKS["64-64"]._replace(networks=3)
    case = programs.Case("64-64", 10, "paper")
    monkeypatch.setattr(programs, "NETWORKS", {"64-64": network})
    monkeypatch.setattr(programs, "CASES", {case.name: case})
    assert programs.run() == [
        {"case": case.name, "solve s": 9.0, "networks": 3, "quickest solve s": 3.0}
    ]
    assert asked == [0, 1, 2]
