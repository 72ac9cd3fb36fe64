"""What each study of critical neurons does: which programs it solves, what it trains again."""

from typing import Literal, NamedTuple, TypeAlias

from experiments.neuron_runs import Setting

Study = Literal[
    "table", "batch-robustness", "lambda", "per-class", "balance", "transfer", "initialisation"
]

WEIGHTS = (1.0, 2.0, 5.0, 8.0, 12.0, 16.0, 20.0, 24.0)
"""Lambda, from 1 to 24."""

BATCHES = 25
"""Of how many batches the robustness is studied."""

TARGETS = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}
"""Data set -> where its sub-networks are trained again; by default on itself."""

SUBNETWORKS = ("whole", "method", "random", "snip_neurons", "snip_weights")
"""What is trained again: everything; the neurons that the method keeps; as many of each layer at
random; as many of the highest summed SNIP scores on the target's data; and as many single weights
as the method's network has, by SNIP."""

STARTS = ("new", "same")
"""From where: other initial weights, or those that the network had started from."""


class Solving(NamedTuple):
    """A program to solve, and the networks pruned by it."""

    seed: int
    setting: Setting


class Retraining(NamedTuple):
    """A sub-network to train from the beginning.

    Attributes:
      solved: the program that says which neurons stay.
      target: the data set to train on.
      subnetwork: one of ``SUBNETWORKS``.
      start: one of ``STARTS``.
    """

    solved: Solving
    target: str
    subnetwork: str
    start: str


Run: TypeAlias = Solving | Retraining


def runs(
    dataset: str,
    target: str | None,
    one: Setting,
    *,
    seeds: int,
    batches: int,
    many: int = BATCHES,
) -> dict[Study, list[Run]]:
    """The runs of every study.

    Args:
      dataset: the data set.
      target: where sub-networks are trained again in "transfer"; None: see ``TARGETS``.
      one: the program of a seed's first batch.
      seeds: how many.
      batches: how many of each seed's network.
      many: of how many batches the robustness is studied.

    Returns:
      Study -> its runs.
    """
    each = [(seed, batch) for seed in range(seeds) for batch in range(batches)]
    first = [Solving(seed, one) for seed in range(seeds)]
    elsewhere = TARGETS.get(dataset, dataset) if target is None else target

    def variants(**changes: tuple) -> list[Run]:
        ((field, values),) = changes.items()
        return [
            Solving(seed, one._replace(batch=batch, **{field: value}))
            for value in values
            for seed, batch in each
        ]

    return {
        "table": variants(mode=(one.mode,)),
        "batch-robustness": [Solving(0, one._replace(batch=batch)) for batch in range(many)],
        "lambda": [Solving(0, one._replace(loss_weight=weight)) for weight in WEIGHTS],
        "per-class": variants(mode=("paper", "per_class")),
        "balance": variants(balanced=(True, False)),
        "transfer": [
            Retraining(solved, elsewhere, subnetwork, "new")
            for solved in first
            for subnetwork in SUBNETWORKS
        ],
        "initialisation": [
            Retraining(solved, dataset, subnetwork, start)
            for start in STARTS
            for solved in first
            for subnetwork in SUBNETWORKS[:3]
        ],
    }


def solvings(wanted: list[Run]) -> list[Solving]:
    """The programs that runs are or need, each once."""
    return list(dict.fromkeys(run.solved if isinstance(run, Retraining) else run for run in wanted))
