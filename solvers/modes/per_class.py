"""The published program for each class alone, and the scores' mean."""

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
    """Solves the published program on each class's samples, and averages the scores.

    Args:
        problem: the network and the batch.
        settings: limits, which the classes share, the solver, and how many processes.

    Returns:
        The solution. Objective, bound and loss are the means over the classes, the violation and
        the status the worst, the other numbers sums. The averaged scores solve no program.
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
    found = answers.results
    objective, bound = _means(found)
    seconds = time.perf_counter() - started
    return Solution(
        layers=found[0].layers,
        scores=tuple(
            np.mean(layer, axis=0) for layer in zip(*(each.scores for each in found), strict=True)
        ),
        status=answers.status,
        objective=objective,
        bound=bound,
        bound_scope="paper-restriction",
        loss=float(np.mean([each.loss for each in found])),
        problem=problem,
        violation=max(each.violation for each in found),
        seconds={
            "build": sum(each.seconds["build"] for each in found),
            "solve": sum(each.seconds["solve"] for each in found),
            "in all": seconds,
        },
        rows=sum(each.rows for each in found),
        columns=sum(each.columns for each in found),
        binaries=sum(each.binaries for each in found),
        open=sum(each.open for each in found),
        programs=len(found),
        trajectory=((seconds, objective, bound),),
    )


def _means(solved: Sequence[Solution]) -> tuple[float, float]:
    objectives, bounds = zip(*((each.objective, each.bound) for each in solved), strict=True)
    return float(np.mean(objectives)), float(np.mean(bounds))


def _solve_class(problem: PruningProblem, settings: Settings) -> Solution:
    # the problem need not be sent back from another process
    return dataclasses.replace(paper.solve(problem, settings), problem=None)
