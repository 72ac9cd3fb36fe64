"""Where runs are done: in this process, in processes of this machine, or on a Dask cluster."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from experiments.common.attempts import Answer, Job, attempt_elsewhere, attempt_together
from experiments.common.desk import Desk

News = tuple[str, int, int]
"""(what goes on, done, of)."""

GRACE = 10.0
"""Seconds that workers and clusters have to end."""


CONNECTING = "30s"
"""How long a cluster's scheduler has to answer."""


class WorkerDiedError(Exception):
    """The process that did a run is gone; nothing of the run is recorded."""


Answers = Future[list[Answer]]
"""What became of jobs that are done together."""


class Means(Protocol):
    """Does jobs, of which it is given one or, of runs that train together, several at once.

    Attributes:
      width: how many lots of jobs it is given at once.
      retries: how often a job is given again whose worker died.
      patience: seconds between looks at runs that other processes do.
    """

    width: int
    retries: int
    patience: float

    def start(self, jobs: Sequence[Job]) -> Any:
        """Begins jobs that are done together; returns their future."""

    def finished(self, futures: list[Any], patience: float) -> list[Any]:
        """The futures whose jobs are over, waiting so many seconds for one at most."""
        ...

    def answer(self, future: Any) -> list[Answer]:
        """What became of jobs that are over.

        Raises:
          WorkerDiedError: its process is gone.
          OSError: it cannot be said; the connection is lost.
        """
        ...

    def news(self) -> Iterator[News]:
        """How jobs went on since this was last asked."""
        ...

    def close(self) -> None:
        """Ends all processes, also in the middle of jobs."""


class ThisProcess:
    """Jobs are done at once, one after the other.

    Args:
      desk: where they are done.
    """

    width, retries, patience = 1, 0, 0.5

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def start(self, jobs: Sequence[Job]) -> Answers:
        """Does the jobs."""
        future: Answers = Future()
        future.set_result(attempt_together(jobs, self._desk))
        return future

    def finished(self, futures: list[Answers], patience: float) -> list[Answers]:
        """All of them."""
        del patience
        return futures

    def answer(self, future: Answers) -> list[Answer]:
        """What became of the job."""
        return future.result()

    def news(self) -> Iterator[News]:
        """None: the desk shows it directly."""
        yield from ()

    def close(self) -> None:
        """Nothing to end."""


class _Worker(NamedTuple):
    pool: ProcessPoolExecutor
    reader: Connection


class Processes:
    """Processes of this machine, each of which keeps its desk from job to job.

    Each is a pool of its own, so that one that dies takes no other with it.

    Args:
      count: how many.
      results: the folder of all results.
    """

    retries, patience = 1, 0.5

    def __init__(self, count: int, results: Path) -> None:
        self.width, self._results = count, results.resolve()
        self._idle = [self._worker() for _ in range(count)]
        self._busy: dict[Answers, _Worker] = {}
        self._pids: dict[_Worker, int] = {}
        self._known = list(self._idle)

    def start(self, jobs: Sequence[Job]) -> Answers:
        """Begins jobs in a process that has none."""
        worker = self._idle.pop()
        try:
            future = self._submit(worker, jobs)
        except BrokenProcessPool:  # it died while it had nothing to do
            worker = self._replaced(worker)
            future = self._submit(worker, jobs)
        self._busy[future] = worker
        return future

    def _submit(self, worker: _Worker, jobs: Sequence[Job]) -> Answers:
        with _no_interrupt():
            return worker.pool.submit(_attempt, jobs, self._results)

    def finished(self, futures: list[Answers], patience: float) -> list[Answers]:
        """The futures whose jobs are over."""
        return list(wait(futures, patience, FIRST_COMPLETED).done)

    def answer(self, future: Answers) -> list[Answer]:
        """What became of a job; its process takes another one, or a new process does."""
        worker = self._busy.pop(future)
        try:
            answer = future.result()
        except BrokenProcessPool as error:
            self._idle.append(self._replaced(worker))
            raise WorkerDiedError from error
        except BaseException:
            self._idle.append(worker)
            raise
        self._idle.append(worker)
        return answer

    def news(self) -> Iterator[News]:
        """How jobs went on since this was last asked."""
        for worker in self._known:
            with contextlib.suppress(EOFError, OSError):
                while worker.reader.poll():
                    message = worker.reader.recv()
                    if isinstance(message, int):
                        self._pids[worker] = message
                    else:
                        yield message

    def close(self) -> None:
        """Ends all processes; one that does not end in time is killed."""
        ending = [_ending(worker.pool) for worker in self._known]
        deadline = time.monotonic() + GRACE
        while self._busy and time.monotonic() < deadline:  # the other workers end by themselves
            list(self.news())  # one that has just begun says its number
            for future, worker in list(self._busy.items()):
                if future.done():
                    del self._busy[future]
                elif worker in self._pids:
                    _kill(self._pids[worker])
            wait(self._busy, 0.1)
        for each in ending:
            each.join(max(deadline - time.monotonic(), 0.0))

    def _replaced(self, worker: _Worker) -> _Worker:
        """A new process in the place of one that died."""
        worker.pool.shutdown()  # at once: nothing of it lives
        self._known.remove(worker)
        self._pids.pop(worker, None)
        self._known.append(self._worker())
        return self._known[-1]

    def _worker(self) -> _Worker:
        context = get_context("spawn")  # a process that was forked beside JAX's threads may hang
        reader, writer = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(writer,))
        return _Worker(pool, reader)


