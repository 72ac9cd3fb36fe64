"""Patterns: in what shape weights stay. Single ones, N of M neighbours, blocks, so many per output.

A pattern is a frozen dataclass with ``counts``, what stays of leaves of some shapes, and ``keep``,
which stays.
"""

import re

from prunejax.allocation.blocks import Blocks
from prunejax.allocation.n_of_m import NofM
from prunejax.allocation.per_output import PerOutput
from prunejax.allocation.unstructured import Unstructured

Pattern = Unstructured | NofM | Blocks | PerOutput


def as_pattern(given: str | Pattern | None) -> Pattern:
    """The pattern that a name stands for.

    Args:
      given: "2:4" (N of M), "4x4" (blocks of inputs x outputs), "per_output", None for single
        weights, or a pattern.

    Returns:
      The pattern.

    Raises:
      ValueError: it is none of these.

    >>> as_pattern("2:4")
    NofM(kept=2, of=4, axis=-2)
    """
    if given is None:
        return Unstructured()
    if isinstance(given, Unstructured | NofM | Blocks | PerOutput):
        return given
    if given == "per_output":
        return PerOutput()
    if isinstance(given, str) and (found := re.fullmatch(r"(\d+)([:x])(\d+)", given)):
        first, second = int(found[1]), int(found[3])
        return NofM(first, second) if found[2] == ":" else Blocks(first, second)
    raise ValueError(
        f"unknown pattern {given!r}; allowed are '2:4' (N of M inputs), '4x4' (blocks of inputs x "
        "outputs), 'per_output', or an object: NofM(2, 4), Blocks(4, 4), PerOutput()"
    )
