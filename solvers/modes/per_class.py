"""Mode "per_class": the published program for each class alone, and the mean of the scores."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from solvers.modes import paper
from solvers.programs.problem import PruningProblem
from solvers.search import independent
from solvers.settings import Settings
from solvers.solution import Solution


def solve(problem: PruningProblem, settings: Settings) -> Solution:
    """Solves the published program on the samples of each class, and averages the scores.

    Args:
      problem: the network and the batch.
      settings: limits, which the classes share, the solver, and how many processes.

    Returns:
      The solution. Objective, bound and loss are means over the classes; violation and status are
      the worst of all classes; the other numbers are sums. The averaged scores themselves solve
      no program.

    Raises:
      ImportError: the solver is not installed.
    """
    started = time.perf_counter()
    labels, inputs = np.asarray(problem.labels), np.asarray(problem.inputs)
    classes = [
        dataclasses.replace(problem, inputs=inputs[labels == label], labels=labels[labels == label])
        for label in np.unique(labels)
    ]
    answers = independent.solve_each(
        _solve_class,
        classes,
        settings,
        lambda solved: settings.tell(time.perf_counter() - started, *_means(solved)),
    )
    solved = answers.results
    objective, bound = _means(solved)
    seconds = time.perf_counter() - started
    return Solution(
        layers=solved[0].layers,
        scores=tuple(
            np.mean(layer, axis=0) for layer in zip(*(each.scores for each in solved), strict=True)
        ),
        status=answers.status,
        objective=objective,
        bound=bound,
        bound_scope="paper-restriction",
        loss=float(np.mean([each.loss for each in solved])),
        problem=problem,
        violation=max(each.violation for each in solved),
        seconds={
            "build": sum(each.seconds["build"] for each in solved),
            "solve": sum(each.seconds["solve"] for each in solved),
            "in all": seconds,
        },
        rows=sum(each.rows for each in solved),
        columns=sum(each.columns for each in solved),
        binaries=sum(each.binaries for each in solved),
        open=sum(each.open for each in solved),
        programs=len(solved),
        trajectory=((seconds, objective, bound),),
    )


def _means(solved: Sequence[Solution]) -> tuple[float, float]:
    objectives, bounds = zip(*((each.objective, each.bound) for each in solved), strict=True)
    return float(np.mean(objectives)), float(np.mean(bounds))


def _solve_class(problem: PruningProblem, settings: Settings) -> Solution:
    # so that another process need not send the problem back
    return dataclasses.replace(paper.solve(problem, settings), problem=None)