def _ending(pool: ProcessPoolExecutor) -> threading.Thread:
    """A thread that waits until all of a pool is gone.

    Python wakes up every pool when it exits, and fails if a pool goes at the same moment.
    """
    thread = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    thread.start()
    return thread


_WRITER: list[Connection] = []


def _begin(writer: Connection) -> None:
    """The first thing that a worker does."""
    _WRITER[:] = [writer]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first decides
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # workers share a GPU
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tell(os.getpid())


def _end_with_parent() -> None:
    """A command that was killed leaves no worker behind."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _attempt(jobs: Sequence[Job], results: Path) -> list[Answer]:
    return attempt_elsewhere(jobs, results, lambda *news: _tell(news))


def _tell(message: int | News) -> None:
    with contextlib.suppress(OSError):  # the command is gone
        _WRITER[0].send(message)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """A process that is begun inside never hears Ctrl-C; this one hears it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Dask:
    """Any Dask cluster whose workers have this program and the folder of results.

    The cluster itself gives a job to another worker when one dies.

    Args:
      scheduler: its address, "tcp://host:8786" say.
      results: the folder of all results, as the workers see it too.

    Raises:
      ValueError: Dask is not installed.
      OSError: nothing answers at the address.
    """

    width, retries = sys.maxsize, 0  # a cluster that grows has to see what waits
    patience = 5.0

    def __init__(self, scheduler: str, results: Path) -> None:
        try:
            import distributed
        except ImportError as error:
            raise ValueError("--scheduler needs Dask: pip install -e '.[dask]'") from error
        self._distributed, self._results = distributed, results.resolve()
        self._client = distributed.Client(scheduler, timeout=CONNECTING, set_as_default=False)
        self._count = 0

    def start(self, jobs: Sequence[Job]) -> Any:
        """Hands jobs to the cluster."""
        self._count += 1
        job = jobs[0]
        key = f"{job.run.study}-{job.path.parent.name}-{os.getpid()}-{self._count}"
        return self._client.submit(attempt_elsewhere, jobs, self._results, key=key, pure=False)

    def finished(self, futures: list[Any], patience: float) -> list[Any]:
        """The futures whose jobs are over."""
        deadline = time.monotonic() + patience
        while not (over := [future for future in futures if future.done()]):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return over

    def answer(self, future: Any) -> list[Answer]:
        """What became of a job."""
        try:
            return future.result()
        except self._distributed.scheduler.KilledWorker as error:
            raise WorkerDiedError from error
        except BaseException as error:
            if future.status in ("cancelled", "lost"):
                raise OSError(
                    "the connection to the Dask cluster is lost; the same command goes on"
                ) from error
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"a worker of the Dask cluster cannot do this run: {what}") from error

    def news(self) -> Iterator[News]:
        """None: what is done on a cluster is seen on its own page."""
        yield from ()

    def close(self) -> None:
        """Takes back what has not begun; what has begun is done and recorded."""
        self._client.close(timeout=GRACE)
