"""Registries of functions: the entry that a name, a function or a partial of one stands for."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

from prunejax import names

Entry = TypeVar("Entry")
"""A dataclass whose field ``score`` is the function; its other fields say what that needs."""


def find_entry(what: str, given: Any, registry: Mapping[str, Entry]) -> Entry | None:
    """The entry of a registry that somebody means, with the function that was given.

    Args:
      what: what is registered, for the message: "criterion".
      given: a name, an entry (of the registry or not), a registered function, or a
        ``functools.partial`` of an entry or of such a function.
      registry: name -> entry.

    Returns:
      The entry. It calls the partial where one was given. None for a function that is not
      registered.

    Raises:
      ValueError: there is no entry of that name.
    """
    if isinstance(given, str):
        return registry[names.choose(what, given, registry)]
    inside = given
    while isinstance(inside, functools.partial):
        inside = inside.func
    known: Any
    for known in [inside] if dataclasses.is_dataclass(inside) else registry.values():
        if given is known:
            return known
        if inside is known or inside is known.score:
            return dataclasses.replace(known, score=given)
    return None
