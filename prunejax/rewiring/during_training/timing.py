"""When masks change: every so many steps, from a first step to a last one."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Timing:
    """The steps after which masks change: ``begin, begin + every, ...`` up to ``end``.

    Attributes:
      every: steps from one change to the next.
      begin: how many steps are done before the first change.
      end: how many are done, at most, before the last one; None: there is no last one.

    Raises:
      ValueError: a number is not whole, ``every`` is below 1, ``begin`` below 0, or ``end`` below
        ``begin``.
    """

    every: int
    begin: int
    end: int | None

    def __post_init__(self) -> None:
        _check_whole("every", self.every, 1)
        _check_whole("begin", self.begin, 0)
        if self.end is not None:
            _check_whole("end", self.end, 0)
            if self.end < self.begin:
                raise ValueError(f"end must not be before begin, {self.begin}, got {self.end}")

    @property
    def last(self) -> int:
        """The number of the last change, from 0; 0 where there is no last one."""
        return 0 if self.end is None else (self.end - self.begin) // self.every

    def fractions(self) -> Float[np.ndarray, " changes"]:
        """How far each change is between the first, 0, and the last, 1; [1] if there is but one."""
        return np.arange(self.last + 1) / self.last if self.last else np.ones(1)

    def is_due(self, done: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether masks change after so many steps."""
        since = done - self.begin
        due = (since >= 0) & (since % self.every == 0)
        return due if self.end is None else due & (done <= self.end)

    def number(self, done: Int[Array, ""]) -> Int[Array, ""]:
        """The number of the change after so many steps, at most ``last``."""
        return jax.numpy.clip((done - self.begin) // self.every, 0, self.last)


def _check_whole(name: str, given: Any, least: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {given!r}")
