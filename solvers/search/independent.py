"""Independent programs, solved one after the other or in several processes."""

import dataclasses
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import zip_longest
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from solvers.settings import Settings


class Solved(Protocol):
    """The answer of a program."""

    @property
    def status(self) -> str:
        """ "optimal", or why the solve ended early."""
        ...


Task = TypeVar("Task")
Result = TypeVar("Result", bound=Solved)


class Answers(NamedTuple, Generic[Result]):
    """The answers of independent programs.

    Attributes:
      results: one per program, in their order.
      interrupted: whether Ctrl-C came before all programs had begun.
    """

    results: list[Result]
    interrupted: bool

    @property
    def status(self) -> str:
        """The status of all programs together: "optimal" only if that of every program is."""
        statuses = {result.status for result in self.results}
        if self.interrupted:
            statuses.add("interrupted")
        return next((status for status in WORST_FIRST if status in statuses), "optimal")


WORST_FIRST = ("interrupted", "memory limit", "time limit", "precision limit", "optimal")
"""The status of several programs is the first of these that one of them has."""


def solve_each(
    solve: Callable[[Task, Settings], Result],
    tasks: Sequence[Task],
    settings: Settings,
    on_solved: Callable[[Sequence[Result]], None] | None = None,
) -> Answers[Result]:
    """Solves programs that do not depend on each other.

    With ``settings.workers`` above 1, new processes solve them (spawned, so that a script needs the
    usual ``if __name__ == "__main__"``). Ctrl-C reaches all processes. A program that runs then
    ends with its best answer so far; one that has not begun gets a time limit of 0. If this process
    is killed, the others end at once.

    Args:
      solve: solves one program; it must be a function of a module, which a process can import.
      tasks: the programs.
      settings: of all programs. A program that begins gets an equal share of the time that is
        left, so that the time that others did not use is not lost. The time to start processes
        does not count.
      on_solved: called with the answers so far after each program.

    Returns:
      The answers.
    """
    workers = min(settings.workers, len(tasks))
    alone = dataclasses.replace(settings, workers=1, on_incumbent=None)
    at_once = dataclasses.replace(alone, time_limit=0.0)
    until = settings.until(time.perf_counter())

    def share(waiting: int) -> Settings:
        """The settings of the next program, if ``waiting`` programs have not begun yet."""
        if until == math.inf:
            return alone
        left = max(until - time.perf_counter(), 0.0)
        return dataclasses.replace(alone, time_limit=left / -(-waiting // workers))

    if workers <= 1:
        results: list[Result] = []
        stopped = False
        for place, task in enumerate(tasks):
            results.append(solve(task, at_once if stopped else share(len(tasks) - place)))
            stopped = stopped or results[-1].status == "interrupted"
            if on_solved is not None:
                on_solved(results)
        return Answers(results, stopped)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_watch_parent) as pool:
        futures: list[Any] = []
        try:
            running: set[Any] = set()
            solved: list[Result] = []
            while len(solved) < len(tasks):
                while len(running) < workers and len(futures) < len(tasks):
                    task = tasks[len(futures)]
                    futures.append(pool.submit(solve, task, share(len(tasks) - len(futures))))
                    running.add(futures[-1])
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    solved.append(future.result())
                    if on_solved is not None:
                        on_solved(solved)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            answered = [
                future.result()
                if future is not None and not future.cancelled() and future.exception() is None
                else solve(task, at_once)
                for task, future in zip_longest(tasks, futures)
            ]
            return Answers(answered, True)
        return Answers([future.result() for future in futures], False)


def _watch_parent() -> None:
    """Begins a process of the pool: it waits for programs for ever unless somebody ends it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # only a process of the pool runs this
    parent.join()
    os._exit(1)
