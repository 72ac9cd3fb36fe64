"""A data set's name to arrays."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from prunejax.data import cache, normalization, prepared
from prunejax.data.catalogue import DATASETS, find_info
from prunejax.data.normalization import Statistics
from prunejax.extras import hinted

_CHUNK = 4096  # images standardised at a time: the temporaries stay small, and in the cache
_LIMIT_SEED = 0


class Split(NamedTuple):
    """One split of a data set on the host.

    Attributes:
      images: float32 [n, height, width, channels], standardised, or uint8, raw.
      labels: int32 [n], in 0..classes-1.
    """

    images: Float32[np.ndarray, "n h w c"] | UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]


def load(
    name: str,
    split: str = "train",
    *,
    normalize: bool = True,
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Split:
    """Loads one split of a data set.

    Standardised images are ``(raw / maximum - mean) / std`` with the mean and the standard
    deviation of each channel over the whole *training* split, for every split and every ``limit``.
    ``digits`` is split here, stratified, into 1,437 training and 360 test images, always the same;
    ``digits28`` holds the same images at 28 x 28 pixels.
    ``emnist_letters`` comes upright and labelled from 0, which it is not at its source.

    A data set is decoded once on a machine and kept in ``PRUNEJAX_CACHE_DIR`` (else
    ``$XDG_CACHE_HOME/prunejax``, else ``~/.cache/prunejax``); in a process, the splits used last
    also stay in memory, so that loading one again is free. Nothing is ever downloaded.

    Args:
      name: one of ``DATASETS``.
      split: "train" or "test".
      normalize: whether to standardise; False gives the raw pixels, 0..``Info.maximum``.
      data_dir: the folder with the data sets that tensorflow-datasets prepared; None for
        ``TFDS_DATA_DIR``, or without it ``~/tensorflow_datasets``. Not used for digits.
      limit: takes only the first ``limit`` examples of a fixed random order in which every
        leading part holds the classes in the proportions of the whole, as near as whole examples
        allow: the same examples every time, and a smaller limit's are among a larger one's. None
        takes all, in the order of the source.
      on_progress: ``(images done, of all)``, told while a data set is decoded for the first time.

    Returns:
      Read-only arrays of images and labels.

    Raises:
      ValueError: unknown name or split, or a limit outside 1..n.
      FileNotFoundError: the data set is not prepared; the message says how to get it.
      OSError: one of its files is damaged; the message names it.
    """
    find_info(name, split)
    with _watched(on_progress):
        return _load(name, split, normalize, data_dir, limit)


def _load(
    name: str,
    split: str,
    normalize: bool,
    data_dir: str | os.PathLike[str] | None,
    limit: int | None,
) -> Split:
    source = _find(name, split, data_dir)
    if limit is None:
        if not normalize:
            return _raw(source)
        return _standardised(source, _find(name, "train", data_dir))
    images, labels = _raw(source)
    if not 1 <= limit <= len(labels):
        raise ValueError(
            f"limit must be in 1..{len(labels)} for {name} {split}, or None, got {limit}"
        )
    chosen = _stratified_order(labels)[:limit]
    images, labels = images[chosen], labels[chosen]
    if normalize:
        images = _standardise(images, name, _statistics(_find(name, "train", data_dir)))
    return _read_only(Split(images, labels))


def statistics(name: str, data_dir: str | os.PathLike[str] | None = None) -> Statistics:
    """Mean and standard deviation of each channel over the training split, on the 0..1 scale.

    Args:
      name: one of ``DATASETS``.
      data_dir: as for ``load``.

    Returns:
      Float32 arrays [channels], the ones that ``load`` standardises by.

    Raises:
      ValueError: unknown name.
      FileNotFoundError: the data set is not prepared.
      OSError: one of its files is damaged.
    """
    find_info(name)
    return _statistics(_find(name, "train", data_dir))


_WATCHER: ContextVar[Callable[[int, int], None] | None] = ContextVar("who is told", default=None)
"""No argument of what is cached: who is told changes nothing in it."""


@contextlib.contextmanager
def _watched(told: Callable[[int, int], None] | None) -> Iterator[None]:
    token = _WATCHER.set(told)
    try:
        yield
    finally:
        _WATCHER.reset(token)


class _Bundled(NamedTuple):
    """A split that needs no file."""

    name: str
    split: str


_Source = _Bundled | prepared.Prepared
_Arrays = TypeVar("_Arrays", Split, Statistics)


def _find(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> _Source:
    if DATASETS[name].tfds_name is None:
        return _Bundled(name, split)
    return prepared.find(name, split, data_dir)


@functools.lru_cache(maxsize=4)
def _raw(source: _Source) -> Split:
    if isinstance(source, _Bundled):
        return _read_only(_digits(source.split, DATASETS[source.name].shape[0]))
    arrays = cache.read(source)
    if arrays is None:
        arrays = prepared.decode(source, _WATCHER.get())
        cache.write(source, *arrays)
    return _read_only(Split(*arrays))


@functools.lru_cache(maxsize=4)
def _standardised(source: _Source, training: _Source) -> Split:
    images, labels = _raw(source)
    return _read_only(Split(_standardise(images, source.name, _statistics(training)), labels))


@functools.lru_cache(maxsize=16)
def _statistics(training: _Source) -> Statistics:
    measured = normalization.measure(_raw(training).images, DATASETS[training.name].maximum)
    return _read_only(measured)


def _standardise(images: np.ndarray, name: str, measured: Statistics) -> np.ndarray:
    result = np.empty(images.shape, np.float32)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = normalization.normalize(images[part], measured, DATASETS[name].maximum)
    return result


@hinted
def _digits(split: str, side: int) -> Split:
    from scipy import ndimage
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    indices = train_test_split(
        np.arange(len(labels)), train_size=1437, test_size=360, stratify=labels, random_state=0
    )
    chosen = indices[0] if split == "train" else indices[1]
    images = pixels[chosen].reshape(-1, 8, 8, 1)
    if side != 8:  # the values from 0..16 to 0..255
        factors = (1, side / 8, side / 8, 1)
        enlarged = np.asarray(ndimage.zoom(images, factors, order=1))
        images = np.round(enlarged * (255 / 16))
    return Split(images.astype(np.uint8), labels[chosen].astype(np.int32))


def _stratified_order(labels: np.ndarray) -> np.ndarray:
    """A fixed permutation whose every leading part is stratified by class.

    The example at place r (from 0) of the m of its class, in random order, goes to (r + 1/2) / m,
    ties in random order.
    """
    # RandomState, not Generator: NumPy promises that its stream never changes.
    shuffled = np.random.RandomState(_LIMIT_SEED).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def _read_only(arrays: _Arrays) -> _Arrays:
    for array in arrays:
        assert isinstance(array, np.ndarray)
        array.setflags(write=False)
    return arrays
