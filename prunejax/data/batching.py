"""Cutting arrays into batches: shuffled for training, in order for evaluation."""

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Float32, PRNGKeyArray, Shaped

_AnyArray = Shaped[Array | np.ndarray, "..."]


def batches(
    split: tuple[_AnyArray, _AnyArray],
    *,
    batch_size: int,
    key: PRNGKeyArray,
    epoch: int = 0,
    start: int = 0,
    drop_remainder: bool = True,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Iterates over one epoch of shuffled batches.

    The order depends only on ``(key, epoch)`` and on how many examples there are, so a run that
    was stopped goes on exactly where it was, with the same ``epoch`` and ``start`` set to the
    number of batches it had used. It is drawn by NumPy's ``Generator``, seeded by the words of
    ``jax.random.fold_in(key, epoch)``.

    Args:
      split: images and labels, a ``Split`` or any two arrays of one length.
      batch_size: examples in a batch.
      key: decides the order; the same key serves all epochs.
      epoch: which epoch, from 0.
      start: how many batches to skip.
      drop_remainder: whether to leave out the last batch where it would be smaller.

    Returns:
      An iterator of (images, labels), new arrays that may be written to.

    Raises:
      ValueError: the arrays differ in length or are empty, ``batch_size`` is below 1 or, with
        ``drop_remainder``, above their length, ``epoch`` is negative, or ``start`` is not in
        0..batches_per_epoch.
    """
    images, labels = _matching_arrays(split)
    count = batches_per_epoch(len(labels), batch_size, drop_remainder)
    if epoch < 0:
        raise ValueError(f"epoch must be at least 0, got {epoch}")
    if not 0 <= start <= count:
        raise ValueError(f"start must be in 0..{count}, the batches of an epoch, got {start}")
    order = shuffled(len(labels), key=key, epoch=epoch)
    chosen = (order[n * batch_size : (n + 1) * batch_size] for n in range(start, count))
    return ((images[indices], labels[indices]) for indices in chosen)


def shuffled(n: int, *, key: PRNGKeyArray, epoch: int) -> np.ndarray:
    """The order of an epoch's examples, by which ``batches`` cuts them.

    Args:
      n: how many examples there are.
      key: decides the order; the same key serves all epochs.
      epoch: which epoch, from 0.

    Returns:
      A permutation of 0..n - 1.
    """
    words = np.asarray(jax.random.key_data(jax.random.fold_in(key, epoch)))
    return np.random.default_rng(words).permutation(n)


def sequential(
    split: tuple[_AnyArray, _AnyArray], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, Float32[np.ndarray, " batch"]]]:
    """Iterates over all examples in order, for evaluation, in batches of one size.

    The last batch is filled up with zeros, which weigh nothing, so that a jitted evaluation step
    compiles once. A metric over the split is ``sum(weights * values) / sum(weights)``.

    Args:
      split: images and labels, a ``Split`` or any two arrays of one length.
      batch_size: examples in a batch; it may exceed how many there are.

    Returns:
      An iterator of (images, labels, weights), with weight 1 for examples and 0 for filling. Full
      batches are views of the arrays given.

    Raises:
      ValueError: the arrays differ in length or are empty, or ``batch_size`` is below 1.
    """
    images, labels = _matching_arrays(split)
    count = batches_per_epoch(len(labels), batch_size, drop_remainder=False)
    weights = np.ones(len(labels), np.float32)
    return (
        (
            _take_padded(images, n * batch_size, batch_size),
            _take_padded(labels, n * batch_size, batch_size),
            _take_padded(weights, n * batch_size, batch_size),
        )
        for n in range(count)
    )


def batches_per_epoch(n: int, batch_size: int, drop_remainder: bool = True) -> int:
    """How many batches ``n`` examples make.

    Args:
      n: examples in an epoch.
      batch_size: examples in a batch.
      drop_remainder: whether a last, smaller batch is left out.

    Returns:
      ``n / batch_size``, rounded down with ``drop_remainder``, else up.

    Raises:
      ValueError: there are no examples, ``batch_size`` is below 1, or ``drop_remainder`` would
        leave no batch at all.
    """
    if n < 1:
        raise ValueError(f"there must be at least one example, got {n}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if drop_remainder and batch_size > n:
        raise ValueError(
            f"batch_size must be at most the {n} examples there are, or drop_remainder False, "
            f"got {batch_size}"
        )
    return n // batch_size if drop_remainder else -(-n // batch_size)


def _matching_arrays(split: tuple[_AnyArray, _AnyArray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (np.asarray(array) for array in split)
    if images.ndim < 1 or labels.ndim < 1 or len(images) != len(labels):
        raise ValueError(
            f"images and labels must have one length, got shapes {images.shape}, {labels.shape}"
        )
    return images, labels


def _take_padded(array: np.ndarray, start: int, size: int) -> np.ndarray:
    part = array[start : start + size]
    if len(part) == size:
        return part
    filling = np.zeros((size - len(part), *array.shape[1:]), array.dtype)
    return np.concatenate([part, filling])
