"""The problem of critical neurons: what ``critical_neurons.solve`` takes."""

import os
from typing import Any

from solvers import export
from solvers.programs.problem import Aggregate, PruningProblem

__all__ = ["Aggregate", "Problem"]


class Problem(PruningProblem):
    """A network, a batch, and what a neuron is worth, with two ways out: a model and a file.

    Args and errors are those of ``solvers.programs.problem.PruningProblem``: ``layers``,
    ``inputs``, ``labels``, ``loss_weight=5.0``, ``epsilon=1e-5``, ``aggregate="sum_largest"``.
    """

    def to_model(self) -> Any:
        """The published program as a model of SCIP's, a ``pyscipopt.Model``.

        It holds everything, the losses as exponentials; columns and rows have the names that files
        have, see ``export.write``. It is not solved.

        Returns:
            The model.

        Raises:
            ImportError: pyscipopt is not installed.
        """
        return export.to_model(self)

    def write(self, path: str | os.PathLike[str], time_limit: float = 60.0) -> None:
        """Writes the published program to a file for other solvers: .mps, .lp or .cip.

        Only .cip holds the losses; the linear formats have tangents in their place. See
        ``export.write``.

        Args:
            path: of the file.
            time_limit: seconds for finding tangents; .cip does not need them.

        Raises:
            ValueError: another ending.
            ImportError: pyscipopt is not installed.
        """
        export.write(self, path, time_limit)
