"""Independent programs: what is told of each, and what Ctrl-C and a kill leave behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import solvers
from solvers.modes import paper
from solvers.search.independent import Answers
from solvers.settings import Settings
from tests.support.small_problem import problem

SCRIPT = """
import os
import sys
import time
from pathlib import Path

from solvers.search.independent import solve_each
from solvers.settings import Settings


def solve(folder, settings):
    unfinished = Path(folder, f"{os.getpid()}.unfinished")
    unfinished.touch()
    unfinished.rename(Path(folder, str(os.getpid())))
    time.sleep(600)


if __name__ == "__main__":
    solve_each(solve, [sys.argv[1]] * 3, Settings(workers=2))
"""
PATIENCE = 60
"""Seconds."""


def test_what_is_not_begun_after_ctrl_c_is_interrupted():
    results = [paper.solve(problem(), Settings(time_limit=0.0))]
    assert Answers(results, False).status == "time limit"
    assert Answers(results, True).status == "interrupted"


def test_processes_end_when_their_parent_is_killed(tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "processes"
    script.write_text(SCRIPT)
    folder.mkdir()
    path = os.pathsep.join([str(Path(solvers.__file__).parents[1]), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        children = awaited(lambda: begun(folder), 2)
        parent.kill()
        parent.wait()
        assert awaited(lambda: [pid for pid in children if not runs(pid)], 2) == children
    finally:
        if parent.poll() is None:
            parent.kill()
            parent.wait()
        for pid in begun(folder):
            if runs(pid):
                os.kill(pid, signal.SIGKILL)


def begun(folder):
    """The processes that have begun a program."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def awaited(listed, count):
    """What is listed as soon as there are so many."""
    until = time.monotonic() + PATIENCE
    while len(now := listed()) < count:
        assert time.monotonic() < until, now
        time.sleep(0.05)
    return now


def runs(pid):
    """Whether a process is there, and no corpse that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
