"""Compares pruning methods: one network, one protocol, several methods, sparsities and seeds.

    prunejax compare            digits, six methods, about a minute on two cores
    prunejax compare --quick    the same in seconds, to see that everything works
    prunejax compare --dataset mnist --model lenet_300_100 \\
        --methods snip synflow magnitude --sparsities 0.9 0.98 --seeds 3
    prunejax compare --when trained      train, prune, fine-tune
    prunejax compare --methods magnitude mine.py:score    beside a criterion of your own

Expect on digits: dense 97 %, SNIP and SynFlow at 98 % sparsity above 90 %, magnitude at 10 %. Each
run is recorded and never done twice: stop with Ctrl-C, start again with the same command, and it
goes on.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from rich.console import Console

from experiments.common import command
from experiments.common.bench import Setup
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.during import DURING
from experiments.common.methods import find, prunes_weights, said_of_all
from experiments.common.options import Options, setup_of
from experiments.common.protocol import DENSE, Protocol, check_protocol, fine_tuning
from experiments.common.records import config_hash
from experiments.common.shape import Shape, parsed
from experiments.common.study import Done
from experiments.compare import report
from experiments.compare.run import Compared
from prunejax import allocation, criteria, masks

METHODS_DEFAULT = ("random", "magnitude", "snip", "grasp", "synflow", "prospr")


SPARSITIES = (0.9, 0.95, 0.98)
"""By default. (N of M has a sparsity of its own.)"""


@dataclass(frozen=True, kw_only=True)
class Compare(Options):
    """What to compare; settings left out are the data set's defaults.

    Attributes:
      methods: which methods, see above; FILE.py:NAME is a criterion of your own, a function
        (params, masks, batch, *, loss_fn, key) -> scores.
      sparsities: the fractions of prunable weights removed, each in [0, 1).
      when: prune at initialisation and then train, or train first, prune, and fine-tune.
      pattern: in what shape weights stay: 2:4 (N of M inputs), 4x4 (blocks), per_output.
      exclude: kernels that stay whole and do not count: regular expressions of their paths,
        hidden1 say.
      layer_sparsities: kernels with a sparsity of their own, hidden1=0.5 say; the others share
        each of --sparsities.
      fine_tune_epochs: with --when trained: of training on.
      fine_tune_rate: with --when trained: its initial learning rate.
      save_masks: keep each run's masks beside its record.
      save_networks: keep each trained network, for all studies, under results/networks.
      network: the network and its data.
      training: how it is trained.
      running: how much is run, and where.
    """

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = METHODS_DEFAULT
    sparsities: Annotated[
        tuple[float, ...] | None,
        tyro.conf.arg(
            metavar="FLOAT [FLOAT ...]",
            help_behavior_hint=f"(default: {' '.join(map(str, SPARSITIES))})",
        ),
    ] = None
    when: Literal["init", "trained"] = "init"
    pattern: str | None = None
    exclude: tuple[str, ...] = ()
    layer_sparsities: tuple[str, ...] = ()
    fine_tune_epochs: Annotated[
        int | None, tyro.conf.arg(help_behavior_hint="(default: 7 for digits, 3 for mnist, 70 ...)")
    ] = None
    fine_tune_rate: Annotated[float | None, tyro.conf.arg(help_behavior_hint="(default: 0.01)")] = (
        None
    )
    save_masks: bool = False
    save_networks: bool = False

    @property
    def setup(self) -> Setup:
        """The network and the settings of its training."""
        return setup_of(self, trained=self.when == "trained")

    def protocol(self) -> Protocol:
        """The settings of training."""
        return self.setup.protocol

    def tuning(self) -> Protocol | None:
        """The settings of fine-tuning, None where networks are pruned at initialisation."""
        if self.when == "init":
            return None
        return fine_tuning(
            self.network.dataset,
            self.protocol(),
            quick=self.running.quick,
            epochs=self.fine_tune_epochs,
            learning_rate=self.fine_tune_rate,
        )

    def shape(self) -> Shape:
        """What of the network is pruned, in what shape."""
        return Shape(self.pattern, self.exclude, parsed(self.layer_sparsities))

    def asked_sparsities(self) -> tuple[float, ...]:
        """The sparsities: those given, the pattern's own, or the default."""
        if self.sparsities is not None:
            return self.sparsities
        own = self.shape().own_sparsity
        return SPARSITIES if own is None else (own,)


