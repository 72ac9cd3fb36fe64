"""Checks of a model's fields and widths when it is built, and of images when it is applied."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from jaxtyping import Array

from prunejax import names


def check_fields(model: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Requires fields that the model has.

    Args:
      model: the name of the model, for the error.
      given: the names of the fields given.
      allowed: the names of the fields that the model has.

    Raises:
      ValueError: a field does not exist.
    """
    allowed = list(allowed)
    for field in given:
        names.choose(f"field of {model}", field, allowed)


def check_width(field: str, width: Any) -> None:
    """Requires a positive integer.

    Args:
      field: the constructor argument that ``width`` was given for.
      width: a number of channels, units or classes.

    Raises:
      ValueError: ``width`` is not an integer of at least 1.
    """
    if isinstance(width, bool) or not isinstance(width, Integral) or width < 1:
        raise ValueError(f"{field} must be a positive integer, got {width!r}")


def check_widths(field: str, widths: Any, count: int | None = None, *, each: str = "layer") -> None:
    """Requires a tuple of positive integers, with ``count`` entries if ``count`` is given.

    Args:
      field: the constructor argument that ``widths`` was given for.
      widths: a tuple, because a module that holds a list cannot be hashed.
      count: how many entries there must be; None allows any number.
      each: what an entry stands for, in the words of the error.

    Raises:
      ValueError: ``widths`` is no such tuple.
    """
    check_length(field, widths, count, each=each)
    for position, width in enumerate(widths):
        check_width(f"{field}[{position}]", width)


def check_length(field: str, values: Any, count: int | None = None, *, each: str = "layer") -> None:
    """Requires a tuple, with ``count`` entries if ``count`` is given.

    Args:
      field: the constructor argument that ``values`` was given for.
      values: a tuple, because a module that holds a list cannot be hashed.
      count: how many entries there must be; None allows any number.
      each: what an entry stands for, in the words of the error.

    Raises:
      ValueError: ``values`` is not a tuple or has another length.
    """
    if not isinstance(values, tuple):
        raise ValueError(
            f"{field} must be a tuple, one entry per {each}, got {type(values).__name__} {values!r}"
        )
    if count is not None and len(values) != count:
        raise ValueError(
            f"{field} must have {count} entries, one per {each}, got {len(values)}: {values!r}"
        )


def check_image(model: str, x: Array, smallest: int = 1) -> None:
    """Requires a batch of images that are large enough for every layer to have an output.

    Args:
      model: the name of the model, for the error.
      x: what the model was applied to.
      smallest: the least height and the least width, in pixels.

    Raises:
      ValueError: ``x`` has no shape (batch, height, width, channels), or an image is too small.
    """
    if x.ndim != 4:
        raise ValueError(f"{model} takes (batch, height, width, channels), got shape {x.shape}")
    height, width = x.shape[1:3]
    if min(height, width) < smallest:
        raise ValueError(
            f"{model} needs images of at least {smallest}x{smallest}, got {height}x{width}"
        )
