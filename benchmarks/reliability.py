"""Kills processes, runs them side by side and damages files; counts what is lost, doubled or wrong.

    python -m benchmarks.reliability            all, some twenty minutes on two cores
    python -m benchmarks.reliability saves pairs

Prints one Markdown table: what was done, how often, and what was found. The exit status is 1 where
anything was lost, done twice, restored wrongly, or hung.
"""

import contextlib
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prunejax import checkpoint

PATIENCE = 600
"""Seconds after which a command counts as hung."""


class Outcome(NamedTuple):
    """How one trial went.

    Attributes:
      trial: what was done.
      times: how often.
      detail: what happened meanwhile.
      faults: what was lost, done twice, wrong or hung; empty if all was well.
    """

    trial: str
    times: int
    detail: str
    faults: list[str]


SAVER = """
import sys
import numpy as np
from prunejax import checkpoint
folder, again = sys.argv[1], sys.argv[2] == "again"
for turn in range(1, 10_000):
    step = 7 if again else turn
    tree = {"value": np.full(400_000, turn), "more": {"half": np.full(1000, turn, np.float16)}}
    print("saving", turn, flush=True)
    checkpoint.save(folder, step, tree, {"turn": turn})
    print("saved", turn, flush=True)
"""
TEMPLATE = {"value": np.zeros(400_000, int), "more": {"half": np.zeros(1000, np.float16)}}


def saves(*, times: int = 100, again: bool = False) -> Outcome:
    """Kills a process while it saves a checkpoint; what was saved before must be there, whole."""
    draw, faults, inside = random.Random(0), [], 0
    for trial in range(times):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", SAVER, folder, "again" if again else "on"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                begins = draw.randint(2, 6)
                for line in process.stdout:
                    if line.split() == ["saving", str(begins)]:
                        break
                time.sleep(draw.uniform(0, 0.015))
                process.kill()
                last = [f"saving {begins}", *process.stdout.read().splitlines()][-1].split()
            inside += last[0] == "saving"
            certain = int(last[1]) - (last[0] == "saving")
            restored = checkpoint.restore(folder, TEMPLATE)
            if restored is None or not certain <= restored.extra["turn"] <= certain + 1:
                faults.append(
                    f"trial {trial}: {certain} was saved, {restored and restored.extra} is there"
                )
            elif not all((leaf == restored.extra["turn"]).all() for leaf in _leaves(restored.tree)):
                faults.append(f"trial {trial}: another tree came back")
            checkpoint.save(folder, 9_999, TEMPLATE)
            if list(Path(folder).glob(".*.unfinished")):
                faults.append(f"trial {trial}: half a file stays")
    what = "saving a step again" if again else "inside checkpoint.save"
    return Outcome(f"kill -9, {what}", times, f"{inside} before the save had ended", faults)


def _leaves(tree: dict) -> list[np.ndarray]:
    return [tree["value"], tree["more"]["half"]]


def corruptions(*, times: int = 200) -> Outcome:
    """Damages the latest of two checkpoints; it must be refused, or come back as it was."""
    draw, faults, refused, same = random.Random(1), [], 0, 0
    numbers = np.random.default_rng(0)
    first, second = ({"w": numbers.normal(size=(300, 70)), "n": np.arange(9)} for _ in range(2))
    for trial in range(times):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(folder, 1, first, "first")
            checkpoint.save(folder, 2, second, "second")
            path = Path(folder) / "2.npz"
            content = bytearray(path.read_bytes())
            place = draw.randrange(len(content))
            kind = ("bit", "cut", "zeros", "noise")[trial % 4]
            if kind == "bit":
                content[place] ^= 1 << draw.randrange(8)
            elif kind == "cut":
                del content[place:]
            else:
                end = min(place + 512, len(content))
                filling = bytes(end - place) if kind == "zeros" else draw.randbytes(end - place)
                content[place:end] = filling
            path.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                restored = checkpoint.restore(folder, first)
            assert restored is not None  # the first one is whole
            wanted = {"first": first, "second": second}[restored.extra]
            if not all(np.array_equal(restored.tree[name], wanted[name]) for name in wanted):
                faults.append(f"{kind} at {place}: another tree came back")
            refused += wanted is first
            same += wanted is second
    detail = f"{refused} refused and the one before taken, {same} where nothing is stored"
    return Outcome("damaged checkpoint files (bits, cuts, blocks)", times, detail, faults)


COMPARE = ["experiments.compare", "--quick", "--methods", "random", "snip", "synflow"]
OTHERS = {
    "entropy_kcore": ["experiments.entropy_kcore", "--quick", "--checkpoint-epochs", "1"],
    "critical_neurons": ["experiments.critical_neurons", "--quick"],
}


