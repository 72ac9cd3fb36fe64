"""Critical neurons (ElAraby et al. 2023): solve a program on a batch, prune by its scores, compare.

    prunejax critical_neurons          an MLP on digits, about a minute
    prunejax critical_neurons --quick  less of it, to see that everything works
    prunejax critical_neurons --dataset mnist --model lenet_300_100
    prunejax critical_neurons --study lambda per-class balance initialisation
    prunejax critical_neurons --dataset mnist --model lenet5 --study transfer
    prunejax critical_neurons --dataset cifar10 --model conv6 --mode decoupled

Expect on digits: the whole network 97 %, the method as much with 28 % of the neurons gone. Each
network is trained once, for all studies, and no run is done twice: stop with Ctrl-C, start again
with the same command, and it goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from experiments.common import command
from experiments.common.command import Study
from experiments.common.desk import Desk
from experiments.common.options import DatasetName, Flat, Options, changed, folder_of
from experiments.common.outputs import Outputs
from experiments.common.protocol import Protocol, check_protocol
from experiments.common.run import Run
from experiments.common.study import Done
from experiments.common.trained import initial
from experiments.critical_neurons import report, studies
from experiments.critical_neurons.program import THRESHOLDS, Program, check_images
from experiments.critical_neurons.retraining import Retrained
from experiments.critical_neurons.rivals import protocols
from experiments.critical_neurons.run import Solved, Solver
from prunejax.channels import describe
from solvers import checks
from solvers.critical_neurons import MODES
from solvers.settings import Settings

if TYPE_CHECKING:
    from typing import TypeAlias

    ModeName: TypeAlias = str
else:
    ModeName = tyro.extras.literal_type_from_choices(MODES)

TARGETS = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}
"""Data set -> where its sub-networks are trained again; by default on itself."""


@dataclass(frozen=True, kw_only=True)
class CriticalNeurons(Options):
    """What to solve; settings left out are the data set's defaults.

    Attributes:
      study: "table": the rivals, over seeds and batches; "batch-robustness": 25 batches of one
        network; "lambda": the loss's weight from 1 to 24; "per-class": a program per class against
        one of all classes; "balance": batches of any classes against balanced ones; "transfer":
        the sub-network trained from the beginning on other data; "initialisation": the same on its
        own data, from other initial weights and from its own.
      mode: how the program is solved: "paper" in seconds; "full" the same with all variables, for
        small networks; "per_class"; "exact" all masks, with --time-limit beyond some 64 neurons;
        "decoupled" a program per layer, for networks that one program cannot hold. All but the
        last want a chain of dense layers, convolutions, ReLUs and pools.
      target: the data of "transfer"; by default Fashion-MNIST for MNIST and the other way round,
        and its own data for others.
      batches: how many batches of each seed's network.
      per_class: images of each class in a batch.
      loss_weight: lambda; it must grow with the batch.
      threshold: neurons whose score is below it are pruned, or "mean", each layer's own; by default
        the paper's for the model.
      solver: how far and by what programs are solved.
      solver_workers: processes for programs that are independent of each other ("per_class",
        "decoupled"), within one run.
      network: the network and its data.
      training: how the dense network is trained.
      running: how much is run, and where; --quick: three epochs of training, one seed, one batch,
        three batches for their robustness.
    """

    study: tuple[studies.StudyName, ...] = ("table",)
    mode: ModeName = "paper"
    target: DatasetName | None = None
    batches: int = 3
    per_class: int = 1
    loss_weight: float = 5.0
    threshold: float | Literal["mean"] | None = None
    solver: Flat[Solver] = field(default_factory=Solver)
    solver_workers: int = 1

    def program(self) -> Program:
        """The program of the first batch."""
        threshold = self.threshold
        if threshold is None:
            threshold = THRESHOLDS.get(self.network.model, 0.3)
        return Program(0, self.per_class, self.loss_weight, self.mode, threshold)

    def protocols(self, dataset: str | None = None) -> tuple[Protocol, Protocol]:
        """The protocols of training and of fine-tuning, on this data set or another."""
        return protocols(
            self.network.dataset if dataset is None else dataset,
            self.network.model,
            quick=self.running.quick,
            **self.training.given(),
        )


def first(config: CriticalNeurons) -> Solved:
    """The program of the first seed's first batch."""
    dense, tuning = config.protocols()
    setup = config.network.setup(dense)
    return Solved(setup, tuning, 0, config.program(), config.solver, config.solver_workers)


