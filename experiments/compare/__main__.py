"""Compares pruning methods: one network, one protocol, several methods, sparsities and seeds.

    prunejax compare            digits, six methods, about a minute on two cores
    prunejax compare --quick    the same in seconds, to see that everything works
    prunejax compare --dataset mnist --model lenet_300_100 \\
        --methods snip synflow magnitude --sparsities 0.9 0.98 --seeds 3

Expect on digits: dense 97 %, SNIP and SynFlow at 98 % sparsity above 90 %, magnitude at 10 %.
Networks are pruned at initialisation and then trained; gmp, set, rigl and ch3_l3 prune as they
train. Each run is recorded and never done twice: stop with Ctrl-C, start again with the same
command, and it goes on.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import tyro
from rich.console import Console

from experiments.common import command
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.during import DURING
from experiments.common.methods import NAMES
from experiments.common.options import Options, setup_of
from experiments.common.protocol import DENSE, Protocol
from experiments.common.records import config_hash
from experiments.common.study import Done
from experiments.compare import report
from experiments.compare.run import Compared
from prunejax import allocation, masks

if TYPE_CHECKING:
    from typing import TypeAlias

    MethodName: TypeAlias = str
else:
    MethodName = tyro.extras.literal_type_from_choices(NAMES)

METHODS_DEFAULT = ("random", "magnitude", "snip", "grasp", "synflow", "prospr")


@dataclass(frozen=True, kw_only=True)
class Compare(Options):
    """What to compare; settings left out are the data set's defaults.

    Attributes:
      methods: the pruning methods; gmp, set, rigl and ch3_l3 prune while the network trains.
      sparsities: the fractions of prunable weights removed, each in [0, 1).
      save_masks: keep each run's masks beside its record.
      save_networks: keep each trained network, for all studies, under results/networks.
      network: the network and its data.
      training: how it is trained.
      running: how much is run, and where.
    """

    methods: tuple[MethodName, ...] = METHODS_DEFAULT
    sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    save_masks: bool = False
    save_networks: bool = False

    def protocol(self) -> Protocol:
        """The settings of the runs."""
        return setup_of(self).protocol


def check(config: Compare) -> None:
    """Refuses settings that no run could follow, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for sparsity in config.sparsities:
        allocation.check_sparsity(sparsity)
    for name, given in (("method", config.methods), ("sparsity", config.sparsities)):
        if not given:
            raise ValueError(f"name at least one {name}")
    setup_of(config)


def runs(config: Compare) -> list[Compared]:
    """Every run: seed by seed, the dense network first."""
    setup = setup_of(config)
    grid = [(DENSE, 0.0)]
    grid += [(method, sparsity) for method in config.methods for sparsity in config.sparsities]
    return [
        Compared(setup, method, sparsity, seed, config.save_masks, config.save_networks)
        for seed in range(config.running.seeds)
        for method, sparsity in grid
    ]


def prepare(config: Compare, desk: Desk) -> None:
    """Refuses what the data or the model cannot do, and says what a sparsity is not of.

    Raises:
      ValueError: a method that prunes during training cannot prune this model so far.
    """
    bench = setup_of(config).bench(desk)
    params = bench.traced.variables["params"]
    for method in [name for name in config.methods if name in DURING]:
        for sparsity in config.sparsities:
            tools = bench.tools_during(DURING[method], sparsity, jax.random.key(0))
            try:
                jax.eval_shape(tools.tx.init, params)
            except ValueError as error:
                raise ValueError(f"{method} at {sparsity}: {error}") from error
    named = {masks.name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    of_links = [name for name, leaf in named.items() if name.endswith("kernel") and leaf.ndim == 1]
    if of_links:
        warnings.warn(
            f"{', '.join(of_links)} hold only links, which all stay: what the methods prune, and "
            "what sparsities are fractions of, is the other kernels",
            stacklevel=2,
        )


def write(config: Compare, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes the table and the figure."""
    del desk
    records = list(done.records.values())
    frame = report.ordered(report.rows(records))
    asked = config_hash(
        {"methods": config.methods, "sparsities": config.sparsities, "seeds": config.running.seeds}
    )
    return report.write(
        frame,
        report.folder_of(frame, config.running.results, asked[:6]),
        setup_of(config).title,
        console,
        report.details(records[-1]),
        config.running.formats,
    )


STUDY = Study("compare", runs, write, lambda run: run.method, check, prepare)


def main(config: Compare, console: Console | None = None) -> int:
    """Runs the comparison and reports it; returns the process's exit status."""
    return command.main(STUDY, config, console)


def start() -> None:
    """Reads the command line and does the study."""
    command.start(STUDY, Compare, __doc__)


if __name__ == "__main__":
    start()
