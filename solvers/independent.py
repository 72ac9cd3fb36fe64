"""Independent programs, one after another or in several processes."""

import dataclasses
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
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
        settings: of all; each gets its share of the time, in which processes are not started.
        on_solved: told the answers so far, whenever there is one more.

    Returns:
        The answers.
    """
    workers = min(settings.workers, len(tasks))
    limit = settings.time_limit
    alone = dataclasses.replace(
        settings,
        workers=1,
        on_incumbent=None,
        time_limit=None if limit is None else limit / -(-len(tasks) // workers),
    )
    at_once = dataclasses.replace(alone, time_limit=0.0)
    if workers <= 1:
        results: list[Result] = []
        stopped = False
        for task in tasks:
            results.append(solve(task, at_once if stopped else alone))
            stopped = stopped or results[-1].status == "interrupted"
            if on_solved is not None:
                on_solved(results)
        return Answers(results, stopped)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures: list[Any] = [pool.submit(solve, task, alone) for task in tasks]
        try:
            solved: list[Result] = []
            for future in as_completed(futures):
                solved.append(future.result())
                if on_solved is not None:
                    on_solved(solved)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            answered = [
                future.result()
                if not future.cancelled() and future.exception() is None
                else solve(task, at_once)
                for task, future in zip(tasks, futures, strict=True)
            ]
            return Answers(answered, True)
        return Answers([future.result() for future in futures], False)