def check(config: Compare) -> None:
    """Refuses settings that no run could follow, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    sparsities, shape = config.asked_sparsities(), config.shape()
    for sparsity in sparsities:
        allocation.check_sparsity(sparsity)
    for name, given in (("method", config.methods), ("sparsity", sparsities)):
        if not given:
            raise ValueError(f"name at least one {name}")
    own = shape.own_sparsity
    if own is not None and (shape.layers or any(abs(one - own) > 1e-9 for one in sparsities)):
        raise ValueError(f"--pattern {config.pattern} is a sparsity of {own:g}: give no other one")
    for method in config.methods:
        if method not in DURING:
            find(method)
        if shape.config() and not prunes_weights(method):
            flags = ", ".join(f"--{name}" for name in ("pattern", "exclude", "layer-sparsities"))
            raise ValueError(f"{flags} are for methods that score single weights, not {method}")
        if config.when == "trained" and method in DURING:
            raise ValueError(
                f"{method} prunes while the network trains: leave it out, or --when init"
            )
    tuning = config.tuning()
    if tuning is None and (config.fine_tune_epochs, config.fine_tune_rate) != (None, None):
        raise ValueError("--fine-tune-epochs and --fine-tune-rate go with --when trained")
    if tuning is not None:
        check_protocol(tuning)
    config.protocol()  # is refused where a setting is out of its range


def title_of(config: Compare) -> str:
    """What is compared, for people."""
    during = {method in DURING for method in config.methods}
    when = report.when(tuned=config.when == "trained")
    if config.when == "init" and during == {True}:
        when = "pruned during training"
    elif config.when == "init" and during == {False}:
        when = "pruned at initialisation, then trained"
    return f"{config.setup.title}, {when}{config.shape().said()}"


def runs(config: Compare) -> list[Compared]:
    """Every run: seed by seed, the dense network first."""
    setup, shape, tuning = config.setup, config.shape(), config.tuning()
    grid = [(DENSE, 0.0)]
    grid += [(name, sparsity) for name in config.methods for sparsity in config.asked_sparsities()]
    return [
        Compared(
            setup, name, sparsity, seed, shape, tuning, config.save_masks, config.save_networks
        )
        for seed in range(config.running.seeds)
        for name, sparsity in grid
    ]


def prepare(config: Compare, desk: Desk) -> None:
    """Refuses what the data or the model cannot do, and says what a sparsity is not of.

    Raises:
      ValueError: a method that prunes during training cannot prune this model so far, or a path
        pattern matches none of its kernels.
    """
    bench = config.setup.bench(desk)
    params = bench.traced.variables["params"]
    for method in [name for name in config.methods if name in DURING]:
        for sparsity in config.asked_sparsities():
            tools = bench.tools_during(DURING[method], sparsity, jax.random.key(0))
            try:
                jax.eval_shape(tools.tx.init, params)
            except ValueError as error:
                raise ValueError(f"{method} at {sparsity}: {error}") from error
    if config.shape().config():
        _try_shape(config, params)
    named = {masks.name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    of_links = [name for name, leaf in named.items() if name.endswith("kernel") and leaf.ndim == 1]
    if of_links:
        warnings.warn(
            f"{', '.join(of_links)} hold only links, which all stay: what the methods prune, and "
            "what sparsities are fractions of, is the other kernels",
            stacklevel=2,
        )


def _try_shape(config: Compare, params: Any) -> None:
    """Refuses what the kernels of the model do not fit.

    Raises:
      ValueError: as ``allocation.allocate``.
    """
    shape = config.shape()

    def allocated(params: Any) -> Any:
        scores = criteria.magnitude(params, masks.make(params))
        return [
            allocation.allocate(
                scores,
                shape.sparsity(sparsity),
                pattern=shape.pattern,
                exclude=shape.exclude or None,
            )
            for sparsity in config.asked_sparsities()
        ]

    jax.eval_shape(allocated, params)


def write(config: Compare, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes the table and the figure."""
    del desk
    records = list(done.records.values())
    frame = report.ordered(report.rows(records))
    asked = config_hash(
        {
            "methods": config.methods,
            "sparsities": config.asked_sparsities(),
            "seeds": config.running.seeds,
        }
    )
    return report.write(
        frame,
        report.folder_of(frame, config.running.results, asked[:6]),
        title_of(config),
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
    command.start(STUDY, Compare, f"{__doc__}\nMethods:\n\n{said_of_all()}\n")


if __name__ == "__main__":
    start()
