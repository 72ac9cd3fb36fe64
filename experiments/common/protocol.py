"""How a network is trained: settings, and each data set's and model's own."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

DENSE = "dense"
ANY = "any"
VERSION = 3
"""Part of every run's configuration, in all studies; raised when what a run does changes."""


@dataclass(frozen=True)
class Protocol:
    """The settings that all runs of a comparison share; None takes the data set's own default.

    Attributes:
      epochs: passes over the training data, after pruning.
      batch_size: examples per step.
      optimizer: a name in ``prunejax.training.OPTIMIZERS``.
      learning_rate: the initial one.
      schedule: of the learning rate, a name in ``prunejax.training.SCHEDULES``.
      momentum: of the optimiser.
      weight_decay: off biases and normalisation.
      label_smoothing: in [0, 1).
      augment: random crops and flips.
      score_examples: how many training examples a criterion sees.
      limit: train on so many examples only.
      checkpoint_epochs: save a run's state every so many epochs; 0: never.
    """

    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augment: bool = False
    score_examples: int = 512
    limit: int | None = None
    checkpoint_epochs: int = field(default=0, compare=False)


_GREY = Protocol(epochs=10, batch_size=128, score_examples=1024)
_COLOUR = Protocol(
    epochs=160,
    batch_size=128,
    schedule="step",
    weight_decay=1e-4,
    augment=True,
    score_examples=1024,
    checkpoint_epochs=10,
)

PROTOCOLS: dict[str, Protocol] = {
    "digits": Protocol(learning_rate=0.05),
    "digits28": Protocol(learning_rate=0.05),
    "mnist": _GREY,
    "fashion_mnist": _GREY,
    "kmnist": _GREY,
    "emnist_letters": _GREY,
    "cifar10": _COLOUR,
    "cifar100": _COLOUR,
}
"""Each data set's protocol; CIFAR's is that of Cunegatti et al. 2024, appendix A.3."""

_REWIRED = {"learning_rate": 0.025, "schedule": "linear_then_flat"}

OF_MODEL: dict[tuple[str, str], dict[str, Any]] = {
    ("digits28", "sparse_mlp"): {**_REWIRED, "epochs": 60, "batch_size": 32},
    ("mnist", "sparse_mlp"): {**_REWIRED, "epochs": 30},
    ("fashion_mnist", "sparse_mlp"): {**_REWIRED, "epochs": 30},
    ("kmnist", "sparse_mlp"): {**_REWIRED, "epochs": 30},
    ("emnist_letters", "sparse_mlp"): {**_REWIRED, "epochs": 30},
    ("digits", "spiking_mlp"): {"epochs": 80, "learning_rate": 0.15, "label_smoothing": 0.1},
    ("digits", "spiking_conv"): {"epochs": 30, "learning_rate": 0.1, "label_smoothing": 0.1},
    ("mnist", "lenet5"): {"epochs": 12, "learning_rate": 0.02},
    ("cifar10", "wide_resnet28_2"): {"weight_decay": 5e-4},
    ("cifar100", "wide_resnet28_2"): {"weight_decay": 5e-4},
}
"""Where a model's protocol is not its data set's (CIFAR: appendix A.3 again)."""

_YANG = Protocol(
    epochs=200, batch_size=256, schedule="quarters", augment=True, checkpoint_epochs=10
)

TRAINED: dict[tuple[str, str], Protocol] = {
    ("digits", "resnet8"): Protocol(epochs=20, schedule="quarters"),
    ("cifar10", ANY): _YANG,
    ("cifar100", ANY): _YANG,
}
"""Where networks that are pruned after training are trained otherwise than those that are pruned at
initialisation. CIFAR: Section 4.1 of Yang et al. 2025, with random crops and flips, which it does
not name, and weight decay off biases and normalisation."""


def protocol_for(
    dataset: str, model: str, *, quick: bool, trained: bool = False, **given: Any
) -> Protocol:
    """A network's protocol, with what was given in the place of its defaults.

    All studies take it from here, so that each finds the networks that another one trained.

    Args:
      dataset: a name in ``prunejax.data.DATASETS``.
      model: a name in ``prunejax.models.MODELS``.
      quick: three epochs on at most 2,000 examples, to see that everything works.
      trained: whether the network is pruned after training, see ``TRAINED``.
      **given: fields of ``Protocol``; None keeps the default.

    Returns:
      The protocol.
    """
    protocol = replace(PROTOCOLS[dataset], **OF_MODEL.get((dataset, model), {}))
    if trained:
        protocol = TRAINED.get((dataset, model), TRAINED.get((dataset, ANY), protocol))
    if quick:
        protocol = replace(
            protocol,
            epochs=3,
            limit=None if dataset.startswith("digits") else 2000,
            score_examples=256,
        )
    return replace(protocol, **{name: value for name, value in given.items() if value is not None})


FINE_TUNING: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 7},
    "grey": {"epochs": 3},
    "colour": {"epochs": 70},
}
"""For how many epochs pruned networks are trained on; all at a rate of .01, divided by 10 twice."""


def fine_tuning(dataset: str, dense: Protocol, *, quick: bool, **given: Any) -> Protocol:
    """The protocol of training a pruned network on.

    Args:
      dataset: a name in ``prunejax.data.DATASETS``.
      dense: of the network before; all but epochs, rate and schedule are as there.
      quick: two epochs.
      **given: fields of ``Protocol``; None keeps the default.

    Returns:
      The protocol.
    """
    kind = dataset if dataset in FINE_TUNING else "colour" if "cifar" in dataset else "grey"
    tuned: dict[str, Any] = {"learning_rate": 0.01, "schedule": "sevenths", **FINE_TUNING[kind]}
    if quick:
        tuned["epochs"] = 2
    return replace(dense, **tuned | {name: one for name, one in given.items() if one is not None})


def decisive(protocol: Protocol) -> dict[str, Any]:
    """What of a protocol changes a trained network: not how often it is saved, nor its scoring."""
    ignored = ("checkpoint_epochs", "score_examples")
    return {name: value for name, value in asdict(protocol).items() if name not in ignored}


def check_protocol(protocol: Protocol) -> None:
    """Refuses settings that are out of range, also NaN and infinite numbers.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for name in ("epochs", "batch_size", "score_examples"):
        if getattr(protocol, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(protocol, name)}")
    if protocol.limit is not None and protocol.limit < 1:
        raise ValueError(f"limit must be at least 1, got {protocol.limit}")
    for name in ("weight_decay", "checkpoint_epochs"):
        value = getattr(protocol, name)
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
        if not value < math.inf:
            raise ValueError(f"{name} must be a finite number, got {value}")
    if not 0 < protocol.learning_rate < math.inf:
        raise ValueError(f"learning_rate must be positive, got {protocol.learning_rate}")
    if not 0 <= protocol.label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {protocol.label_smoothing}")
    if not 0 <= protocol.momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {protocol.momentum}")
