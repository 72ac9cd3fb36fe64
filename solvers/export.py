"""The published program as a file for other solvers.

Other solvers' tolerances are absolute, about 1e-6. So a file and a model hold the program that
``full.solve`` hands to its own solver: in units in which every column is about 1 (``scaling``),
and each row in units of its largest coefficient. All factors are powers of 2 and round nothing.
Only the columns h and m, what hidden layers put out, are in other units than the network's own:
``explicit.formulate(problem, normal=True).units`` holds these units.
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
"""Ending of a file -> how a comment begins; None where the losses are exact and need none."""

POINTS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Linear formats have tangents of the losses at these points: all scores at each value."""

NOTE = (
    "Critical neurons: the linear part of the published program. The columns h and m, what hidden",
    "layers put out, are in units in which they are about 1; all others are as published.",
    "The losses are not linear. In their place stand tangents of each sample's cross-entropy: at",
    f"the logits that all scores = {', '.join(map(str, POINTS))} imply (rows tangent_*), and where",
    "a solve of the program needed them (rows tangent_at_*). The optimum is a bound from below, as",
    "near to the program's as that solve came. The .cip file holds the losses themselves.",
)


def with_tangents(form: Formulation, more: Rows | None = None) -> Program:
    """The linear program that files hold.

    Args:
        form: the published program.
        more: further tangents.

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
    """The published program as a model of SCIP's, the losses as exponentials.

    The columns h and m are in other units than the network's own, see above.

    Args:
        problem: the network and the batch.

    Returns:
        A ``pyscipopt.Model``.

    Raises:
        ImportError: pyscipopt is not installed.
    """
    form = formulate(problem, normal=True)
    return scip_program.model(form.program.scaled(), form.exact_losses)


def write(problem: PruningProblem, path: str | os.PathLike[str], time_limit: float = 60.0) -> None:
    """Writes a problem's published program to a file, whole or not at all.

    ``.cip`` (SCIP's own) holds everything, the losses as constraints with exponentials. ``.mps``
    and ``.lp`` hold the linear part, with tangents of the losses in their place: at ``POINTS``, and
    those that solving the program took, so that their optimum is a bound from below, close to the
    program's own; a comment in the file says so. Rows and columns have names such as
    ``relu_upper_s3_fc1_17``: what, sample, layer, entry. The columns h and m are in other units
    than the network's own, see above.

    Args:
        problem: the network and the batch.
        path: ends in .mps, .lp or .cip; an existing file is replaced.
        time_limit: seconds of that solve; less time gives a bound further below.

    Raises:
        ValueError: another ending.
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
