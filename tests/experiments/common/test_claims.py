"""Several processes on one results folder: nothing twice, nothing lost, nothing hung."""

import json
import re
import subprocess
import sys
import time

import pytest

from experiments.common import claims, study

HOLD = """
import sys, time
from pathlib import Path
from experiments.common import claims
lock = claims.lock_of(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def another_process(tmp_path):
    """Holds the claim of a run until it is killed."""
    path = tmp_path / "experiment" / "b" / "record.json"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_claim_is_held_while_its_run_is_done_and_given_up_after(tmp_path):
    paths = [tmp_path / "experiment" / name / "record.json" for name in "ab"]
    program = """
import sys
from pathlib import Path
from filelock import Timeout
from experiments.common import claims
try:
    claims.lock_of(Path(sys.argv[1])).acquire(timeout=0)
    print("free")
except Timeout:
    print("claimed")
"""

    def state(path):
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with claims.unless_claimed(paths[0]) as ours:
        assert ours
        assert [state(path) for path in paths] == ["claimed", "free"]
    assert state(paths[0]) == "free"


def test_a_run_that_another_process_needs_is_waited_for(tmp_path, another_process):
    path = tmp_path / "experiment" / "b" / "record.json"
    told = []

    def wait():
        told.append(1)
        another_process.kill()

    with claims.alone(path, wait):
        assert told == [1]


def test_two_commands_share_one_comparison(tmp_path):
    """With checkpoints, where both once removed each other's temporary folders."""
    command = [
        sys.executable, "-m", "experiments.compare", "--quick", "--seeds", "1", "--epochs", "2",
        "--methods", "random", "magnitude", "--sparsities", "0.9", "--checkpoint-epochs", "1",
        "--results", str(tmp_path),
    ]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    started = time.monotonic()
    texts = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], texts
    assert time.monotonic() - started < 300
    records = list(tmp_path.glob("compare/*/record.json"))
    assert len(records) == 3
    # Done twice, the second record would be the first one's equal.
    counts = [int(re.search(r"3 runs, (\d+) of them now", text)[1]) for text in texts]
    assert sum(counts) == 3
    assert all(json.loads(path.read_text())["metrics"]["accuracy"] > 0 for path in records)
    assert not list(tmp_path.glob("compare/*/checkpoints"))
    assert not list(tmp_path.glob("compare/**/.*"))


def test_a_run_that_is_done_again_keeps_its_checkpoints_from_others(tmp_path):
    """A second command sees the old record; the folder beside it is somebody else's."""
    path = tmp_path / "experiment" / "b" / "record.json"
    checkpoints = path.parent / "checkpoints"
    checkpoints.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        study.clear_remains(path)
        assert checkpoints.exists()
        process.kill()
    study.clear_remains(path)
    assert not checkpoints.exists()
