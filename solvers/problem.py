"""The problem that ``critical_neurons.solve`` takes."""

import os
from typing import Any

from solvers import export
from solvers.programs.problem import Aggregate, PruningProblem

__all__ = ["Aggregate", "Problem"]


class Problem(PruningProblem):
    """A network, a batch, and what a neuron costs, which can be written for other solvers.

    ``solvers.programs.problem.PruningProblem`` explains the arguments: ``layers``, ``inputs``,
    ``labels``, ``loss_weight=5.0``, ``epsilon=1e-5`` and ``aggregate="sum_largest"``.
    """

    def to_model(self) -> Any:
        """Makes a model of SCIP's of the published program; see ``export.to_model``.

        Returns:
          A ``pyscipopt.Model``, not solved.

        Raises:
          ImportError: pyscipopt is not installed.
        """
        return export.to_model(self)

    def write(self, path: str | os.PathLike[str], time_limit: float = 60.0) -> None:
        """Writes the published program to a file for other solvers; see ``export.write``.

        Args:
          path: of the file; it ends in .mps, .lp or .cip.
          time_limit: seconds for finding tangents of the losses; .cip needs none.

        Raises:
          ValueError: the path has another ending.
          ImportError: pyscipopt is not installed.
        """
        export.write(self, path, time_limit)
