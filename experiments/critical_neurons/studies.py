"""What each study of critical neurons does: which programs it solves, what it trains again."""

import dataclasses
from typing import Any, Literal

from experiments.common.bench import Setup
from experiments.common.run import Run
from experiments.critical_neurons.retraining import STARTS, SUBNETWORKS, Retrained
from experiments.critical_neurons.run import Solved

StudyName = Literal[
    "table", "batch-robustness", "lambda", "per-class", "balance", "transfer", "initialisation"
]

WEIGHTS = (1.0, 2.0, 5.0, 8.0, 12.0, 16.0, 20.0, 24.0)
"""Lambda, from 1 to 24."""

BATCHES = 25
"""Of how many batches the robustness is studied."""


def runs(
    one: Solved, target: Setup, *, seeds: int, batches: int, many: int | None = None
) -> dict[StudyName, list[Run]]:
    """The runs of every study.

    Args:
      one: the program of the first seed's first batch.
      target: where sub-networks are trained again in "transfer".
      seeds: how many.
      batches: how many of each seed's network.
      many: of how many batches the robustness is studied; by default ``BATCHES``.

    Returns:
      Study -> its runs.
    """
    first = [dataclasses.replace(one, seed=seed) for seed in range(seeds)]

    def varied(run: Solved, **changes: Any) -> Solved:
        return dataclasses.replace(run, program=run.program._replace(**changes))

    def variants(**changes: tuple) -> list[Run]:
        ((field, values),) = changes.items()
        return [
            varied(run, batch=batch, **{field: value})
            for value in values
            for run in first
            for batch in range(batches)
        ]

    return {
        "table": variants(mode=(one.program.mode,)),
        "batch-robustness": [
            varied(one, batch=batch) for batch in range(BATCHES if many is None else many)
        ],
        "lambda": [varied(one, loss_weight=weight) for weight in WEIGHTS],
        "per-class": variants(mode=("paper", "per_class")),
        "balance": variants(balanced=(True, False)),
        "transfer": [
            Retrained(solved, target, subnetwork, "new")
            for solved in first
            for subnetwork in SUBNETWORKS
        ],
        "initialisation": [
            Retrained(solved, one.setup, subnetwork, start)
            for start in STARTS
            for solved in first
            for subnetwork in SUBNETWORKS[:3]
        ],
    }


def programs(wanted: list[Run]) -> list[Run]:
    """The programs that runs are or need, each once."""
    return list(dict.fromkeys(run.solved if isinstance(run, Retrained) else run for run in wanted))
