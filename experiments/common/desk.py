"""What one process keeps between the runs that it does."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

Kept = TypeVar("Kept")

Show = Callable[[str, int, int], None]
"""Told (what goes on, done, of)."""


class Desk:
    """Where a process does its runs: loaded data, compiled steps and read networks stay on it.

    Args:
      results: the folder of all results.
      show: told how a run goes on.

    Attributes:
      results: the folder of all results.
      show: told how a run goes on.
    """

    def __init__(self, results: Path, show: Show = lambda *_: None) -> None:
        self.results, self.show = results, show
        self._kept: dict[str, dict[Hashable, Any]] = {}

    def kept(self, kind: str, key: Hashable, make: Callable[[], Kept], *, at_most: int = 2) -> Kept:
        """What was made for a key before, or is made now.

        Args:
          kind: what is kept, "bench" say.
          key: which one.
          make: makes it.
          at_most: how many of the kind are kept; the one that was used longest ago goes.

        Returns:
          What is kept.
        """
        of_kind = self._kept.setdefault(kind, {})
        value = of_kind.pop(key) if key in of_kind else make()
        of_kind[key] = value
        while len(of_kind) > at_most:
            del of_kind[next(iter(of_kind))]
        return value
