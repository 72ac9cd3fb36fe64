"""The published program as a file, or as a model, for other solvers.

Other solvers' tolerances are absolute, about 1e-6. So files and models hold the program that
``modes.full`` gives to its own solver: every column is in units in which it is about 1
(``network.scaling``), and every row in units of its largest coefficient. All these units are powers
of 2, which round nothing. The outputs of hidden layers, the columns h and m, are therefore in other
units than the network's own; ``programs.explicit.formulate(problem, normal=True).units`` holds
them.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from solvers.backends import scip_program
from solvers.modes import full
from solvers.programs.explicit import Formulation, formulate
from solvers.programs.problem import PruningProblem
from solvers.programs.program import Program
from solvers.programs.rows import Rows, joined
from solvers.settings import Settings

COMMENTS = {".mps": "*", ".lp": "\\", ".cip": None}
"""Ending of a file -> how a comment begins; None where the losses are exact and need no note."""

POINTS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Linear formats have tangents of the losses where all scores have one of these values."""

NOTE = (
    "Critical neurons: the linear part of the published program. The columns h and m, what hidden",
    "layers put out, are in units in which they are about 1; all others are as published.",
    "The losses are not linear. In their place stand tangents of each sample's cross-entropy: at",
    f"the logits that all scores = {', '.join(map(str, POINTS))} imply (rows tangent_*), and where",
    "a solve of the program needed them (rows tangent_at_*). The optimum is a bound from below, as",
    "near to the program's as that solve came. The .cip file holds the losses themselves.",
)


def with_tangents(form: Formulation, more: Rows | None = None) -> Program:
    """The linear program that .mps and .lp files hold.

    Args:
      form: the published program.
      more: further tangents, or None.

    Returns:
      The program with tangents ``tangent_<point>_s<sample>`` of the losses, and
      ``tangent_at_<number>``; each row in units of its largest coefficient.
    """
    names: list[str] = []
    blocks = []
    for place, point in enumerate(POINTS):
        blocks.append(form.tangents(form.complete(np.full(form.chain.neurons, point))))
        names += [f"tangent_{place}_s{sample}" for sample in range(len(blocks[-1]))]
    if more is not None:
        blocks.append(more)
        names += [f"tangent_at_{place}" for place in range(len(more))]
    return form.program.extended(tuple(names), joined(blocks)).scaled()


def to_model(problem: PruningProblem) -> Any:
    """Makes a model of SCIP's of the published program, with exponentials for the losses.

    Rows and columns have the names that files have, see ``write``. The columns h and m are in other
    units than the network's own, see above.

    Args:
      problem: the network and the batch.

    Returns:
      A ``pyscipopt.Model``, not solved.

    Raises:
      ImportError: pyscipopt is not installed.
    """
    form = formulate(problem, normal=True)
    return scip_program.model(form.program.scaled(), form.exact_losses)


def write(problem: PruningProblem, path: str | os.PathLike[str], time_limit: float = 60.0) -> None:
    """Writes a problem's published program to a file, whole or not at all.

    ``.cip``, SCIP's own format, holds everything; its losses are constraints with exponentials.
    ``.mps`` and ``.lp`` are linear. They hold tangents of the losses: at ``POINTS``, and where a
    solve of the program needed them. So their optimum is a bound from below, close to the program's
    own optimum; a comment in the file says so. Rows and columns have names such as
    ``relu_upper_s3_fc1_17``: the kind of row, the sample, the layer, the entry. The columns h and m
    are in other units than the network's own, see above.

    Args:
      problem: the network and the batch.
      path: ends in .mps, .lp or .cip; an existing file is replaced.
      time_limit: seconds for that solve; with less time, the bound is further below.

    Raises:
      ValueError: the path has another ending.
      ImportError: pyscipopt is not installed.
    """
    path = Path(path)
    if path.suffix not in COMMENTS:
        raise ValueError(f"{path.name} must end in {', '.join(COMMENTS)}")
    form = formulate(problem, normal=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        mark = COMMENTS[path.suffix]
        if mark is None:
            scip_program.write(form.program.scaled(), form.exact_losses, part)
        else:
            more = full.tangents(problem, Settings(time_limit=time_limit))
            scip_program.write(with_tangents(form, more), (), part)
            note = "".join(f"{mark} {line}\n" for line in NOTE)
            part.write_text(note + part.read_text())
        part.replace(path)
