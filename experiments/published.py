"""The published tables that this library repeats: what the papers say, and the commands.

Each command is one that a user can give; its records are those that ``prunejax tables`` shows
beside the published numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from experiments.common.records import Record

Cell = tuple[str, str]
"""A row and a column."""


class Published(NamedTuple):
    """A published table.

    Attributes:
      title: what it shows.
      source: the paper and the table.
      study: whose command makes it.
      commands: command lines of it, the most important first; what one has recorded, the next does
        not do again.
      quick: a command line that takes a minute on two cores, to see that everything works.
      numbers: what the paper says; empty where it says nothing in numbers.
      cells: a record -> what it says, by row and column.
      unit: of all numbers.
    """

    title: str
    source: str
    study: str
    commands: tuple[str, ...]
    quick: str
    numbers: Mapping[Cell, float]
    cells: Callable[[Record], Iterator[tuple[Cell, float]]]
    unit: str = "%"


def _accuracies(record: Record) -> Iterator[tuple[Cell, float]]:
    """Of a method that prunes: a row; of its sparsities: columns."""
    config, accuracy = record["config"], 100 * record["metrics"]["accuracy"]
    method = config.get("method", config.get("rule"))
    column = "dense" if method == "dense" else f"{config['sparsity']:g}"
    yield (method, column), accuracy


def _cuts(record: Record) -> Iterator[tuple[Cell, float]]:
    """Of a threshold: a row; of what is lost and what is gone: columns."""
    metrics, config = record["metrics"], record["config"]
    if config.get("kind") != "pruned" or config["method"] != "entropy_kcore":
        return
    row = f"tau {config['tau']:g}"
    yield (row, "accuracy lost"), 100 * (metrics["accuracy_dense"] - metrics["accuracy"])
    yield (row, "multiply-adds gone"), 100 * metrics["flops_reduction"]
    yield (row, "parameters gone"), 100 * metrics["parameter_reduction"]


def _rewired(record: Record) -> Iterator[tuple[Cell, float]]:
    """Of a rule of regrowth: a row; of a data set: a column."""
    config = record["config"]
    if config.get("run") == "RewiredNetwork":
        yield (config["rules"]["regrowth"], config["dataset"]), 100 * record["metrics"]["accuracy"]


def _spiking(record: Record) -> Iterator[tuple[Cell, float]]:
    if record["config"].get("kind") == "unstructured":
        yield from _accuracies(record)


def _critical(record: Record) -> Iterator[tuple[Cell, float]]:
    """Of what is left: a row; how well it does, and what is gone: columns."""
    if record["config"].get("kind") != "solved":
        return
    metrics = record["metrics"]
    yield ("reference", "accuracy"), 100 * metrics["reference"]
    for name in ("method", "random", "critical"):
        for column in ("accuracy", "fine_tuned", "neurons", "parameters"):
            row = f"{name} pruned" if name == "critical" else name
            yield (row, f"{column.replace('_', '-')}"), 100 * metrics["rivals"][name][column]


def _encoded(record: Record) -> Iterator[tuple[Cell, float]]:
    """The trained networks of the pool."""
    config = record["config"]
    if "pruning" not in config or "run" in config:
        return
    pruning = config["pruning"] or {"method": "dense"}
    column = f"{pruning['sparsity']:g}" if "sparsity" in pruning else "dense"
    yield (f"{config['model']} {pruning['method']}", column), 100 * record["metrics"]["accuracy"]


SPARSITIES = (0.6, 0.8, 0.9, 0.95, 0.98)

TABLE_8: dict[str, dict[str, tuple[float, ...]]] = {
    "conv6": {
        "snip": (92.7, 92.0, 91.1, 89.6, 83.8),
        "grasp": (92.2, 91.6, 90.7, 89.5, 86.0),
        "synflow": (92.7, 92.1, 91.3, 89.8, 86.8),
        "prospr": (92.5, 91.7, 90.5, 89.2, 85.3),
        "uniform": (92.3, 91.1, 89.2, 86.4, 79.7),
        "er": (91.3, 90.2, 88.6, 86.5, 82.7),
        "erk": (91.3, 90.2, 88.8, 86.7, 82.5),
        "dense": (93.2,),
    },
    "resnet20": {
        "snip": (90.5, 89.0, 87.0, 83.2, 75.9),
        "grasp": (90.2, 89.1, 87.2, 84.4, 77.1),
        "synflow": (90.5, 89.3, 86.2, 82.9, 76.2),
        "prospr": (90.6, 89.4, 86.4, 81.8, 74.6),
        "uniform": (90.1, 88.2, 85.5, 77.7, 54.7),
        "er": (90.5, 89.1, 86.9, 83.8, 77.0),
        "erk": (90.8, 89.4, 87.1, 83.8, 77.4),
        "dense": (91.7,),
    },
}
"""Test accuracies on CIFAR-10, in %, by model, method and sparsity."""


def _table_8(model: str, prefix: str = "") -> dict[Cell, float]:
    numbers: dict[Cell, float] = {}
    for method, row in TABLE_8[model].items():
        columns = ["dense"] if method == "dense" else [f"{one:g}" for one in SPARSITIES]
        numbers |= {(prefix + method, name): x for name, x in zip(columns, row, strict=True)}
    return numbers


def _thresholds(rows: Mapping[str, tuple[float, float, float]]) -> dict[Cell, float]:
    columns = ("accuracy lost", "multiply-adds gone", "parameters gone")
    return {
        (f"tau {tau}", column): number
        for tau, numbers in rows.items()
        for column, number in zip(columns, numbers, strict=True)
    }


_SEVEN = "snip grasp synflow prospr uniform er erk"
_CIFAR = "--dataset cifar10 --dtype bfloat16 --checkpoint-epochs 10"
_RESNET20 = f"{_CIFAR} --model resnet20 --shortcut pad --methods {_SEVEN}"
_QUICK_KCORE = "--quick --study tau"

TABLES: dict[str, Published] = {
    "pai_resnet20": Published(
        "ResNet-20 on CIFAR-10, pruned at initialisation: test accuracy by method and sparsity",
        "Cunegatti et al. 2024, Table 8",
        "compare",
        (
            f"{_RESNET20} --sparsities 0.9 --seeds 1",
            f"{_RESNET20} --sparsities 0.9 --seeds 3",
            f"{_RESNET20} --sparsities 0.6 0.8 0.9 0.95 0.98 --seeds 3",
        ),
        "--quick --methods snip synflow --sparsities 0.9 --seeds 1",
        _table_8("resnet20"),
        _accuracies,
    ),
    "kcore_vgg16": Published(
        "VGG-16 on CIFAR-10, filters pruned by entropy-guided k-cores",
        "Yang et al. 2025, Table 2",
        "entropy_kcore",
        (
            f"{_CIFAR} --model vgg16 --study tau --tau 0.8 0.75 0.7 --seeds 1",
            f"{_CIFAR} --model vgg16 --study tau --tau 0.8 0.75 0.7 --seeds 3",
        ),
        f"{_QUICK_KCORE} --tau 0.75 0.7",
        _thresholds(
            {"0.8": (0.63, 42.23, 76.83), "0.75": (0.37, 51.54, 83.62), "0.7": (1.24, 65.77, 88.82)}
        ),
        _cuts,
    ),
    "spiking_vgg16": Published(
        "Spiking VGG-16 on CIFAR-10, pruned and regrown: test accuracy by growth and sparsity",
        "Brain-Inspired Efficient Pruning (spiking criticality); its tables are not at hand",
        "spiking",
        (
            f"{_CIFAR} --model spiking_vgg16 --rules criticality none --sparsities 0.95 --seeds 1",
            f"{_CIFAR} --model spiking_vgg16 --sparsities 0.9 0.95 0.98 --seeds 3",
        ),
        "--quick --rules criticality none --sparsities 0.9",
        {},
        _spiking,
    ),
    "kcore_resnet56": Published(
        "ResNet-56 on CIFAR-10, filters pruned by entropy-guided k-cores",
        "Yang et al. 2025, Table 3",
        "entropy_kcore",
        (
            f"{_CIFAR} --model resnet56 --study tau --seeds 1",
            f"{_CIFAR} --model resnet56 --study tau --seeds 3",
        ),
        f"{_QUICK_KCORE} --tau 0.65 0.6",
        _thresholds(
            {
                "0.75": (-0.79, 16.20, 2.68),
                "0.7": (-0.22, 24.93, 7.34),
                "0.65": (-0.03, 50.10, 24.46),
                "0.6": (4.49, 78.91, 66.44),
            }
        ),
        _cuts,
    ),
    "critical_vgg16": Published(
        "VGG-16 on CIFAR-10, critical neurons by one program per layer",
        "ElAraby et al. 2023; the numbers of its tables are not at hand",
        "critical_neurons",
        (f"{_CIFAR} --model vgg16 --mode decoupled --study table --seeds 1",),
        "--quick --study table",
        {},
        _critical,
    ),
    "adaptive": Published(
        "Three sparse layers of 1,000 neurons, rewired while they train: test accuracy",
        "Sulyok et al. 2026; its text gives figures, no table",
        "adaptive_topology",
        tuple(
            f"--dataset {dataset} --seeds 10 --perturbations reverse_weight_order"
            for dataset in ("fashion_mnist", "mnist", "kmnist", "emnist_letters")
        ),
        "--quick --perturbations reverse_weight_order",
        {},
        _rewired,
    ),
    "graph_pool": Published(
        "The pool of networks whose graphs are encoded: test accuracy by model, method, sparsity",
        "Cunegatti et al. 2024, Table 8; `prunejax graph_encoding` ranks the methods from it",
        "graph_encoding",
        (
            "--study pool --datasets cifar10 --models resnet20 --seeds 1 --dtype bfloat16",
            "--study pool --datasets cifar10 --models resnet20 conv6 --seeds 3 --dtype bfloat16",
        ),
        "--quick --models mlp",
        _table_8("resnet20", "resnet20 ") | _table_8("conv6", "conv6 "),
        _encoded,
    ),
}
"""By name."""

ORDER: tuple[tuple[str, int], ...] = (
    ("pai_resnet20", 0),
    ("kcore_vgg16", 0),
    ("spiking_vgg16", 0),
    ("pai_resnet20", 1),
    ("adaptive", 0),
    ("adaptive", 1),
    ("kcore_resnet56", 0),
    ("critical_vgg16", 0),
    ("graph_pool", 0),
    ("pai_resnet20", 2),
    ("adaptive", 2),
    ("adaptive", 3),
    ("kcore_vgg16", 1),
    ("spiking_vgg16", 1),
    ("kcore_resnet56", 1),
    ("graph_pool", 1),
)
"""Tables and which of their commands, in the order of worth: a column of each first."""