def kills(command: Sequence[str], *, times: int) -> Outcome:
    """Kills a command again and again, then lets it end: the records are those of a calm run."""
    draw, faults, name = random.Random(2), [], command[0].split(".")[1]
    killed = restarts = 0
    with tempfile.TemporaryDirectory() as calm:
        started = time.monotonic()
        faults += _ended([_start(command, calm)])
        whole = time.monotonic() - started
        reference = _records(Path(calm) / name)
        while killed < times:
            with tempfile.TemporaryDirectory() as folder:
                seen: dict[str, str] = {}
                while killed < times:
                    process = _start(command, folder)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=draw.uniform(0.1, 0.9) * whole)
                    if process.poll() is not None:
                        break
                    process.kill()
                    process.wait()
                    killed += 1
                    faults += _changed(seen, Path(folder) / name)
                faults += _ended([_start(command, folder)])
                faults += _changed(seen, Path(folder) / name)
                restarts += 1
                if _records(Path(folder) / name) != reference:
                    faults.append("the records are not those of a calm run")
                faults += _remains(Path(folder))
    detail = f"{len(reference)} records each time; a calm run takes {whole:.0f} s"
    return Outcome(f"kill -9, `{' '.join(command)}`", killed, detail, faults)


def pairs(*, times: int = 10) -> Outcome:
    """Starts a command twice at once on one folder, with checkpoints after each epoch."""
    faults, longest = [], 0.0
    command = [*COMPARE[:3], "random", "magnitude", "--seeds", "1", "--checkpoint-epochs", "1"]
    with tempfile.TemporaryDirectory() as calm:
        faults += _ended([_start(command, calm)])
        reference = _records(Path(calm) / "compare")
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            both = [_start(command, folder, subprocess.PIPE) for _ in range(2)]
            # a run that was done twice leaves a record like the first: the processes count
            said = [process.communicate(timeout=PATIENCE)[0] for process in both]
            faults += _ended(both)
            longest = max(longest, time.monotonic() - started)
            counts = [re.search(r"runs, (\d+) of them now", text) for text in said]
            if sum(int(count[1]) for count in counts if count) != len(reference):
                faults.append("a run was done twice, or by nobody")
            if _records(Path(folder) / "compare") != reference:
                faults.append("the records are not those of one process")
            faults += _remains(Path(folder))
    detail = f"{len(reference)} records each time; the longest pair took {longest:.0f} s"
    return Outcome("pairs of processes on one folder", times, detail, faults)


def _start(
    command: Sequence[str], results: str, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command, "--results", results],
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def _ended(processes: Sequence[subprocess.Popen]) -> list[str]:
    faults = []
    for process in processes:
        try:
            status = process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            faults.append("a command hung")
            continue
        if status:
            faults.append(f"exit status {status}")
    return faults


def _records(folder: Path) -> dict[str, str]:
    """What each record says, but for times."""
    records = {}
    for path in folder.glob("*/record.json"):
        record = json.loads(path.read_text())
        metrics = {k: v for k, v in record["metrics"].items() if not _is_timed(k, record)}
        records[path.parent.name] = json.dumps([record["config"], metrics, record["history"]])
    return records


def _is_timed(metric: str, record: dict) -> bool:
    """A solver's certificate tells seconds, a latency is seconds."""
    return metric == "certificate" or record["config"].get("kind") == "latency"


def _changed(seen: dict[str, str], folder: Path) -> list[str]:
    """Records that were written a second time, or are gone."""
    now = {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*/record.json")
    }
    faults = [f"{name} is gone or was done twice" for name in seen if now.get(name) != seen[name]]
    seen.update(now)
    return faults


def _remains(folder: Path) -> list[str]:
    left = [
        *folder.rglob("*.unfinished"),
        *folder.rglob("checkpoints"),
        *folder.rglob("*.damaged"),
    ]
    return [f"{path.name} stays" for path in left]


TRIALS: dict[str, Callable[[], Outcome]] = {
    "saves": saves,
    "saves_again": lambda: saves(times=25, again=True),
    "corruptions": corruptions,
    "compare": lambda: kills([*COMPARE, "--checkpoint-epochs", "1"], times=20),
    "entropy_kcore": lambda: kills(OTHERS["entropy_kcore"], times=8),
    "critical_neurons": lambda: kills(OTHERS["critical_neurons"], times=8),
    "pairs": pairs,
}


def main(names: Sequence[str]) -> int:
    """Runs the trials named, or all; returns the exit status."""
    unknown = [name for name in names if name not in TRIALS]
    if unknown:
        print(f"no trial {unknown[0]!r}; there are {', '.join(TRIALS)}")
        return 2
    rows = []
    for name in names or TRIALS:
        rows.append(TRIALS[name]())
        print(f"{name}: {rows[-1].faults or 'no fault'}", file=sys.stderr, flush=True)
    print("| trial | times | what happened | lost, twice, wrong or hung |")
    print("| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.trial} | {row.times} | {row.detail} | {len(row.faults)} |")
    for row in rows:
        for fault in row.faults:
            print(f"- {row.trial}: {fault}")
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
