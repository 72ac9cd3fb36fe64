"""What a solver gives back, and its words for why it ended."""

from typing import NamedTuple

import numpy as np


class MipResult(NamedTuple):
    """What a mixed-integer program gave.

    Attributes:
        values: of the columns, or None where no solution was found.
        bound: on the objective, from below.
        status: "optimal", "infeasible", or the solver's own word for where it stopped.
    """

    values: np.ndarray | None
    bound: float
    status: str


INTERRUPTED = "userinterrupt"
"""The word for a solve that Ctrl-C ended."""

BROKEN = "broken"
"""The word for a solve that ended because of the solver's numerical trouble."""

LIMITS = {
    "timelimit": "time limit",
    "memlimit": "memory limit",
    INTERRUPTED: "interrupted",
    BROKEN: "precision limit",
}
"""The solvers' words for why they stopped before the end -> ours."""
