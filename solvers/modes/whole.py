"""The answer where a program could not even be built in time."""

import numpy as np

from solvers.programs.problem import PruningProblem
from solvers.solution import Solution


def whole(problem: PruningProblem, scope: str, status: str, seconds: float) -> Solution:
    """The whole network as an answer, where there is no better one.

    Args:
        problem: the network and the batch.
        scope: of the bound; no solver is needed for it.
        status: why there is nothing better.
        seconds: how long it took to find nothing.

    Returns:
        The solution.
    """
    scores = np.ones(problem.chain.neurons)
    loss, objective = problem.loss(), problem.loss_weight * problem.loss() + problem.penalty(scores)
    # neither scores nor losses are negative
    bound = problem.penalty(np.zeros(problem.chain.neurons))
    return Solution(
        layers=tuple(gate.name for gate in problem.chain.gates),
        scores=tuple(scores[part] for part in problem.chain.slices()),
        status=status,
        objective=objective,
        bound=bound,
        bound_scope=scope,
        loss=loss,
        problem=problem,
        violation=0.0,
        seconds={"build": seconds, "solve": 0.0},
        rows=0,
        columns=0,
        binaries=0,
        open=0,
        trajectory=((seconds, objective, bound),),
    )
