"""How far a program is solved, and by which solver."""

import dataclasses
import importlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from solvers import checks

Value = TypeVar("Value")

BACKENDS = ("scip", "highs")
"""The solvers: modules of ``solvers.backends`` with ``LinearProgram`` and ``solve_mip``."""

LOSSES = ("cuts", "exp")
"""How mode "full" gives a solver the losses: by tangents, or by exponentials (SCIP only)."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of ``critical_neurons.solve``; that function explains them.

    Attributes:
      time_limit: seconds, or None.
      gap: the relative gap that counts as solved.
      memory_mb: a limit for the solver, or None.
      seed: of the solver's random numbers, in [0, 2**31).
      max_prune: the largest share of a layer's neurons that may be pruned, or None.
      workers: processes for independent programs.
      backend: a name in ``BACKENDS``.
      loss: of mode "full", a name in ``LOSSES``.
      on_incumbent: called with (seconds, objective, bound) whenever one of these moves.

    Raises:
      ValueError: a setting is out of range.
    """

    time_limit: float | None = None
    gap: float = 1e-4
    memory_mb: float | None = None
    seed: int = 0
    max_prune: float | None = None
    workers: int = 1
    backend: str = "scip"
    loss: str = "cuts"
    on_incumbent: Callable[[float, float, float], None] | None = None

    def __post_init__(self) -> None:
        checks.not_negative(self.gap, "gap")
        if self.time_limit is not None:
            checks.not_negative(self.time_limit, "time_limit")
        if self.memory_mb is not None:
            checks.positive(self.memory_mb, "memory_mb")
        if self.max_prune is not None:
            checks.not_negative(self.max_prune, "max_prune")
            if self.max_prune > 1:
                raise ValueError(f"max_prune must be in [0, 1], got {self.max_prune}")
        for name, value, smallest in (("workers", self.workers, 1), ("seed", self.seed, 0)):
            if not checks.is_whole(value) or not smallest <= value < 2**31:
                raise ValueError(
                    f"{name} must be a whole number from {smallest} to 2**31 - 1, got {value!r}"
                )
            object.__setattr__(self, name, int(value))
        if self.backend not in BACKENDS:
            raise ValueError(f"no backend {self.backend!r}; there are {', '.join(BACKENDS)}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be {' or '.join(map(repr, LOSSES))}, got {self.loss!r}")

    def solver(self) -> Any:
        """The backend's module, imported now; the solver itself loads when it is first used."""
        return importlib.import_module(f"solvers.backends.{self.backend}")

    def until(self, started: float) -> float:
        """When a solve must end that started then; both are readings of ``time.perf_counter``."""
        return math.inf if self.time_limit is None else started + self.time_limit

    def limits(self, started: float) -> "Limits":
        """The limits of a search that started then, a reading of ``time.perf_counter``."""
        return Limits(self.gap, self.until(started), self.memory_mb, self.seed)

    def tell(self, seconds: float, objective: float, bound: float) -> None:
        """Calls ``on_incumbent``, if there is one."""
        if self.on_incumbent is not None:
            self.on_incumbent(seconds, objective, bound)


class Limits(NamedTuple):
    """When a search ends.

    Attributes:
      gap: the relative gap to reach.
      until: the time to end at, a reading of ``time.perf_counter``; infinity for never.
      memory_mb: megabytes that the program's matrices and rows may take, ours and the solver's;
        or None.
      seed: of mixed-integer solvers.
    """

    gap: float
    until: float
    memory_mb: float | None
    seed: int

    def left(self) -> float | None:
        """The seconds that are left, negative when the time is over; None without a limit."""
        return None if self.until == math.inf else self.until - time.perf_counter()


def in_time(values: Iterable[Value], until: float) -> Iterator[Value]:
    """Yields values as long as there is time.

    Args:
      values: the values.
      until: the time to end at, a reading of ``time.perf_counter``.

    Yields:
      The values.

    Raises:
      TimeoutError: the time is over.
    """
    for value in values:
        if time.perf_counter() >= until:
            raise TimeoutError
        yield value
