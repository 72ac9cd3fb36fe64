"""The engine of runs: each of its promises, in this process, in workers, on a Dask cluster."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments.common import claims, records
from experiments.common.attempts import Job, attempt
from experiments.common.desk import Desk
from experiments.common.options import RunningOptions, changed, flat
from experiments.common.run import Run, path_of
from experiments.common.schedule import with_needs
from tests.support.toy_study import Toy, go

ROOT = Path(__file__).parents[3]


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def toy(tmp_path):
    def make(number, *needed, how="well"):
        return Toy(number, needed, how, tmp_path / "log")

    return make


def done(tmp_path):
    """The numbers of the runs that were begun, in order."""
    log = tmp_path / "log"
    return [int(line.split()[0]) for line in log.read_text().splitlines()] if log.exists() else []


def comparable(results):
    """What records say, but for the date."""
    return {
        record["config"]["number"]: {
            **{key: value for key, value in record.items() if key != "date"},
            "metrics": record["metrics"]["value"],
        }
        for record in records.load_all(results, "toys")
    }


def test_what_is_needed_comes_first_and_is_recorded_too(tmp_path, results, toy):
    base = toy(1)
    status, text = go([toy(3, toy(2, base)), base], results)
    assert status == 0
    assert done(tmp_path) == [1, 2, 3]
    assert "values [22, 2]" in text  # 2 * (2 * (2 * 1 + 2) + 3)
    assert "2 runs, 2 of them now" in text
    assert sorted(comparable(results)) == [1, 2, 3]
    assert path_of(base, results).parent.joinpath("note.txt").read_text() == "1"


def test_what_is_recorded_is_not_done_again_unless_its_files_are_gone(tmp_path, results, toy):
    runs = [toy(1), toy(2)]
    go(runs, results)
    status, text = go([*runs, toy(3, toy(1))], results)
    assert status == 0
    assert "2 of 3 runs are recorded already" in text
    assert done(tmp_path) == [1, 2, 3]
    path_of(runs[0], results).parent.joinpath("note.txt").unlink()
    go(runs, results)
    assert done(tmp_path) == [1, 2, 3, 1]


def test_a_need_is_done_only_for_a_run_that_is_missing(tmp_path, results, toy):
    base = toy(1)
    above = toy(2, base)
    go([above], results)
    path_of(base, results).unlink()
    go([above], results)
    assert done(tmp_path) == [1, 2]


class Named:
    def __init__(self, title):
        self.title = title


def test_a_run_that_needs_itself_is_refused():
    one, other = Named("one"), Named("other")
    one.needs, other.needs = (other,), (one,)
    with pytest.raises(ValueError, match="one needs itself"):
        with_needs([one], lambda run: False)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_run_leaves_out_only_what_needs_it(tmp_path, results, toy, workers):
    bad = toy(1, how="fails")
    status, text = go(
        [toy(2, bad), toy(3, toy(2, bad)), toy(4), toy(5, how="breaks"), toy(6)],
        results,
        workers=workers,
    )
    assert status == 1
    assert "toy 1 failed: number 1 [fails]" in text
    assert "left out: toy 1 is what 2 runs need" in text
    assert "toy 5 failed: TypeError: broken (see " in text
    assert "3 runs failed" in text  # of those asked for
    assert "values [8, 12]" in text
    note = Path(re.search(r"\(see (.*)\)", text)[1])
    assert "TypeError: broken" in note.read_text()
    assert sorted(done(tmp_path)) == [1, 4, 5, 6]


def test_nothing_but_failures_says_so(results, toy):
    status, text = go([toy(1, how="fails")], results)
    assert status == 1
    assert "no run ended well" in text


def test_an_interrupt_loses_nothing_and_the_same_command_goes_on(tmp_path, results, toy):
    runs = [toy(1), toy(2, how="is interrupted"), toy(3)]
    status, text = go(runs, results)
    assert status == 130
    assert "Every finished run is recorded" in text
    assert sorted(comparable(results)) == [1]
    status, text = go(runs, results)
    assert status == 0
    assert done(tmp_path) == [1, 2, 2, 3]


def test_an_interrupt_that_is_lost_inside_a_run_stops_after_it(tmp_path, results, toy):
    runs = [toy(1, how="loses Ctrl-C"), toy(2)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a command
    try:
        status, _ = go(runs, results)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    assert sorted(comparable(results)) == [1]
    assert go(runs, results)[0] == 0
    assert done(tmp_path) == [1, 2]


def test_redo_does_recorded_runs_again(tmp_path, results, toy):
    runs = [toy(1), toy(2, how="takes long")]
    go(runs, results)
    go(runs, results, redo=("takes long",))
    assert done(tmp_path) == [1, 2, 2]
    status, text = go(runs, results, redo=("slow",))
    assert status == 1
    assert "redo takes 'all' or what is asked for (well, takes long), got 'slow'" in text


HOLD = """
import sys, time
from pathlib import Path
from experiments.common import claims
lock = claims.lock_of(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_what_another_process_claims_comes_last_and_is_taken_over_when_it_dies(
    tmp_path, results, toy, monkeypatch
):
    runs = [toy(1), toy(2), toy(3)]
    command = [sys.executable, "-c", HOLD, str(path_of(runs[1], results))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "held\n"

        def kill(seconds):
            assert done(tmp_path) == [1, 3]
            process.kill()
            process.wait()

        monkeypatch.setattr(time, "sleep", kill)
        status, text = go(runs, results)
    assert status == 0
    assert "waiting for a run of another process" in text
    assert done(tmp_path) == [1, 3, 2]


def test_what_another_process_gives_back_is_done_while_a_long_run_goes_on(tmp_path, results, toy):
    claimed, long = toy(1), toy(2, how="waits")
    command = [sys.executable, "-c", HOLD, str(path_of(claimed, results))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "held\n"

        def give_back():
            while 2 not in done(tmp_path):
                time.sleep(0.05)
            process.kill()
            process.wait()
            while not path_of(claimed, results).exists():
                time.sleep(0.05)
            (tmp_path / "go on").touch()

        thread = threading.Thread(target=give_back)
        thread.start()
        status, _ = go([claimed, long], results, workers=2)
        thread.join()
    assert status == 0
    assert sorted(comparable(results)) == [1, 2]


def test_redo_takes_what_another_command_has_done_again_meanwhile(tmp_path, results, toy):
    run = toy(1)
    go([run], results)
    path = path_of(run, results)
    old = path.stat().st_mtime_ns
    desk = Desk(results)
    assert attempt(Job(run, path, old), desk).state == "done"  # the other command
    assert attempt(Job(run, path, old), desk).state == "found"
    assert attempt(Job(run, path), desk).state == "found"
    assert done(tmp_path) == [1, 1]


def test_a_run_that_needs_a_run_is_named_by_its_configuration(toy):
    @dataclass(frozen=True)
    class Above(Run):
        below: Toy
        level: int
        aside: int = field(default=0, compare=False)
        study = "above"

        def do(self, desk):
            raise NotImplementedError

    config = {"run": "Above", "below": {"number": 1, "needed": []}, "level": 2}
    assert Above(toy(1), 2, aside=3).config() == config
    assert Above(toy(1), 2).title.endswith("level 2")


def test_what_a_dead_process_left_half_written_goes_with_the_claim(results, toy):
    folder = path_of(toy(1), results).parent
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".record.json.x.unfinished").write_text("half")
    go([toy(1)], results)
    assert sorted(path.name for path in folder.iterdir()) == ["note.txt", "record.json"]


def test_workers_make_the_records_of_one_process(tmp_path, results, toy):
    runs = [toy(n, *(toy(m) for m in range(n % 3))) for n in range(3, 9)]
    go(runs, results)
    status, text = go(runs, tmp_path / "workers", workers=3)
    assert status == 0
    assert "6 runs, 6 of them now" in text
    assert comparable(results) == comparable(tmp_path / "workers")


def test_a_worker_keeps_its_desk_from_run_to_run(results, toy):
    assert go([toy(n) for n in range(8)], results, workers=2)[0] == 0
    counts = {}
    for record in records.load_all(results, "toys"):
        pid, count = record["metrics"]["of_process"]
        counts.setdefault(pid, []).append(count)
    assert len(counts) <= 2  # processes did eight runs
    for of_process in counts.values():
        assert sorted(of_process) == list(range(1, len(of_process) + 1))


def test_a_worker_that_is_told_to_end_is_replaced(tmp_path, results, toy):
    """SIGTERM, as schedulers of jobs send it: to one with a run, and to one without."""
    holding = toy(0, how="waits")
    runs = [holding, toy(1, holding), toy(2)]

    def end_workers():
        log = tmp_path / "log"
        while not log.exists() or len(log.read_text().splitlines()) < 2:  # 0 and 2
            time.sleep(0.05)
        time.sleep(0.5)  # the second is idle by now
        for line in log.read_text().splitlines():
            os.kill(int(line.split()[1]), signal.SIGTERM)
        (tmp_path / "go on").touch()

    thread = threading.Thread(target=end_workers)
    thread.start()
    status, text = go(runs, results, workers=2)
    thread.join()
    assert status == 0, text
    assert sorted(comparable(results)) == [0, 1, 2]
    assert "the worker of toy 0 died; it is begun anew" in text


def test_a_worker_that_dies_costs_its_run_a_retry_and_nothing_else(tmp_path, results, toy):
    runs = [toy(n, how="takes long") for n in range(2)]
    runs += [toy(2, how="dies once"), toy(3, how="dies"), *(toy(n) for n in range(4, 8))]
    status, text = go(runs, results, workers=2)
    assert status == 1
    assert "the worker of toy 2 died; it is begun anew" in text
    assert "toy 3 failed: its worker died, again and again" in text
    assert sorted(comparable(results)) == [0, 1, 2, 4, 5, 6, 7]
    assert sorted(done(tmp_path)) == [0, 1, 2, 2, 3, 3, 4, 5, 6, 7]


def command(results, count, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.toy_study", str(results), str(count), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def wait_for(results, count):
    deadline = time.monotonic() + 120
    while len(list(results.glob("toys/*/record.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_kill_9_in_the_middle_loses_no_finished_run(tmp_path, results, workers):
    process = command(results, 6, "--workers", workers)
    wait_for(results, 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {p: p.stat().st_mtime_ns for p in results.glob("toys/*/record.json")}
    assert 2 <= len(before) < 6
    process = command(results, 6, "--workers", workers)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert f"6 runs, {6 - len(before)} of them now" in text
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(done(tmp_path)) <= 6 + int(workers)
    assert not list(results.rglob("*.unfinished"))


def test_ctrl_c_ends_all_workers(results):
    process = command(results, 8, "--workers", "2")
    wait_for(results, 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Every finished run is recorded" in text
    assert "Traceback" not in text
    finished = list(results.glob("toys/*/record.json"))
    assert 2 <= len(finished) < 8
    assert_none_is_left(process.pid)
    text, _ = command(results, 8, "--workers", "2").communicate(timeout=120)
    assert f"8 runs, {8 - len(finished)} of them now" in text


def test_nothing_of_the_workers_is_left_when_a_study_ends(results, toy):
    """Python fails at exit, now and then, if a pool of processes ends at the same moment."""
    before = set(threading.enumerate())
    status, text = go([toy(n) for n in range(2)], results, workers=2)
    assert status == 0, text
    assert set(threading.enumerate()) <= before


def test_workers_end_with_a_command_that_is_killed(results):
    process = command(results, 8, "--workers", "2")
    wait_for(results, 2)
    process.kill()
    process.communicate()
    assert_none_is_left(process.pid)


def assert_none_is_left(group):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    left = subprocess.run(["ps", "-o", "args=", "-g", f"{group}"], capture_output=True)
    pytest.fail(f"a process is left: {left.stdout}")


def test_two_commands_at_once_do_no_run_twice(tmp_path, results):
    both = [command(results, 6, "--workers", "2"), command(results, 6)]
    texts = [one.communicate(timeout=120)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], texts
    counts = [int(re.search(r"6 runs, (\d+) of them now", text)[1]) for text in texts]
    assert sum(counts) == 6
    assert sorted(done(tmp_path)) == list(range(6))


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=":0", env={"PYTHONPATH": str(ROOT)}
    ) as cluster:
        yield cluster.scheduler_address


def test_a_dask_cluster_makes_the_records_of_one_process(tmp_path, results, toy, cluster):
    runs = [toy(n, *(toy(m) for m in range(n % 3))) for n in range(3, 9)]
    go(runs, results)
    status, text = go(runs, tmp_path / "cluster", scheduler=cluster)
    assert status == 0, text
    assert comparable(results) == comparable(tmp_path / "cluster")
    pids = {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()[8:]}
    assert str(os.getpid()) not in pids


def test_a_dask_worker_that_dies_costs_its_run_a_retry(tmp_path, results, toy, cluster):
    runs = [toy(1, how="dies once"), *(toy(n) for n in range(2, 6)), toy(6, how="fails")]
    status, text = go(runs, results, scheduler=cluster)
    assert status == 1
    assert "toy 6 failed: number 6 [fails]" in text
    assert sorted(comparable(results)) == [1, 2, 3, 4, 5]
    assert done(tmp_path).count(1) == 2


def test_settings_are_checked_and_set_wherever_they_stand():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        RunningOptions(workers=0).check()
    with pytest.raises(ValueError, match="a cluster has workers of its own"):
        RunningOptions(workers=2, scheduler="tcp://x:1").check()
    with pytest.raises(ValueError, match="scheduler must be an address like"):
        RunningOptions(scheduler="foo").check()
    with pytest.raises(ValueError, match="there is no setting epoch"):
        changed(RunningOptions(), epoch=3)
    assert flat(changed(RunningOptions(), seeds=7))["seeds"] == 7


def test_a_cluster_that_is_not_there_is_one_clear_line(results, toy, monkeypatch):
    pytest.importorskip("distributed")
    from experiments.common import means

    monkeypatch.setattr(means, "CONNECTING", "0.5s")
    status, text = go([toy(1)], results, scheduler="tcp://127.0.0.1:9")
    assert status == 1
    assert "error: " in text
    assert "127.0.0.1:9" in text


def test_a_claim_is_held_only_inside_its_block(results, toy):
    path = path_of(toy(1), results)
    with claims.unless_claimed(path) as ours:
        assert ours
        with claims.unless_claimed(path) as again:
            assert not again
    told = []
    with claims.alone(path, lambda: told.append(1)):
        pass
    assert not told
