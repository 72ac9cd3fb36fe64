"""Checks of what users give, with messages that name it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def array(values: Any, what: str) -> np.ndarray:
    """Real finite numbers as float64.

    Args:
        values: an array, or what can be made one.
        what: its name, for messages.

    Returns:
        The array.

    Raises:
        ValueError: it holds something else, or NaN, or infinities, or is ragged.
    """
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{what} is ragged: its parts have different lengths, or are no numbers"
        ) from error
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{what} must be an array of real numbers, got {found.dtype}")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{what} has values that are NaN or infinite")
    return found


def pair(values: Any, what: str, smallest: int) -> tuple[int, int]:
    """Two whole numbers, vertical and horizontal.

    Args:
        values: a sequence.
        what: its name, for messages.
        smallest: what they must not be below.

    Returns:
        The numbers.

    Raises:
        ValueError: it is something else.
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
    """Refuses what is not two pairs of whole numbers: before and behind, for each axis.

    Args:
        values: such as ``((1, 1), (0, 2))``.
        what: its name, for messages.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str) or len(values) != 2:
        raise ValueError(
            f"{what} must be two pairs of numbers, before and behind, got {values!r}; a padding of "
            "1 on each side is ((1, 1), (1, 1))"
        )
    for each in values:
        pair(each, what, 0)


def sequence(values: Any, what: str) -> tuple[Any, ...]:
    """A tuple of values that may be readable only once, as a generator's are.

    Args:
        values: the values.
        what: their name, for messages.

    Returns:
        The values.

    Raises:
        ValueError: it is neither a sequence nor an iterator.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{what} must be a sequence, got {values!r}")
    return tuple(values)


def batch(inputs: Any, labels: Any, classes: int | None, what: str) -> None:
    """Refuses inputs and labels that do not fit each other.

    Args:
        inputs: [batch, ...].
        labels: [batch], integers.
        classes: how many there are; None: not known yet.
        what: "the batch", for messages.

    Raises:
        ValueError: what does not fit, or is NaN.
    """
    found = np.asarray(inputs)
    if found.ndim < 2 or len(found) == 0:
        raise ValueError(f"inputs of {what} must be [batch, ...], got shape {list(found.shape)}")
    array(found, f"what {what} gives as inputs")
    labels = np.asarray(labels)
    if labels.shape != found.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels of {what} must be {len(found)} integers, got "
            f"{labels.dtype}{list(labels.shape)}"
        )
    if classes is not None and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"labels of {what} must be from 0 to {classes - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )


def positive(value: Any, what: str) -> None:
    """Refuses what is no positive finite number.

    Args:
        value: the number.
        what: its name.

    Raises:
        ValueError: it is not.
    """
    if not is_number(value) or not 0 < value < np.inf:
        raise ValueError(f"{what} must be a positive number, got {value!r}")


def not_negative(value: Any, what: str) -> None:
    """Refuses what is no finite number from 0 on.

    Args:
        value: the number.
        what: its name.

    Raises:
        ValueError: it is not.
    """
    if not is_number(value) or not 0 <= value < np.inf:
        raise ValueError(f"{what} must be a number from 0 on, got {value!r}")


def is_number(value: Any) -> bool:
    """Whether it is a real number."""
    return isinstance(value, int | float | np.integer | np.floating)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, NumPy's included."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
