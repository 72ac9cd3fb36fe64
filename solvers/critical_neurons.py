"""Critical neurons: which neurons a network needs, as a mixed-integer program on a small batch.

The program of ElAraby, Wolf and Carvalho, "Identifying Critical Neurons in ANN Architectures using
Mixed Integer Programming" (2023, arXiv 2002.07259): scores in [0, 1], one a neuron and shared by
the batch, that are as small as the loss on the batch allows.
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
"""Mode -> how it is solved."""

WHOLE_SCOPES = {"exact": "all-masks", "decoupled": "probe"}
"""Mode -> what its bound is about, where that is not the published program."""


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

    Ctrl-C ends the search, and the best answer so far is returned; further ones are ignored until
    it is there. It must reach the main thread: in a script that runs ``asyncio``, whose own handler
    takes the first Ctrl-C to cancel a task, it does not; a ``time_limit`` ends the solve there.

    Args:
        problem: the network and the batch.
        mode: "paper", the published program, whose scores relax the neurons and whose bounds are
            those of the whole network, in the space of the scores; "full", the same with all its
            variables, much slower; "per_class", one such program a class, and the scores' mean;
            "exact", binary scores and bounds that hold for every mask; "decoupled", one convex
            program a layer, with a linear probe in the place of what follows.
        time_limit: seconds, or None; building the program counts, and ends with the sample it is
            at. Every mode ends within a second of the limit, or with the step it is at: a thousand
            steps of the simplex method, SCIP's presolving, a round of local search. Processes of
            ``workers`` are started on top. At a limit, and on Ctrl-C, the best solution so far is
            returned, the whole network at worst.
        gap: the relative gap between objective and bound that counts as solved.
        memory_mb: a limit for the solver, or None; HiGHS has none for mixed-integer programs.
        seed: for what the solver draws.
        max_prune: for "exact": the largest share of a layer's neurons that may be pruned, or None.
        workers: processes for independent programs.
        backend: the solver, "scip" or "highs".
        loss: for "full": "cuts", tangents that are added within SCIP's tree (or between HiGHS's
            programs); "exp", SCIP's own exponentials, which are slower wherever it was measured.
        on_incumbent: told (seconds, objective, bound) as they move.

    Returns:
        The solution.

    Raises:
        ValueError: an argument out of range, or that means nothing to the mode.
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
    """The settings of a solve.

    Args:
        mode: see ``solve``.
        **settings: the same.

    Returns:
        The settings.

    Raises:
        ValueError: an argument out of range, or that means nothing to the mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    checked = Settings(**settings)
    if "loss" in settings and mode != "full":
        raise ValueError(f"loss is for mode 'full', the others know no exponentials, not {mode!r}")
    if checked.max_prune is not None and mode != "exact":
        raise ValueError(f"max_prune is for mode 'exact', whose scores are masks, not {mode!r}")
    return checked
