"""What of a network is pruned, in what shape: the flags that ``allocation.allocate`` knows."""

import dataclasses
from typing import Any

from prunejax import allocation
from prunejax.allocation import NofM, Sparsity


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a sparsity is of, and in what shape weights stay.

    Attributes:
      pattern: see ``allocation.as_pattern``; None: single weights.
      exclude: patterns of the paths of kernels that stay whole.
      layers: sparsities of some kernels by the pattern of their paths; the others share the run's.
    """

    pattern: str | None = None
    exclude: tuple[str, ...] = ()
    layers: tuple[tuple[str, float], ...] = ()

    def config(self) -> dict[str, Any]:
        """What of it names a record: nothing where all is as by default."""
        said = {
            "pattern": self.pattern,
            "exclude": list(self.exclude),
            "layers": dict(self.layers),
        }
        return {name: value for name, value in said.items() if value}

    def said(self) -> str:
        """The same in words, "" where all is as by default."""
        return "".join(f", {name} {_in_words(value)}" for name, value in self.config().items())

    @property
    def own_sparsity(self) -> float | None:
        """The sparsity that N of M has by itself, None for all other patterns.

        Raises:
          ValueError: there is no such pattern.
        """
        pattern = allocation.as_pattern(self.pattern)
        return pattern.sparsity if isinstance(pattern, NofM) else None

    def sparsity(self, of_rest: float) -> Sparsity:
        """What ``allocate`` is given, where the kernels that ``layers`` does not name share one."""
        return {**dict(self.layers), "": of_rest} if self.layers else of_rest


EVERYTHING = Shape()
"""All kernels, single weights."""


def parsed(layers: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Sparsities by path as a command line has them: "hidden1=0.9".

    Raises:
      ValueError: one is not of this form, or its number is no sparsity.
    """
    found: list[tuple[str, float]] = []
    for given in layers:
        path, equals, number = given.rpartition("=")
        if not equals or not path:
            raise ValueError(f"layer sparsities are PATTERN=NUMBER, hidden1=0.9 say; got {given!r}")
        if path in dict(found):
            raise ValueError(f"layer sparsities name {path!r} twice")
        try:
            found.append((path, allocation.check_sparsity(float(number))))
        except ValueError as error:
            raise ValueError(f"layer sparsity {given!r}: {error}") from error
    return tuple(found)


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{path} {number:g}" for path, number in value.items())
    return value if isinstance(value, str) else ", ".join(value)
