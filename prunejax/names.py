"""Names that somebody typed: checked, and answered with what was meant."""

import difflib
from collections.abc import Iterable
from typing import Any

SHOWN = 30
"""A message lists so many allowed names at most: networks have hundreds of layers."""


def choose(what: str, given: Any, allowed: Iterable[str]) -> str:
    """The name that was given, if it is one of those allowed.

    Args:
      what: what is named, in the words of the message: "criterion", "split of mnist".
      given: the name; anything that is no name is refused as a name that is not there.
      allowed: the names that there are; a registry will do.

    Returns:
      The name.

    Raises:
      ValueError: it is none of them; the message lists them, and says which one is close.

    >>> choose("colour", "blu", ["red", "blue"])
    Traceback (most recent call last):
    ValueError: unknown colour 'blu'; allowed are red, blue; did you mean 'blue'?
    """
    names = list(allowed)
    if given in names:
        return given
    raise ValueError(
        f"unknown {what} {given!r}; allowed are {listed(names)}{suggestion(given, names)}"
    )


def suggestion(given: Any, allowed: Iterable[str]) -> str:
    """The end of a message about a name: "; did you mean 'this'?", or nothing if none is close."""
    close = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def listed(names: Iterable[str], most: int = SHOWN) -> str:
    """Names with commas between them, "..." in the place of those beyond ``most``.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "none"
