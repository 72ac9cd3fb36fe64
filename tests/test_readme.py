"""The programs of the README and of the guides, run as they stand.

test_any_pytree.py runs the README's first one.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prunejax.robustness import PERTURBATIONS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
PROGRAMS = [
    program
    for page in PAGES
    for program in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


def run(program, folder):
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(word):
    """The one program that holds a word."""
    (found,) = (each for each in PROGRAMS if word in each)
    return found


def test_cutting_channels_out_and_running_them_without_the_library(tmp_path):
    said = run(program("save_sliced"), tmp_path)
    found = re.search(r"(\d+)%, ([\d,]+) parameters left", said)
    assert found
    assert int(found.group(1)) == pytest.approx(50, abs=3)
    assert int(found.group(2).replace(",", "")) < 60_000
    given = "import numpy as np\nx = np.ones((3, 8, 8, 1), np.float32)\n"
    checked = "import sys\nprint(logits.shape, 'prunejax' in sys.modules, 'flax' in sys.modules)\n"
    assert (
        run(given + program("jax.export.deserialize") + checked, tmp_path).strip()
        == "(3, 10) False False"
    )


def test_critical_neurons_of_a_network_and_of_arrays(tmp_path):
    said = run(
        program("channels.critical_neurons") + "print(made['hidden1']['bias'].sum())", tmp_path
    )
    assert said.startswith("optimal: objective")
    accuracy, parameters = re.search(
        r"([\d.]+)% of the training images with ([\d,]+) parameters", said
    ).groups()
    assert float(accuracy) > 90
    assert int(parameters.replace(",", "")) < 64 * 64 + 64 * 32 + 32 * 10
    assert 1 <= int(said.splitlines()[-1]) <= 64
    said = run(program("solvers.critical_neurons"), tmp_path)
    assert "optimal: objective" in said
    pruned = int(re.search(r"with the (\d+) of 12 neurons below 0.1 masked", said).group(1))
    assert 0 < pruned < 12
    assert "No mask of these neurons" in said
    assert (tmp_path / "net.mps").stat().st_size > 1000


def test_layers_that_hold_only_their_links(tmp_path):
    checked = "print(sum(leaf.size for leaf in jax.tree.leaves(params)), masks['hidden1']['bias'])"
    shape, counts = run(program("sparse.to_dense") + checked, tmp_path).splitlines()
    assert re.fullmatch(r"\(10000,\) (native|coo|densify)", shape)
    assert counts == f"{640 + 2 * 10_000 + 3 * 1000 + 1001 * 10} None"


def test_links_that_move(tmp_path):
    said = run(program("rewiring.evolve"), tmp_path)
    assert float(re.search(r"([\d.]+)% right", said).group(1)) > 95


def test_robustness(tmp_path):
    said = run(program("robustness.curve"), tmp_path)
    rows = {line[:20].strip(): line[20:] for line in said.splitlines()}
    curves = {name: list(map(float, row.strip(" []").split())) for name, row in rows.items()}
    assert sorted(curves) == sorted(PERTURBATIONS)
    for curve in curves.values():
        assert curve[0] > 0.9
        assert curve[-1] < 0.9
    assert curves["weight_order"][1] < curves["random"][1] <= curves["reverse_weight_order"][1]


def test_networks_as_graphs(tmp_path):
    said = run(program("topology.encode"), tmp_path)
    sinks = {name: float(s) for name, s in re.findall(r"(snip|random) ([\d.]+) sinks", said)}
    assert 0 <= sinks["snip"] < 1
    assert 0 <= sinks["random"] < 1
    edges = re.search(r"total +([\d,]+) +([\d,]+)", said).group(2).replace(",", "")
    assert said.splitlines()[-1].split()[0] == edges
    assert "Node(layer='conv" in said


def test_pruning_during_training(tmp_path):
    said = run(program("during_training.sparsified"), tmp_path)
    assert float(re.fullmatch(r"95\.0% pruned, ([\d.]+)% right\n", said).group(1)) > 90


@pytest.mark.skipif(
    not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR names no folder with Fashion-MNIST"
)
def test_a_lottery_ticket(tmp_path):
    whole = program("late rewinding")
    less = whole.replace('data.load("fashion_mnist")', 'data.load("fashion_mnist", limit=12_800)')
    assert less != whole
    said = run(less, tmp_path)
    rows = re.findall(r"(\d+)% pruned, ([\d.]+)% right", said)
    assert [row[0] for row in rows] == ["0", "50", "75", "90", "95"]
    assert all(float(row[1]) > 78 for row in rows)


def test_a_spiking_network_of_your_own(tmp_path):
    checked = "print(masks.count(state.topology), sum(int(n) for n in grown.values()))"
    said = run(program("spiking.regenerate") + checked, tmp_path)
    kept, new = map(int, said.splitlines()[-1].split())
    assert kept == 3000
    assert 0 < new <= 600
    assert re.search(r"lif_2 +fires +[\d.]+%", said)
    assert "synaptic operations" in said


def test_layer_by_layer(tmp_path):
    said = run(program("layerwise.sparsegpt"), tmp_path)
    rows = {
        name: (s, float(r))
        for name, s, r in re.findall(r"^(\S+): (\d+)%, ([\d.]+)% right", said, re.M)
    }
    assert {name: s for name, (s, _) in rows.items()} == {
        "dense": "0", "wanda": "70", "sparsegpt": "70", "2:4": "50",
    }  # fmt: skip
    assert rows["dense"][1] > 90
    assert rows["sparsegpt"][1] > rows["wanda"][1] - 1
    assert rows["2:4"][1] > 80
    assert "attention/query/kernel" in said


def test_a_trained_network_is_cut_and_trained_on(tmp_path):
    said = run(program("trained on"), tmp_path)
    right = {
        name: float(each)
        for name, each in re.findall(r"^(.+): ([\d.]+)% right", said, re.MULTILINE)
    }
    assert list(right) == ["dense", "cut", "trained on"]
    assert right["dense"] > 95
    assert right["cut"] < right["trained on"]
    assert right["trained on"] > 93
