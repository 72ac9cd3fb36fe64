"""What writing and reading NIR share: the neuromorphic intermediate representation.

Pedersen et al. 2024. The package ``nir`` is needed: ``pip install 'prunejax[nir]'``. Its graphs are
in continuous time; a time step lasts ``dt`` seconds there: a leaky neuron's ``tau`` is
``dt / (1 - decay)``.
"""

import math
from typing import Any

DT = 1e-4
"""Seconds per step."""


def package() -> Any:
    """The package ``nir``.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import nir
    except ImportError as error:
        raise ImportError(
            "exchanging networks needs the package nir: pip install 'prunejax[nir]'"
        ) from error
    return nir


def check_dt(dt: float) -> None:
    """Refuses what is no length of a step.

    Raises:
      ValueError: it is not a positive number.
    """
    if not 0 < dt < math.inf:
        raise ValueError(f"dt must be a positive number of seconds, got {dt}")


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An example's shape in NIR's order."""
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape
