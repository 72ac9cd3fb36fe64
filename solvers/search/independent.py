"""Independent programs, one after another or in several processes."""

import dataclasses
import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import zip_longest
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from solvers.settings import Settings


class Solved(Protocol):
    """What a program's answer has."""

    @property
    def status(self) -> str:
        """ "optimal", or why it ended before."""
        ...


Task = TypeVar("Task")
Result = TypeVar("Result", bound=Solved)


class Answers(NamedTuple, Generic[Result]):
    """What independent programs gave.

    Attributes:
        results: in the order of the programs.
        interrupted: whether some were not begun because of Ctrl-C.
    """

    results: list[Result]
    interrupted: bool

    @property
    def status(self) -> str:
        """The status of all: "optimal" only where every program's is."""
        found = {result.status for result in self.results}
        if self.interrupted:
            found.add("interrupted")
        return next((status for status in WORST_FIRST if status in found), "optimal")


WORST_FIRST = ("interrupted", "memory limit", "time limit", "precision limit", "optimal")
"""Statuses: the first that any program has is that of all."""


def solve_each(
    solve: Callable[[Task, Settings], Result],
    tasks: Sequence[Task],
    settings: Settings,
    on_solved: Callable[[Sequence[Result]], None] | None = None,
) -> Answers[Result]:
    """Solves programs that know nothing of each other.

    With ``settings.workers`` > 1 they are solved in processes that are started afresh (spawn), so
    that a script needs the usual ``if __name__ == "__main__"``. Ctrl-C reaches all of them: what
    runs ends with what it has, and what has not begun is answered as with a time limit of 0.

    Args:
        solve: solves one; a function of a module.
        tasks: the programs.
        settings: of all. Each program gets an equal share of the time that is left when it begins,
            so that it may use what others have not; starting processes comes on top.
        on_solved: told the answers so far, whenever there is one more.

    Returns:
        The answers.
    """
    workers = min(settings.workers, len(tasks))
    alone = dataclasses.replace(settings, workers=1, on_incumbent=None)
    at_once = dataclasses.replace(alone, time_limit=0.0)
    until = settings.until(time.perf_counter())

    def share(waiting: int) -> Settings:
        """The settings of the next program, where so many programs have not begun yet."""
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
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
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