def by_study(config: CriticalNeurons) -> dict[studies.StudyName, list[Run]]:
    """The runs of the studies asked for."""
    dataset = config.network.dataset
    target = TARGETS.get(dataset, dataset) if config.target is None else config.target
    of_all = studies.runs(
        first(config),
        changed(config.network, dataset=target).setup(config.protocols(target)[0]),
        seeds=config.running.seeds,
        batches=config.batches,
        many=3 if config.running.quick else None,
    )
    return {name: of_all[name] for name in config.study}


def runs(config: CriticalNeurons) -> list[Run]:
    """The programs that the studies are or need, and then the rest."""
    asked = [run for of_study in by_study(config).values() for run in of_study]
    return list(dict.fromkeys([*studies.programs(asked), *asked]))


def mode_of(run: Run) -> str:
    """The mode of the program that a run is or needs."""
    assert isinstance(run, Solved | Retrained)
    return (run.solved if isinstance(run, Retrained) else run).program.mode


def check(config: CriticalNeurons) -> None:
    """Refuses settings that no run could follow, before the first one starts.

    Raises:
      ValueError: which setting is wrong, what was given and what is allowed.
    """
    for name in ("batches", "per_class"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if not config.study:
        raise ValueError("name at least one study")
    checks.positive(config.loss_weight, "loss_weight")
    Settings(**vars(config.solver), workers=config.solver_workers)
    refuse_missing(config.solver.backend)
    for protocol in config.protocols():
        check_protocol(protocol)
    if isinstance(config.threshold, float) and not 0 <= config.threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1], where scores are, got {config.threshold}")
    modes = {mode_of(run) for run in runs(config)}
    if config.solver.max_prune is not None and modes != {"exact"}:
        raise ValueError(f"max_prune is for mode 'exact' alone, not {', '.join(sorted(modes))}")


PACKAGES = {"scip": "pyscipopt", "highs": "highspy"}
"""Back end -> the package that it needs."""


def refuse_missing(backend: str) -> None:
    """Refuses a solver that is not installed, before networks are trained for it.

    Raises:
      ValueError: it is not; the message says how to get it.
    """
    package = PACKAGES[backend]
    if find_spec(package) is None:
        (other,) = {*PACKAGES} - {backend}
        raise ValueError(
            f"--backend {backend} needs {package}: pip install {package}, or --backend {other}"
        )


def prepare(config: CriticalNeurons, desk: Desk) -> None:
    """Refuses networks that no program can hold, and batches that there are no images for."""
    bench = first(config).setup.bench(desk)
    check_images(bench, config.program())
    if any(mode_of(run) != "decoupled" for run in runs(config)):
        describe(bench.traced, initial(bench, 0))


def write(config: CriticalNeurons, done: Done, desk: Desk, console: Console) -> Sequence[Path]:
    """Prints and writes a table per study, and figures."""
    del desk
    folder = folder_of(config, "critical_neurons", first(config).config())
    outputs = Outputs(folder, config.running.formats)
    report.write(
        list(done.records.values()),
        {name: done.of(of_study) for name, of_study in by_study(config).items()},
        outputs=outputs,
        title=f"{first(config).setup.title}, mode {config.mode}",
        console=console,
    )
    return outputs.files


def shortened(config: CriticalNeurons) -> CriticalNeurons:
    """What ``--quick`` leaves of a configuration."""
    return changed(config, seeds=1, batches=1) if config.running.quick else config


STUDY = Study("critical_neurons", runs, write, mode_of, check, prepare, shortened)


def main(config: CriticalNeurons, console: Console | None = None) -> int:
    """Runs the experiment and reports it; returns the process's exit status."""
    return command.main(STUDY, config, console)


def start() -> None:
    """Reads the command line and does the study."""
    command.start(STUDY, CriticalNeurons, __doc__)


if __name__ == "__main__":
    start()
