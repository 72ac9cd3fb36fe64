"""Image classification data: a name to arrays, and arrays to shuffled batches on the device.

``load`` returns host arrays, ``batches`` and ``sequential`` cut them into batches, ``prefetch``
moves the coming batches to the device, and ``augment`` and ``normalize`` run inside the jitted
step. ``digits`` needs no files; the other data sets are read from a folder that
tensorflow-datasets has prepared, without TensorFlow, and nothing is ever downloaded.

    >>> import jax
    >>> from prunejax import data
    >>> train = data.load("digits")
    >>> train.images.shape, train.labels.shape
    ((1437, 8, 8, 1), (1437,))
    >>> images, labels = next(data.batches(train, batch_size=32, key=jax.random.key(0)))
    >>> images.shape
    (32, 8, 8, 1)
"""

from prunejax.data.augmentation import augment
from prunejax.data.batching import batches, batches_per_epoch, sequential, shuffled
from prunejax.data.catalogue import DATASETS, Info
from prunejax.data.loading import Split, load, statistics
from prunejax.data.normalization import Statistics, normalize
from prunejax.data.prefetching import prefetch

__all__ = [
    "DATASETS",
    "Info",
    "Split",
    "Statistics",
    "augment",
    "batches",
    "batches_per_epoch",
    "load",
    "normalize",
    "prefetch",
    "sequential",
    "shuffled",
    "statistics",
]
