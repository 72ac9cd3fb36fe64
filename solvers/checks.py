"""Checks of arguments, with messages that name the argument."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def array(values: Any, what: str) -> np.ndarray:
    """Converts real finite numbers to float64.

    Args:
      values: an array, or what NumPy can convert to one.
      what: its name in messages.

    Returns:
      The array, of the same shape.

    Raises:
      ValueError: the values are ragged, not numbers, NaN or infinite.
    """
    try:
        numbers = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{what} is ragged: its parts have different lengths, or are no numbers"
        ) from error
    if numbers.dtype.kind not in "fiub":
        raise ValueError(f"{what} must be an array of real numbers, got {numbers.dtype}")
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what} has values that are NaN or infinite")
    return numbers


def pair(values: Any, what: str, smallest: int) -> tuple[int, int]:
    """Checks a pair of whole numbers, one per axis of an image.

    Args:
      values: a sequence, vertical and horizontal.
      what: its name in messages.
      smallest: the smallest number allowed.

    Returns:
      The numbers.

    Raises:
      ValueError: the values are not such a pair.
    """
    good = (
        isinstance(values, Sequence | np.ndarray)
        and not isinstance(values, str)
        and len(values) == 2
        and all(isinstance(each, int | np.integer) and each >= smallest for each in values)
    )
    if not good:
        raise ValueError(f"{what} must be two whole numbers from {smallest} on, got {values!r}")
    return int(values[0]), int(values[1])


def padding(values: Any, what: str) -> None:
    """Checks a padding: how many zeros before and behind, for each axis of an image.

    Args:
      values: such as ``((1, 1), (0, 2))``.
      what: its name in messages.

    Raises:
      ValueError: the values are not two pairs of whole numbers.
    """
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str) or len(values) != 2:
        raise ValueError(
            f"{what} must be two pairs of numbers, before and behind, got {values!r}; a padding of "
            "1 on each side is ((1, 1), (1, 1))"
        )
    for each in values:
        pair(each, what, 0)


def sequence(values: Any, what: str) -> tuple[Any, ...]:
    """Reads an iterable once, so that it may be a generator.

    Args:
      values: the iterable.
      what: its name in messages.

    Returns:
      Its values.

    Raises:
      ValueError: ``values`` is not iterable, or is text.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{what} must be a sequence, got {values!r}")
    return tuple(values)


def batch(inputs: Any, labels: Any, classes: int | None, what: str) -> None:
    """Checks that inputs and labels fit each other.

    Args:
      inputs: [batch, ...].
      labels: [batch], integers.
      classes: how many classes there are; None where that is not known yet.
      what: the name of the two in messages, such as "the batch".

    Raises:
      ValueError: shapes do not fit, a label is out of range, or an input is NaN or infinite.
    """
    inputs = np.asarray(inputs)
    if inputs.ndim < 2 or len(inputs) == 0:
        raise ValueError(f"inputs of {what} must be [batch, ...], got shape {list(inputs.shape)}")
    array(inputs, f"what {what} gives as inputs")
    labels = np.asarray(labels)
    if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels of {what} must be {len(inputs)} integers, got "
            f"{labels.dtype}{list(labels.shape)}"
        )
    if classes is not None and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"labels of {what} must be from 0 to {classes - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )


def positive(value: Any, what: str) -> None:
    """Checks that a value is a positive finite number.

    Args:
      value: the value.
      what: its name in messages.

    Raises:
      ValueError: the value is something else.
    """
    if not is_number(value) or not 0 < value < np.inf:
        raise ValueError(f"{what} must be a positive number, got {value!r}")


def not_negative(value: Any, what: str) -> None:
    """Checks that a value is a finite number that is not negative.

    Args:
      value: the value.
      what: its name in messages.

    Raises:
      ValueError: the value is something else.
    """
    if not is_number(value) or not 0 <= value < np.inf:
        raise ValueError(f"{what} must be a number from 0 on, got {value!r}")


def is_number(value: Any) -> bool:
    """Whether a value is a real number."""
    return isinstance(value, int | float | np.integer | np.floating)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or of NumPy."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
