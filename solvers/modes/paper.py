"""Mode "paper": the published program, "relaxed neurons", solved in the space of the scores."""

import time

import numpy as np

from solvers.programs import reduced
from solvers.programs.objective import Objective
from solvers.programs.problem import PruningProblem
from solvers.programs.verification import largest_violation
from solvers.search import cutting_planes
from solvers.settings import Settings
from solvers.solution import Solution, whole


def solve(problem: PruningProblem, settings: Settings) -> Solution:
    """Finds scores that relax the neurons, under the bounds of the whole network.

    A score can be high although the neuron gives nothing to the logits. If a unit is always active
    by the whole network's bounds, the published rows demand ``z - (1 - s) U >= 0``. When pruning
    the layers before has lowered z to .17 U, the unit's score cannot be below .83, even if all its
    outgoing weights are 0.

    Args:
      problem: the network and the batch.
      settings: limits and the solver.

    Returns:
      The solution.

    Raises:
      ImportError: the solver is not installed.
    """
    started = time.perf_counter()
    chain = problem.normal.chain
    try:
        program = reduced.reduce(chain, problem.flat, problem.epsilon, settings.until(started))
    except TimeoutError:
        seconds = time.perf_counter() - started
        return whole(problem, "paper-restriction", "time limit", seconds)
    objective = Objective(
        program,
        np.asarray(problem.labels),
        problem.loss_weight,
        problem.importance,
    )
    built = time.perf_counter()
    minimum = cutting_planes.minimise(
        program,
        objective,
        np.array(program.columns.start),
        settings.solver(),
        settings.limits(started),
        settings.tell,
    )
    solved = time.perf_counter()
    scores = minimum.columns[: problem.chain.neurons]
    losses, _ = objective.losses(minimum.columns)
    return Solution(
        layers=problem.chain.names,
        scores=problem.chain.split(scores),
        status=minimum.status,
        objective=minimum.objective,
        bound=minimum.bound,
        bound_scope="paper-restriction",
        loss=float(losses.mean()),
        problem=problem,
        violation=largest_violation(chain, problem.flat, problem.epsilon, scores),
        seconds={"build": built - started, "solve": solved - built},
        rows=minimum.rows,
        columns=len(program.columns.lower) + len(problem.labels) + 1,
        binaries=len(program.columns.binary),
        open=program.open,
        trajectory=minimum.trajectory,
    )
