"""Which data sets there are, and what each one holds."""

from typing import NamedTuple

from prunejax import names


class Info(NamedTuple):
    """What is fixed about a data set before any of it is read.

    Attributes:
      shape: of one image: height, width, channels.
      classes: how many; labels are 0..classes-1.
      tfds_name: its name (and config) in tensorflow-datasets, or None where no file is needed.
      splits: the names that ``load`` takes.
      maximum: the largest raw pixel value; raw / maximum lies in 0..1.
      horizontal_flip: whether a mirrored image still shows its class, so that ``augment`` suits.
      first_label: the smallest label at the source; ``load`` subtracts it.
      transposed: whether rows and columns are exchanged at the source; ``load`` puts them right.
    """

    shape: tuple[int, int, int]
    classes: int
    tfds_name: str | None
    splits: tuple[str, ...] = ("train", "test")
    maximum: int = 255
    horizontal_flip: bool = False
    first_label: int = 0
    transposed: bool = False


# Sources: digits, Alpaydin & Kaynak 1998 (the test part, as scikit-learn bundles it); digits28, the
# same enlarged bilinearly; mnist, LeCun et al. 1998; fashion_mnist, arXiv:1708.07747; kmnist,
# arXiv:1812.01718; emnist_letters, arXiv:1702.05373; cifar10 and cifar100, Krizhevsky
# 2009 (fine labels).
DATASETS: dict[str, Info] = {
    "digits": Info((8, 8, 1), 10, None, maximum=16),
    "digits28": Info((28, 28, 1), 10, None),
    "mnist": Info((28, 28, 1), 10, "mnist"),
    "fashion_mnist": Info((28, 28, 1), 10, "fashion_mnist"),
    "kmnist": Info((28, 28, 1), 10, "kmnist"),
    "emnist_letters": Info((28, 28, 1), 26, "emnist/letters", first_label=1, transposed=True),
    "cifar10": Info((32, 32, 3), 10, "cifar10", horizontal_flip=True),
    "cifar100": Info((32, 32, 3), 100, "cifar100", horizontal_flip=True),
}


def find_info(name: str, split: str = "train") -> Info:
    """The entry of ``DATASETS`` under ``name``, once both names have been checked.

    Args:
      name: of the data set.
      split: one of its splits.

    Returns:
      What is known about the data set.

    Raises:
      ValueError: there is no such data set or no such split; the message gives the closest name
        and all that are allowed.
    """
    info = DATASETS[names.choose("data set", name, DATASETS)]
    names.choose(f"split of {name}", split, info.splits)
    return info
