"""Spiking networks (Chen et al. 2025): pruned as they train, and regrown by criticality.

    prunejax spiking                    an MLP on digits, about two minutes
    prunejax spiking --quick            less of it, to see that everything works
    prunejax spiking --structured       whole channels of a convolutional network
    prunejax spiking --dataset mnist --limit 20000 --sparsities 0.95 0.98
    prunejax spiking --dataset cifar10 --model spiking_vgg16 --rules criticality none

Expect on digits 97 to 98 % at each sparsity and by each rule of growth: what a rule adds is less
than what seeds differ in. Nothing is done twice: stop with Ctrl-C, start again with the same
command, and it goes on.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

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
from experiments.spiking import report
from experiments.spiking.course import Method
from experiments.spiking.run import DENSE, CutNetwork, SpikingNetwork
from prunejax import spiking

if TYPE_CHECKING:
    from typing import TypeAlias

    GrowthName: TypeAlias = str
    SurrogateName: TypeAlias = str
else:
    GrowthName = tyro.extras.literal_type_from_choices(spiking.GROWTH)
    SurrogateName = tyro.extras.literal_type_from_choices(spiking.SURROGATES)

MODELS = ("spiking_mlp", "spiking_conv", "spiking_vgg16", "spiking_resnet19")


@dataclass(frozen=True, kw_only=True)
class Spiking(Options):
    """What to train and how to prune it; settings left out are the data set's defaults.

    Attributes:
      rules: of growth, each at every sparsity.
      sparsities: the fractions of weights removed in the end.
      share: r, how much of what is kept grows in an update, in [0, 1).
      constant: r stays as it is; by default it falls to 0.
      criticality: the surrogate's derivative (the paper's), or the surrogate (the released code's).
      timesteps: how many steps, T.
      surrogate: what stands for the derivative of a spike.
      structured: remove whole channels of a network with batch norm.
      kept: with --structured, the fractions of channels that stay.
      l1: with --structured, the strength of the penalty on scales of batch norm.
      tuned: with --structured, epochs of fine-tuning.
      network: the network and its data.
      training: how it is trained.
      running: how much is run, and where; --quick: one seed, three epochs, one sparsity.
    """

    rules: tuple[GrowthName, ...] = tuple(spiking.GROWTH)
    sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    share: float = 0.2
    constant: bool = False
    criticality: Literal["derivative", "primitive"] = "derivative"
    timesteps: int = 5
    surrogate: SurrogateName = "tanh_window"
    structured: bool = False
    kept: tuple[float, ...] = (0.7, 0.5, 0.3)
    l1: float = 1e-4
    tuned: int = 10
    network: Flat[NetworkOptions] = field(
        default_factory=lambda: NetworkOptions(dataset="digits", model="spiking_mlp")
    )


def shortened(config: Spiking) -> Spiking:
    """What ``--quick`` leaves of a configuration."""
    if not config.running.quick:
        return config
    return changed(config, seeds=1, sparsities=config.sparsities[:1], kept=config.kept[:1], tuned=1)


def resolved(config: Spiking) -> Spiking:
    """With --structured the convolutional network, unless another one was asked for."""
    if config.structured and config.network.model == "spiking_mlp":
        return changed(config, model="spiking_conv")
    return config


def check(config: Spiking) -> None:
    """Refuses settings that no run could follow, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    if config.network.model not in MODELS:
        raise ValueError(
            f"model must be a spiking one ({', '.join(MODELS)}), got {config.network.model!r}"
        )
    if not config.rules:
        raise ValueError("name at least one rule of growth")
    for sparsity in config.sparsities:
        spiking.Schedule(sparsity, 1, config.share).check()
    if not config.structured and 0.0 in config.sparsities:
        raise ValueError("the dense network is run always: sparsities must be above 0")
    for fraction in config.kept:
        if not 0 < fraction <= 1:
            raise ValueError(f"kept must be fractions in (0, 1], got {fraction}")
    if not 0 <= config.l1 < math.inf:
        raise ValueError(f"l1 must not be negative or infinite, got {config.l1}")
    if config.tuned < 1:
        raise ValueError(f"tuned must be at least 1 epoch, got {config.tuned}")
    if config.timesteps < 1:
        raise ValueError(f"timesteps must be at least 1, got {config.timesteps}")
    _setup(config)


def _setup(config: Spiking) -> Setup:
    options = (("timesteps", config.timesteps), ("surrogate", config.surrogate))
    return dataclasses.replace(setup_of(resolved(config)), options=options)


def runs(config: Spiking) -> list[Run]:
    """The networks, seed by seed: the dense one, then each sparsity by each rule."""
    setup, found = _setup(config), []
    for seed in range(config.running.seeds):
        if config.structured:
            dense = SpikingNetwork(setup, seed, l1=config.l1)
            found.append(dense)
            found += [
                CutNetwork(dense, rule, kept, config.share, config.criticality, config.tuned)
                for kept in dict.fromkeys(config.kept)
                for rule in dict.fromkeys(config.rules)
            ]
            continue
        found.append(SpikingNetwork(setup, seed))
        found += [
            SpikingNetwork(
                setup,
                seed,
                Method(rule, sparsity, config.share, not config.constant, config.criticality),
            )
            for sparsity in dict.fromkeys(config.sparsities)
            for rule in dict.fromkeys(config.rules)
        ]
    return found


def write(config: Spiking, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes tables and figures."""
    config = resolved(config)
    outputs = Outputs(folder_of(config, "spiking"), config.running.formats)
    title = (
        f"{config.network.model} on {config.network.dataset}, T = {config.timesteps}, "
        f"{config.surrogate}"
    )
    written = report.write_cut if config.structured else report.write
    return written(done.records, title, outputs, desk, console)


def _rule(run: Run) -> str:
    if isinstance(run, CutNetwork):
        return run.growth
    if isinstance(run, SpikingNetwork) and run.method is not None:
        return run.method.growth
    return DENSE


STUDY = Study("spiking", runs, write, _rule, check, shorten=shortened)


def main(config: Spiking, console: Console | None = None) -> int:
    """Trains, prunes, measures and reports; returns the process's exit status."""
    return command.main(STUDY, config, console)


def start() -> None:
    """Reads the command line and does the study."""
    command.start(STUDY, Spiking, __doc__)


if __name__ == "__main__":
    start()
