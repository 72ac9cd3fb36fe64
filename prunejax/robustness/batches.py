"""Labelled examples in one batch or in many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def listed(
    batches: Any, shape_of_logits: Callable[[Any], tuple[int, ...]]
) -> list[tuple[Any, Any]]:
    """The batches as a list of pairs, checked.

    Args:
      batches: ``(inputs, labels)``, or an iterable of such pairs. Inputs are any pytree of arrays
        whose first axis counts the examples.
      shape_of_logits: what the network puts out, (examples, classes), for inputs.

    Returns:
      Pairs of inputs and labels, both arrays.

    Raises:
      ValueError: there are no examples, a pair is none, or labels are no classes of the network.
    """
    pairs = [batches] if _is_pair(batches) else list(batches)
    checked = []
    classes = None
    for number, pair in enumerate(pairs):
        if not _is_pair(pair):
            raise ValueError(
                "batches must be (inputs, labels) with an array of labels, or an iterable of such "
                f"pairs; batch {number} is {type(pair).__name__}"
            )
        inputs, labels = pair
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
        if labels.ndim != 1 or lengths != {labels.shape} or labels.size == 0:
            raise ValueError(
                "a batch needs examples, and one label for each: batch "
                f"{number} has labels of shape {labels.shape}, inputs of {sorted(lengths)} examples"
            )
        if classes is None:
            shape = shape_of_logits(inputs)
            if len(shape) != 2 or shape[0] != len(labels):
                raise ValueError(
                    f"apply must return logits of shape ({len(labels)}, classes), got {shape}"
                )
            classes = shape[1]
        _check_labels(np.asarray(labels), classes)
        checked.append((inputs, labels))
    if not checked:
        raise ValueError("there are no batches")
    return checked


def _is_pair(given: Any) -> bool:
    """Whether something is inputs and labels, and not two batches."""
    return isinstance(given, tuple | list) and len(given) == 2 and hasattr(given[1], "dtype")


def _check_labels(labels: np.ndarray, classes: int) -> None:
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be 0 to {classes - 1}, got labels from {labels.min()} to {labels.max()}"
        )
