"""Critical neurons: which neurons a network needs, as a mixed-integer program on a small batch.

The program of ElAraby, Wolf and Carvalho, "Identifying Critical Neurons in ANN Architectures using
Mixed Integer Programming" (2023, arXiv 2002.07259). Each neuron has one score in [0, 1], the same
for the whole batch; the program makes the scores as small as the loss on the batch allows.
"""

import time
from collections.abc import Callable
from typing import Any, Literal

from solvers.modes import decoupled, exact, full, paper, per_class
from solvers.problem import Aggregate, Problem
from solvers.search import interrupts
from solvers.settings import Settings
from solvers.solution import Solution, whole

__all__ = ["MODES", "Aggregate", "Mode", "Problem", "Solution", "solve"]

Mode = Literal["paper", "full", "per_class", "exact", "decoupled"]

MODES: dict[str, Callable[[Problem, Settings], Solution]] = {
    "paper": paper.solve,
    "full": full.solve,
    "per_class": per_class.solve,
    "exact": exact.solve,
    "decoupled": decoupled.solve,
}
"""Mode -> the function that solves it."""

WHOLE_SCOPES = {"exact": "all-masks", "decoupled": "probe"}
"""Mode -> the scope of its bound, where that is not "paper-restriction"; see ``solution``."""


def solve(
    problem: Problem,
    mode: Mode = "paper",
    *,
    time_limit: float | None = None,
    gap: float = 1e-4,
    memory_mb: float | None = None,
    seed: int = 0,
    max_prune: float | None = None,
    workers: int = 1,
    backend: str = "scip",
    loss: str | None = None,
    on_incumbent: Callable[[float, float, float], None] | None = None,
) -> Solution:
    """Scores the neurons of a network.

    Ctrl-C ends the search and returns the best answer so far; until that answer is ready, further
    Ctrl-Cs are ignored. Python delivers Ctrl-C to the main thread only, and ``asyncio`` takes the
    first one itself, to cancel a task. Use a ``time_limit`` there.

    Args:
      problem: the network and the batch.
      mode: "paper" is the published program in the space of its scores, with the bounds of the
        whole network; "full" is the same program with all its variables, and much slower;
        "per_class" solves one published program per class and averages the scores; "exact" has
        binary scores, and bounds that hold for every mask; "decoupled" solves one convex
        program per layer, with a linear probe in the place of the layers that follow.
      time_limit: seconds, or None for no limit. Building the program counts. A solve ends at most
        a second after the limit, unless one step takes longer: building one sample's rows, a
        thousand steps of the simplex method, SCIP's presolving, a round of local search. The
        time to start the processes of ``workers`` does not count. At a limit, and on Ctrl-C,
        the best solution so far is returned; at worst, that is the whole network.
      gap: the relative gap between objective and bound that counts as solved.
      memory_mb: a limit for the solver, or None. HiGHS cannot limit mixed-integer programs.
      seed: of the solver's random numbers.
      max_prune: for "exact": the largest share of a layer's neurons that may be pruned, or None.
      workers: how many processes solve independent programs ("per_class", "decoupled").
      backend: the solver, "scip" or "highs".
      loss: for "full": "cuts" adds tangents within SCIP's tree (with HiGHS: between programs);
        "exp" gives SCIP the exponentials, which was slower wherever it was measured.
      on_incumbent: called with (seconds, objective, bound) whenever one of these moves.

    Returns:
      The solution.

    Raises:
      ValueError: an argument is out of range, or means nothing to the mode.
      ImportError: the solver is not installed.
    """
    settings = check(
        mode,
        time_limit=time_limit,
        gap=gap,
        memory_mb=memory_mb,
        seed=seed,
        max_prune=max_prune,
        workers=workers,
        backend=backend,
        on_incumbent=on_incumbent,
        **({} if loss is None else {"loss": loss}),
    )
    started = time.perf_counter()
    with interrupts.once():
        try:
            return MODES[mode](problem, settings)
        except KeyboardInterrupt:  # while the program was still being built
            scope = WHOLE_SCOPES.get(mode, "paper-restriction")
            return whole(problem, scope, "interrupted", time.perf_counter() - started)


def check(mode: str, **settings: Any) -> Settings:
    """Checks the arguments of ``solve``.

    Args:
      mode: as in ``solve``.
      **settings: the fields of ``Settings`` that were given.

    Returns:
      The settings.

    Raises:
      ValueError: an argument is out of range, or means nothing to the mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    checked = Settings(**settings)
    if "loss" in settings and mode != "full":
        raise ValueError(f"loss is for mode 'full', the others know no exponentials, not {mode!r}")
    if checked.max_prune is not None and mode != "exact":
        raise ValueError(f"max_prune is for mode 'exact', whose scores are masks, not {mode!r}")
    return checked
