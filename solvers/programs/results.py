"""The result of a mixed-integer program, and the solvers' words for why they ended."""

from typing import NamedTuple

import numpy as np


class MipResult(NamedTuple):
    """The result of a mixed-integer program.

    Attributes:
      values: of the columns, [columns]; None if no solution was found.
      bound: on the objective, from below.
      status: "optimal", "infeasible", or the solver's own word for why it ended.
    """

    values: np.ndarray | None
    bound: float
    status: str


INTERRUPTED = "userinterrupt"
"""The status of a solve that Ctrl-C ended."""

BROKEN = "broken"
"""The status of a solve that the solver's numerical trouble ended."""

LIMITS = {
    "timelimit": "time limit",
    "memlimit": "memory limit",
    INTERRUPTED: "interrupted",
    BROKEN: "precision limit",
}
"""The status of a solve that ended early -> the status of a ``Solution``."""
