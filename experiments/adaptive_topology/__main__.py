"""Adaptive topology (Sulyok et al. 2026): sparse training that rewires itself, and its robustness.

    prunejax adaptive_topology          digits at 28 x 28, about a minute
    prunejax adaptive_topology --quick  less of it, to see that everything works
    prunejax adaptive_topology --dataset mnist --epochs 30 --workers 2
    prunejax adaptive_topology --rules random ch3_l3 ra_l3 gradient --zeta 0.2

Expect on digits 95 % with both rules of regrowth, CH3-L3 in fewer epochs; of the links, 99 % of
which are not there from the start, 80 % more may go in the order of their weights for a point or
two. Nothing is done twice: stop with Ctrl-C, start again with the same command, and it goes on.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from experiments.adaptive_topology import report
from experiments.adaptive_topology.course import Rules
from experiments.adaptive_topology.run import Perturbed, RewiredNetwork
from experiments.common import command
from experiments.common.bench import Setup
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.options import (
    Flat,
    NetworkOptions,
    Options,
    changed,
    folder_of,
    setup_of,
)
from experiments.common.outputs import Outputs
from experiments.common.run import Run
from experiments.common.study import Done
from prunejax import sparse
from prunejax.rewiring import REGROWTH, REMOVAL
from prunejax.robustness import PERTURBATIONS

if TYPE_CHECKING:
    from typing import TypeAlias

    RuleName: TypeAlias = str
    RemovalName: TypeAlias = str
    PerturbationName: TypeAlias = str
    BackendName: TypeAlias = str
else:
    RuleName = tyro.extras.literal_type_from_choices(REGROWTH)
    RemovalName = tyro.extras.literal_type_from_choices(REMOVAL)
    PerturbationName = tyro.extras.literal_type_from_choices(PERTURBATIONS)
    BackendName = tyro.extras.literal_type_from_choices(("auto", *sparse.BACKENDS))

STRENGTHS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, *(number / 20 for number in range(2, 21)))
"""At which strengths networks are perturbed."""

MODELS = ("sparse_mlp",)
"""The models whose layers hold only their links."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveTopology(Options):
    """What to train and how to perturb it; settings left out are the data set's defaults.

    Attributes:
      rules: of regrowth.
      removal: which links go: the smallest, the smallest of each sign, or by lot.
      sparsity: the fraction of links that is never there.
      zeta: the share of links that an update moves, in (0, 1).
      annealed: zeta falls to 0 along a cosine.
      sweep: links of disconnected neurons go too, their constants into the next biases.
      initial: weights of new links.
      fan_in: what initial weights are scaled by: all inputs, as in the paper, or the links there.
      temperature: draw new links in proportion to score ** (1 / temperature), not the best.
      settle_at: leave a layer as it is once a larger share of what went came back at once.
      perturbations: of the trained networks.
      repeats: perturbed networks per strength, where chance decides.
      backend: how sparse layers are computed; changes speed and rounding alone.
      network: the network and its data.
      training: how it is trained.
      running: how much is run, and where; --quick: one seed, three epochs, one repeat.
    """

    rules: tuple[RuleName, ...] = ("random", "ch3_l3")
    removal: RemovalName = "magnitude"
    sparsity: float = 0.99
    zeta: float = 0.3
    annealed: bool = False
    sweep: bool = True
    initial: Literal["kaiming", "zero"] = "kaiming"
    fan_in: Literal["inputs", "links"] = "inputs"
    temperature: float | None = None
    settle_at: float | None = None
    perturbations: tuple[PerturbationName, ...] = tuple(PERTURBATIONS)
    repeats: int = 5
    backend: BackendName = "auto"
    network: Flat[NetworkOptions] = field(
        default_factory=lambda: NetworkOptions(dataset="digits28", model="sparse_mlp")
    )


def shortened(config: AdaptiveTopology) -> AdaptiveTopology:
    """What ``--quick`` leaves of a configuration."""
    return changed(config, seeds=1, repeats=1) if config.running.quick else config


def check(config: AdaptiveTopology) -> None:
    """Refuses settings that no run could follow, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    if config.network.model not in MODELS:
        raise ValueError(f"model must be one of {MODELS}, got {config.network.model!r}")
    if not config.rules:
        raise ValueError("name at least one rule")
    if not 0 <= config.sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got {config.sparsity}")
    if not 0 < config.zeta < 1:
        raise ValueError(f"zeta is the share of links that go, in (0, 1), got {config.zeta}")
    if config.repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {config.repeats}")
    if config.temperature is not None and not config.temperature > 0:
        raise ValueError(f"temperature must be positive, got {config.temperature}")
    if config.settle_at is not None and not 0 < config.settle_at <= 1:
        raise ValueError(f"settle_at must be in (0, 1], got {config.settle_at}")
    _setup(config)


def _setup(config: AdaptiveTopology) -> Setup:
    options = (("sparsity", config.sparsity), ("fan_in", config.fan_in))
    return dataclasses.replace(setup_of(config), options=options)


def networks(config: AdaptiveTopology) -> list[RewiredNetwork]:
    """The networks, seed by seed."""
    setup = _setup(config)
    names = [name for name in Rules._fields if name != "regrowth"]
    given = {name: getattr(config, name) for name in names}
    return [
        RewiredNetwork(setup, Rules(rule, **given), seed, config.backend)
        for seed in range(config.running.seeds)
        for rule in dict.fromkeys(config.rules)
    ]


def runs(config: AdaptiveTopology) -> list[Run]:
    """Every network, and every perturbation of it."""
    return [
        run
        for network in networks(config)
        for run in (
            network,
            *(
                Perturbed(network, perturbation, STRENGTHS, config.repeats)
                for perturbation in dict.fromkeys(config.perturbations)
            ),
        )
    ]


def write(config: AdaptiveTopology, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes tables and figures."""
    outputs = Outputs(folder_of(config, "adaptive_topology"), config.running.formats)
    title = f"{config.network.model} on {config.network.dataset}, sparsity {config.sparsity:g}"
    return report.write(done.records, title, outputs, desk, console)


def _rule(run: Run) -> str:
    network = run.network if isinstance(run, Perturbed) else run
    return network.rules.regrowth if isinstance(network, RewiredNetwork) else run.study


STUDY = Study("adaptive_topology", runs, write, _rule, check, shorten=shortened)


def main(config: AdaptiveTopology, console: Console | None = None) -> int:
    """Trains, perturbs and reports; returns the process's exit status."""
    return command.main(STUDY, config, console)


def start() -> None:
    """Reads the command line and does the study."""
    command.start(STUDY, AdaptiveTopology, __doc__)


if __name__ == "__main__":
    start()
